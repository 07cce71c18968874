/** The stub answers as the GPU cloud does: its real client, which knows nothing of stubs, works with it, traps included. */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { eventually } from "../support/eventually.ts";
import { VesslCloud } from "../support/vessl-cloud.ts";
import { ALL_FORMS, runYaml } from "./run-yaml.ts";
import { CLUSTERS } from "./stub/world.ts";

const CALL_MS = 60_000;
const LARGE = Buffer.alloc(20 << 20, "twenty MiB of something ");
let cloud: VesslCloud;
let files: string;

jest.setTimeout(180_000);
beforeAll(async () => {
  cloud = await VesslCloud.start();
  files = join(cloud.root, "files");
  mkdirSync(files);
}, 360_000);
afterAll(() => cloud.dispose());

/** The client's standard output; what it says about a failure goes to the test's. */
async function client(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await cloud.client(...args);
  if (code !== 0) throw new Error(`vessl ${args.join(" ")} ended with ${code}:\n${stderr}`);
  return stdout;
}

async function sdk(script: string): Promise<string> {
  const { code, stdout, stderr } = await cloud.sdk(script);
  if (code !== 0) throw new Error(`ended with ${code}:\n${stderr}`);
  return stdout;
}

/** Cells of a printed table, without its head. */
const rows = (table: string) =>
  table
    .trim()
    .split("\n")
    .slice(1)
    .map((line) => line.trim().split(/ {2,}/));

/** @returns the run's id. */
async function create(yaml: string): Promise<string> {
  const file = join(files, "run.yaml");
  writeFileSync(file, yaml);
  const id = /\/acme\/runs\/infra\/(\d{12})\s/.exec(await client("run", "create", "-f", file))?.[1];
  if (id === undefined) throw new Error("no run was created");
  return id;
}

/** What `run read` says about a key. */
async function read(id: string, key: string): Promise<string | undefined> {
  return new RegExp(`^ ${key} (.*)$`, "m").exec(await client("run", "read", id))?.[1];
}

async function reaches(id: string, status: string): Promise<void> {
  await eventually(async () => (await cloud.runs()).find((run) => String(run.id) === id)?.status === status, CALL_MS);
}

describe("who and where", () => {
  test("organizations, projects, clusters and presets", async () => {
    expect(rows(await client("organization", "list"))).toEqual([["acme"], ["other"]]);
    expect(rows(await client("project", "list"))).toEqual([
      ["infra", "0"],
      ["playground", "0"],
    ]);
    expect(rows(await client("cluster", "list")).map((row) => row.slice(0, 4))).toEqual(
      CLUSTERS.map(({ id, name, managed, status }) => [String(id), name, managed ? "Managed" : "Custom", status]),
    );
    expect(rows(await client("resource", "list", "1"))).toContainEqual(
      "14|gpu-h100-4|Any|84.0|NVIDIA-H100-80GB-HBM3|4|816Gi|False".split("|"),
    );
  });

  test("a token that is not known, or is revoked, is refused", async () => {
    await cloud.revokeToken();
    const { code, stderr } = await cloud.client("organization", "list");
    await cloud.revokeToken(false);
    expect(code).toBe(1);
    expect(stderr).toContain("Invalid access token");
  });

  test("what is not there is 404, by the client's own exception", async () => {
    const script = `
from vessl.util.exception import VesslApiException
for call in (
    lambda: api.organization_read_api(organization_name="nobody"),
    lambda: api.run_execution_list_api(organization_name="acme", project_name="nothing"),
    lambda: api.run_execution_read_api(organization_name="acme", project_name="infra", execution_id=369399999999),
    lambda: api.volume_v2_list_api(organization_name="acme", storage_name="nowhere"),
    lambda: api.volume_v2_read_api(organization_name="acme", storage_name="vessl-storage", volume_name="none"),
):
    try:
        print("answered", call())
    except VesslApiException as error:
        print(error)
`;
    expect((await sdk(script)).trim().split("\n")).toEqual([
      "NotFound (404): organization not found",
      "NotFound (404): project not found",
      "NotFound (404): run not found",
      "NotFound (404): storage not found",
      "NotFound (404): volume not found",
    ]);
  });
});

