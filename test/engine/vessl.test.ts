/** A stack on the GPU cloud: the real engine and launcher, a stub of the cloud that executes runs, the cloud's real client as witness. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import { makeCloudStack } from "../support/cloud-stack.ts";
import type { EngineStack } from "../support/engine-stack.ts";
import { VesslCloud } from "../support/vessl-cloud.ts";

jest.setTimeout(600_000);
const PIPELINES = ["baseline", "critic", "ntp", "rho1", "verifiable"];
const MODELS = "volume://vessl-storage/wmtp-minitest-models";

let cloud: VesslCloud;
let stack: EngineStack;
beforeAll(async () => {
  cloud = await VesslCloud.start();
  stack = await makeCloudStack("e2e", cloud);
});
afterAll(async () => {
  stack?.dispose();
  await cloud?.dispose();
});

/** Requests to the API that `work` makes, as `METHOD path`. */
function callsOf(work: () => void): string[] {
  const before = cloud.requests().length;
  work();
  return cloud
    .requests()
    .slice(before)
    .map(({ method, path }) => `${method} ${path}`);
}

function inputsOf(text: string): { type: string; inputs: Record<string, unknown> }[] {
  const { steps } = JSON.parse(text.slice(text.indexOf("{"), text.lastIndexOf("}") + 1));
  return steps.map(({ newState }: { newState: { type: string; inputs: Record<string, unknown> } }) => newState);
}

describe("a preview", () => {
  test("makes nothing, and shows each run as it would be submitted", () => {
    let shown: ReturnType<typeof inputsOf> = [];
    const calls = callsOf(() => {
      shown = inputsOf(stack.mustRun("preview", "--json"));
    });
    expect(calls.filter((call) => !call.startsWith("GET "))).toEqual([]);
    const runs = shown.filter(({ type }) => type === "launcher:index:Run");
    expect(runs.map(({ inputs }) => inputs.pipeline).sort()).toEqual(PIPELINES);
    const critic = runs.find(({ inputs }) => inputs.pipeline === "critic")?.inputs;
    expect(parse(critic?.submission as string)).toMatchObject({
      name: critic?.name,
      resources: { cluster: "vessl-kr-a100-80g-sxm", preset: "gpu-a100-80g-large" },
      import: { "/app/models/": MODELS },
      env: { AWS_SECRET_ACCESS_KEY: { secret: "WMTP_PROD_AWS_SECRET_ACCESS_KEY" } },
      run: [{ command: expect.stringContaining("torchrun --standalone --nproc_per_node=4"), workdir: "/app" }],
    });
  });

  test.each([
    [
      "organization",
      { "wmtp:launcher.vessl": { organization: "acm", project: "infra" } },
      'organization "acm" is not among yours: acme, other',
    ],
    [
      "project",
      { "wmtp:launcher.vessl": { organization: "acme" } },
      'project "wmtp" is not among yours: infra, playground',
    ],
    [
      "cluster",
      { "wmtp:launcher.vessl.cluster": "moon" },
      'cluster "moon" does not exist; wmtp:launcher.vessl.cluster is one of vessl-gcp-oregon, vessl-kr-a100-80g-sxm',
    ],
    [
      "preset",
      { "wmtp:launcher.vessl.presets": { "1": "gpu-a100-80g-small", "2": "x", "4": "gpu-a100-80g-larg" } },
      'preset "gpu-a100-80g-larg" does not exist on cluster vessl-kr-a100-80g-sxm; did you mean "gpu-a100-80g-large"?',
    ],
  ])("refuses an unknown %s, and lists those that exist", (_, config, message) => {
    const before = stack.configuration();
    stack.configure(config);
    const { code, text } = stack.pulumi("preview");
    stack.restore(before);
    expect(code).not.toBe(0);
    expect(text.replaceAll(/\s+/g, " ")).toContain(message);
  });

  test("without a login warns once of what it cannot look up; an update is refused before anything is made", () => {
    const { VESSL_ACCESS_TOKEN, HOME, ...without } = stack.env;
    const env = { ...without, HOME: stack.root };
    const preview = stack.pulumiIn(env, "preview");
    expect(preview).toMatchObject({ code: 0 });
    // Once on its resource's row, once under Diagnostics.
    expect(preview.text.match(/was not looked up: log in with `vessl configure`/g)).toHaveLength(2);
    const update = stack.pulumiIn(env, "up", "--yes", "--skip-preview");
    expect(update.code).not.toBe(0);
    expect(update.text).toContain("there is no login for the GPU cloud, so nothing was created or changed");
    expect(
      cloud
        .requests()
        .filter(({ method }) => method === "POST" || method === "DELETE")
        .map(({ path }) => path),
    ).toEqual(expect.not.arrayContaining([expect.stringMatching(/volumes|create_from_yaml/)]));
  });
});