describe("volumes", () => {
  test("one managed storage, and external ones of three types", async () => {
    expect(rows(await client("storage", "list")).map((row) => row.slice(0, 3).join(" "))).toEqual([
      expect.stringMatching(/^vessl-storage True /),
      "disk False s3://acme-disk",
      "other False s3://acme-other",
      "archive False gs://acme-archive",
      "lab False nfs://10.0.0.9:/exports",
    ]);
  });

  test("made with tags, listed, refused a second time", async () => {
    const words = ["storage", "create-volume", "tagged", "--storage-name", "vessl-storage", "--tag", "a", "--tag", "b"];
    expect(await client(...words)).toBe("");
    expect(
      rows(await client("storage", "list-volumes", "--storage-name", "vessl-storage", "--keyword", "tag")),
    ).toEqual([["tagged", expect.any(String), "['a', 'b']"]]);
    const again = await cloud.client(...words);
    expect(again.code).toBe(1);
    expect(again.stderr).toContain("AlreadyExists (409)");
  });

  test("tags added and removed by volume id; the volume deleted", async () => {
    const script = `
st.create_volume(name="brief", storage_name="disk", tags=("a", "b"))
where = dict(organization_name="acme", storage_name="disk")
show = lambda: print([(v.name, [t.name for t in v.tags]) for v in st.list_volumes("disk")])
id = api.volume_v2_read_api(volume_name="brief", **where).id
api.volume_v2_create_tag_api(volume_v2_create_tag_api_input={"tags": [{"name": "c"}], "volume_v2_ids": [id]}, **where)
api.volume_v2_delete_tag_api(volume_v2_delete_tag_api_input={"tag_names": ["a"], "volume_v2_ids": [id]}, **where)
show()
st.delete_volume(name="brief", storage_name="disk")
show()
`;
    expect((await sdk(script)).trim().split("\n")).toEqual(["[('brief', ['b', 'c'])]", "[]"]);
  });

  test("a directory, odd names and 20 MiB go up, are listed and come down again", async () => {
    const tree = join(files, "tree");
    const odd = { "a b#c%20.txt": "1", "ümläut 日本.txt": "22", "deep/er/.hidden": "333", empty: "" };
    for (const [path, text] of Object.entries(odd)) {
      mkdirSync(join(tree, path, ".."), { recursive: true });
      writeFileSync(join(tree, path), text);
    }
    writeFileSync(join(files, "large.bin"), LARGE);
    await client("storage", "create-volume", "corpus", "--storage-name", "vessl-storage");
    await client("storage", "copy-file", tree, "volume://vessl-storage/corpus/dir");
    await client("storage", "copy-file", join(files, "large.bin"), "volume://vessl-storage/corpus/dir/large.bin");
    const expected = Object.entries(odd).map(([path, text]) => [`dir/${path}`, text]);
    // Trap: the destination is always a directory.
    expect(cloud.volumeFiles("vessl-storage", "corpus")).toEqual({
      ...Object.fromEntries(expected),
      "dir/large.bin/large.bin": LARGE.toString(),
    });
    expect(rows(await client("storage", "list-files", "volume://vessl-storage/corpus"))).toContainEqual([
      "dir/large.bin/large.bin",
      "20.0 MB",
    ]);
    // Trap: the path in the volume does not count; all comes down.
    const down = join(files, "down");
    await client("storage", "copy-file", "volume://vessl-storage/corpus/dir/deep", down);
    expect(readFileSync(join(down, "dir", "large.bin", "large.bin")).equals(LARGE)).toBe(true);
    for (const [path, text] of expected) expect(readFileSync(join(down, path as string), "utf8")).toBe(text);
    expect(cloud.s3Requests().some(({ url }) => url.includes("partNumber=2"))).toBe(true);
  });

  test("listing nothing is no error; deleting through the client asks a terminal that is not there", async () => {
    expect(rows(await client("storage", "list-files", "volume://vessl-storage/corpus/nothing"))).toEqual([]);
    expect((await cloud.client("storage", "delete-volume", "corpus", "--storage-name", "vessl-storage")).code).toBe(1);
  });

  test("storages of other types: NFS is refused, GCS gives no S3 credentials", async () => {
    for (const storage of ["lab", "archive"]) await client("storage", "create-volume", "v", "--storage-name", storage);
    const nfs = await cloud.client("storage", "list-files", "volume://lab/v");
    expect(nfs.stderr).toContain("InvalidParameters (400): unsupported storage type cluster-nfs");
    const script = `print(st.volume_federate("archive", "v", "read").type, st.volume_federate("archive", "v", "read").s3_token)`;
    expect((await sdk(script)).trim()).toBe("gcs None");
  });
});