describe("an update", () => {
  test("makes volumes and secrets, fills them, trains all five in order", async () => {
    const { code, text } = stack.up();
    expect({ code, text }).toMatchObject({ code: 0 });
    const runs = stack.runs();
    expect(Object.keys(runs).sort()).toEqual(PIPELINES);
    for (const run of Object.values(runs)) {
      expect(run).toMatchObject({ status: "completed", attempts: 1, finalLoss: 1 });
      expect(cloud.bucketFiles(`${run.checkpointUri?.slice("s3://wmtp/".length)}/`)).toMatchObject({
        "COMPLETED.json": expect.stringContaining(run.fingerprint as string),
        "checkpoint_best/model.safetensors": `weights of ${run.pipeline}`,
      });
    }
    const started = (await cloud.runs()).map(({ run_spec }) => run_spec.title);
    expect(started).toHaveLength(5);
    expect(started.indexOf(runs.critic?.name as string)).toBeLessThan(started.indexOf(runs.verifiable?.name as string));
  });

  test("the real client sees volumes, files, runs and logs", async () => {
    const volumes = await cloud.client("storage", "list-volumes", "--storage-name", "vessl-storage");
    for (const kind of ["models", "datasets", "checkpoints"]) expect(volumes.stdout).toContain(`wmtp-minitest-${kind}`);
    const files = await cloud.client("storage", "list-files", MODELS);
    const listed = [...files.stdout.matchAll(/^\s*(\S+\/\S+)\s+([\d.]+) B\s*$/gm)].map(([, path, size]) => [
      path,
      Number(size),
    ]);
    expect(Object.fromEntries(listed)).toEqual({
      "tiny-mtp/model.safetensors": "weights of the base".length,
      "tiny-reference/model.safetensors": "weights of the reference".length,
    });
    const { runId, name } = stack.runs().critic as { runId: string; name: string };
    expect((await cloud.client("run", "list")).stdout).toContain(runId);
    const read = await cloud.client("run", "read", runId);
    expect(read.stdout).toContain(name);
    expect(read.stdout).toMatch(/Status\s+completed/);
    expect((await cloud.client("run", "logs", runId)).stdout).toContain('"event": "start"'.replace(": ", ":"));
  });

  test("a second one does nothing, and asks little", () => {
    const calls = callsOf(() => expect(stack.mustRun("up", "--yes")).toContain("20 unchanged"));
    // Who we are, and whether cluster and presets are there: once for the preview, once for the update.
    expect(calls.length).toBeLessThanOrEqual(12);
  });

  test("no secret is in the state, nor in any request but those to the store of secrets", () => {
    const secrets = [cloud.env.AWS_SECRET_ACCESS_KEY as string, cloud.token];
    const state = stack.mustRun("stack", "export", "--show-secrets");
    expect(state).toContain("WMTP_PROD_AWS_SECRET_ACCESS_KEY");
    const bodies = cloud
      .requests()
      .filter(({ path }) => !path.includes("/secrets/"))
      .map(({ path, query, body }) => ({ path, query, body }));
    const seen = state + JSON.stringify(bodies);
    expect(secrets.filter((secret) => seen.includes(secret))).toEqual([]);
  });

  test("one more file travels alone, to its volume alone, and nothing is trained that does not read it", () => {
    const source = join(stack.root, "sources", "models", "unused");
    mkdirSync(source);
    writeFileSync(join(source, "notes.txt"), "new");
    const before = cloud.s3Requests().length;
    const text = stack.mustRun("up", "--yes", "--skip-preview");
    expect(text).toMatch(/~ 1 updated/);
    const puts = cloud
      .s3Requests()
      .slice(before)
      .filter(({ method }) => method === "PUT");
    expect(puts.map(({ url }) => url.split(/[/?]/).find((word) => word.endsWith(".txt")))).toEqual(["notes.txt"]);
    rmSync(source, { recursive: true });
    stack.mustRun("up", "--yes", "--skip-preview");
    expect(Object.keys(cloud.volumeFiles("vessl-storage", "wmtp-minitest-models"))).toHaveLength(2);
  });
});