describe("runs", () => {
  beforeAll(async () => {
    const script = `
for value in ("first", "uryyb"):
    made = api.secret_generic_secret_upsert_api(organization_name="acme", secret_generic_secret_upsert_api_input={"secret_name": "HF_TOKEN", "value": value})
print([(s.credentials_name, s.credentials_id == made.credentials_id) for s in api.secret_list_api(organization_name="acme", kind="generic-secret").secrets])
`;
    expect((await sdk(script)).trim()).toBe("[('HF_TOKEN', True)]");
    rmSync(join(files, "tree"), { recursive: true, force: true });
    mkdirSync(join(files, "tree"), { recursive: true });
    writeFileSync(join(files, "tree", "x.txt"), "corpus\n");
    await client("storage", "copy-file", join(files, "tree"), "volume://vessl-storage/corpus/dir");
  });

  test("every form of every key: executed in order, with volumes, environment and secrets", async () => {
    const id = await create(ALL_FORMS);
    await reaches(id, "completed");
    const text = await client("run", "read", id);
    for (const line of [
      " Name all-forms",
      " Description every form there is",
      " Status completed",
      " Cluster vessl-gcp-oregon",
      "   URL quay.io/vessl-ai/torch:2.3.1-cuda12.1-r5",
      " - wait 1s",
      " - key HIDDEN",
      "   secret True",
      "   number 9000",
    ])
      expect(text.split("\n")).toContain(line);
    expect(text).not.toContain("uryyb");
    const log = (await client("run", "logs", id, "--tail", "-1"))
      .replace(/^\[[\d:.]+\] /gm, "")
      .trim()
      .split("\n");
    expect(log.filter((line) => !line.startsWith("[node]") && !line.startsWith("touch:"))).toEqual([
      "plain 0.001, value yes, hidden hello, in /app",
      "corpus",
      "corpus",
      "to stderr",
    ]);
    expect(await client("run", "logs", id, "--tail", "1")).toContain("touch:");
  });

  test("listed newest first, described, filtered by status and title; deleted when over", async () => {
    const id = await create(runYaml("fails", "echo before; exit 3"));
    await reaches(id, "failed");
    expect(await read(id, "Status reason")).toBe("Process exited with code 3");
    await client("run", "update", id, "a message");
    expect(rows(await client("run", "list"))[0]).toEqual([
      id,
      "fails",
      "batch",
      "failed",
      expect.any(String),
      "a message",
    ]);
    const script = `
print([r.run_spec.title for r in vessl.list_runs(statuses=["failed", "queued"])])
print([r.run_spec.title for r in api.run_execution_list_api(organization_name="acme", project_name="infra", keyword="all-f").results])
print([h.status for h in vessl.read_run(run_id=${id}).histories])
`;
    expect((await sdk(script)).trim().split("\n")).toEqual([
      "['fails']",
      "['all-forms']",
      "['queued', 'pending', 'initializing', 'running', 'failed']",
    ]);
    await client("run", "delete", id);
    expect((await cloud.client("run", "read", id)).stderr).toContain("NotFound (404): run not found");
  });

  test("terminated: asked first, and the last words are heard", async () => {
    const id = await create(
      runYaml("long", "trap 'echo asked; exit 7' TERM; echo started; while :; do sleep 0.1; done"),
    );
    await eventually(async () => (await cloud.runLog(id)).includes("started"), CALL_MS);
    await client("run", "terminate", id);
    await reaches(id, "terminated");
    expect(await cloud.runLog(id)).toEqual(["started", "asked"]);
    expect((await cloud.runs()).find((run) => String(run.id) === id)?.histories.map(({ status }) => status)).toEqual([
      "queued",
      "pending",
      "initializing",
      "running",
      "stopping",
      "terminated",
    ]);
  });

  test("what is wrong in the file makes no run, and the exit code is 0 all the same", async () => {
    const before = (await cloud.runs()).length;
    const file = join(files, "wrong.yaml");
    for (const yaml of [
      "name: x\nresources: {preset: cpu-small}\n",
      runYaml("x", "true").replace("{preset", "{cluster: none, preset"),
    ]) {
      writeFileSync(file, yaml);
      expect((await cloud.client("run", "create", "-f", file)).code).toBe(0);
    }
    expect((await cloud.client("run", "create", "-f", join(files, "nothing.yaml"))).code).toBe(0);
    expect(await cloud.runs()).toHaveLength(before);
  });

  test("what the server refuses, it refuses by name", async () => {
    const wrong = {
      "service: {}": "service",
      "message: hello": "message",
      "env: {A: {secret: NONE}}": "no such secret",
      "env: {A: {value: x, secret: true}}": "env",
      "env: {A: 3}": "env",
      "mount: {/v/: volume://vessl-storage/corpus}": "not mountable",
      "import: {/v/: volume://vessl-storage/none}": "volume vessl-storage/none not found",
    };
    const yamls = Object.keys(wrong).map((more) => runYaml("refused", "true", more));
    yamls.push(runYaml("refused", "true").replace("gpu-h100-1", "gpu-none"));
    const script = `
from vessl.util.exception import VesslApiException
for text in ${JSON.stringify(yamls)}:
    try:
        print("made", vessl.create_run(yaml_file=None, yaml_body=text, yaml_file_name="x.yaml"))
    except VesslApiException as error:
        print(error.status, str(error).replace("\\n", " "))
`;
    const lines = (await sdk(script)).trim().split("\n");
    expect(lines.map((line) => line.slice(0, 3))).toEqual(["400", "400", "400", "400", "400", "400", "404", "400"]);
    for (const [index, said] of [...Object.values(wrong), "no such preset"].entries())
      expect(lines[index]).toContain(said);
  });

  test("a dry run of the YAML says what would be refused", async () => {
    const script = `
for text in ${JSON.stringify([ALL_FORMS, runYaml("dry", "true", "env: {A: {secret: NONE}}")])}:
    answer = api.run_spec_form_sync_v2_api(organization_name="acme", run_spec_form_sync_v2_api_input={"yaml_spec": text})
    print(answer.validated, answer.form_errors.validation_errors)
`;
    const [right, wrong] = (await sdk(script)).trim().split(/\n(?=False)/);
    expect(right).toBe("True None");
    expect(wrong).toContain("no such secret");
  });

  test("pages of a long list: fifty unless asked, a hundred at most, all of them by offset", async () => {
    await cloud.addOldRuns(250, "old");
    const script = `
where = dict(organization_name="acme", project_name="infra")
page = lambda **words: api.run_execution_list_api(keyword="old-", **where, **words)
first = page()
print(len(first.results), first.page_info.total_count, first.page_info.has_next_page, first.results[0].run_spec.title)
print(len(page(limit=500).results))
titles = [r.run_spec.title for offset in (0, 100, 200) for r in page(limit=100, offset=offset).results]
print(len(set(titles)), titles[-1])
`;
    expect((await sdk(script)).trim().split("\n")).toEqual(["50 250 True old-249", "100", "250 old-0"]);
  });

  test("secrets are deleted by id, and their values are in no answer", async () => {
    const script = `
found = api.secret_list_api(organization_name="acme").secrets
print("uryyb" in str(found), len(found))
api.secret_generic_secret_delete_api(organization_name="acme", secret_id=found[0].credentials_id)
print(len(api.secret_list_api(organization_name="acme").secrets))
`;
    expect((await sdk(script)).trim().split("\n")).toEqual(["False 1", "0"]);
  });
});

test("the client talked to nobody else, and always said who it is", () => {
  const requests = cloud.requests();
  expect(requests.length).toBeGreaterThan(100);
  expect(new Set(requests.map(({ authorization }) => authorization))).toEqual(new Set([`Token ${cloud.token}`]));
  expect(requests.filter(({ status }) => status >= 500)).toEqual([]);
  expect(readdirSync(cloud.root)).toEqual(expect.arrayContaining(["home", "state", "stub.log"]));
});