test("a volume that somebody deleted is noticed by refresh, and made and filled again; no run is repeated", async () => {
  const gone = await cloud.sdk(
    'from vessl.storage.volume_v2 import *\nst.delete_volume_file("vessl-storage", "wmtp-minitest-datasets", "", recursive=True)\nst.delete_volume(name="wmtp-minitest-datasets", storage_name="vessl-storage")\n',
  );
  expect(gone).toMatchObject({ code: 0 });
  expect(stack.mustRun("refresh", "--yes", "--skip-preview")).toMatch(/- 2 deleted/);
  expect(stack.mustRun("up", "--yes", "--skip-preview")).toMatch(/\+ 2 created/);
  expect(Object.keys(cloud.volumeFiles("vessl-storage", "wmtp-minitest-datasets"))).toEqual([
    "humaneval/processed/train.jsonl",
  ]);
  expect(await cloud.runs()).toHaveLength(5);
});

test("a source that is not here, as on a CI runner, keeps what is in the volume", () => {
  const before = stack.configuration();
  stack.configure({ "wmtp:volumes.sources.models": join(stack.root, "sources", "models") });
  rmSync(join(stack.root, "sources", "models"), { recursive: true });
  expect(stack.mustRun("up", "--yes", "--skip-preview")).toContain("20 unchanged");
  stack.restore(before);
});

describe("made by the real client before", () => {
  let other: EngineStack;
  beforeAll(async () => {
    other = await makeCloudStack("adopts", cloud, {
      config: {
        "wmtp:pipelines": { rho1: { gpus: 4, maxDuration: "30m" } },
        "wmtp:volumes.names": {
          models: "by-hand-models",
          datasets: "by-hand-data",
          checkpoints: "by-hand-checkpoints",
        },
        "wmtp:overrides.training\\.seed": 200, // longer than an update takes to get there, on a busy machine too
      },
    });
  });
  afterAll(() => other?.dispose());

  test("a volume with files is adopted with them; a run of the YAML that the preview shows is attached to", async () => {
    for (const kind of ["models", "data"])
      await cloud.client("storage", "create-volume", `by-hand-${kind}`, "--storage-name", "vessl-storage");
    const models = join(other.root, "sources", "models");
    const copied = await cloud.client("storage", "copy-file", models, "volume://vessl-storage/by-hand-models");
    expect(copied.code).toBe(0);

    const run = inputsOf(other.mustRun("preview", "--json")).find(({ type }) => type === "launcher:index:Run")?.inputs;
    const file = join(other.root, "run.yaml");
    writeFileSync(file, run?.submission as string);
    const created = await cloud.client("run", "create", "-f", file);
    expect(created.stdout).toMatch(/\/runs\/infra\/\d{12}/);
    const [made] = (await cloud.runs()).filter(({ run_spec }) => run_spec.title === run?.name);
    expect(parse(made?.run_spec.yaml_spec as string)).toEqual(parse(readFileSync(file, "utf8")));

    const before = cloud.s3Requests().length;
    const { code, text } = other.up();
    expect({ code, text }).toMatchObject({ code: 0 });
    expect(text).toContain("rho1: attached to attempt 1, which was still running");
    expect((await cloud.runs()).filter(({ run_spec }) => run_spec.title === run?.name)).toHaveLength(1);
    expect(other.runs().rho1).toMatchObject({ status: "completed", runId: String(made?.id) });
    const puts = cloud
      .s3Requests()
      .slice(before)
      .filter(({ method, url }) => method === "PUT" && url.includes("safetensors"));
    expect(puts.filter(({ url }) => !url.includes("checkpoint"))).toEqual([]);
  });
});

test("destroy takes the volumes of a stack for a test along, and leaves checkpoints and the base alone", async () => {
  expect(stack.mustRun("destroy", "--yes", "--skip-preview")).toMatch(/- 20 deleted/);
  const volumes = await cloud.client("storage", "list-volumes", "--storage-name", "vessl-storage");
  expect(volumes.stdout).not.toContain("wmtp-minitest-");
  expect(Object.keys(cloud.bucketFiles("checkpoints/prod/experiments/e2e/")).length).toBeGreaterThan(10);
});
