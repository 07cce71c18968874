/** The command line on the GPU cloud, as people call it: what `wmtp doctor` finds, and runs that `cancel` and `retry` reach. */
import { spawn } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join, resolve } from "node:path";
import { stringify } from "yaml";
import { fingerprintTag } from "../../launcher/vessl/run-yaml.ts";
import { putSecrets } from "../support/cloud-stack.ts";
import { eventually } from "../support/eventually.ts";
import { stackFile } from "../support/stack-config.ts";
import { VesslCloud } from "../support/vessl-cloud.ts";
import { runYaml } from "./run-yaml.ts";

const WMTP = resolve(import.meta.dirname, "..", "..", "cli", "wmtp.ts");
const CLI_MS = 60_000;

jest.setTimeout(90_000);
let cloud: VesslCloud;
let project: string;
beforeAll(async () => {
  cloud = await VesslCloud.start();
  await putSecrets(cloud);
}, 360_000);
afterAll(() => cloud.dispose());
beforeEach(() => {
  project = mkdtempSync(join(tmpdir(), "wmtp-doctor-"));
  mkdirSync(join(project, "bin"));
  pulumiSays({ "stack output runSecrets --json --stack prod": ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] });
});
afterEach(async () => {
  await cloud.revokeToken(false);
  await cloud.clearFaults();
  rmSync(project, { recursive: true, force: true });
});

/** A `pulumi` that knows these answers, by its arguments, and no others. */
function pulumiSays(answers: Readonly<Record<string, unknown>>): void {
  const cases = Object.entries(answers).map(([args, answer], index) => {
    const file = join(project, `answer-${index}.json`);
    writeFileSync(file, JSON.stringify(answer));
    return `  "${args} --non-interactive") cat "${file}" ;;`;
  });
  const script = join(project, "bin", "pulumi");
  writeFileSync(
    script,
    `#!/bin/sh\ncase "$*" in\n${cases.join("\n")}\n  *) echo "error: unexpected: $*" >&2; exit 1 ;;\nesac\n`,
  );
  chmodSync(script, 0o755);
}

interface Answer {
  readonly code: number | null;
  readonly text: string;
}

function wmtp(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Answer> {
  return new Promise((done, fail) => {
    const child = spawn(process.execPath, [WMTP, ...args, "--stack", "dev"], {
      cwd: project,
      env: {
        PATH: `${join(project, "bin")}${delimiter}${process.env.PATH}`,
        HOME: project,
        WMTP_HOME: join(project, "home"),
        NODE_NO_WARNINGS: "1",
        ...cloud.env,
        ...env,
      },
      timeout: CLI_MS,
    });
    let text = "";
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (part) => (text += part));
    child.on("error", fail);
    child.on("close", (code) => done({ code, text }));
  });
}

describe("wmtp doctor", () => {
  /** Of a stack file like a committed one, with this in its wmtp:launcher.vessl. */
  function doctor(
    vessl: object = {},
    { env = {}, from = "minitest-vessl", config = {}, args = [] as readonly string[] } = {},
  ): Promise<Answer> {
    const launcher = { target: "vessl", vessl: { organization: cloud.organization, project: cloud.project, ...vessl } };
    const file = { config: { ...stackFile(from).config, "wmtp:launcher": launcher, ...config } };
    writeFileSync(join(project, "Pulumi.dev.yaml"), stringify(file));
    return wmtp(["doctor", ...args], env);
  }
  const failures = ({ text }: Answer) => text.split("\n").filter((line) => line.startsWith("FAILED"));

  test("all is fine: who, where, what is there and what will be made; nothing is changed", async () => {
    const before = cloud.requests().length;
    const { code, text } = await doctor();
    expect(text.trimEnd().split("\n")).toEqual([
      "ok           stack file    Pulumi.dev.yaml",
      "ok           target        vessl: runs go to the GPU cloud",
      `ok           host          ${cloud.url} (VESSL_API_HOST)`,
      expect.stringMatching(/^ok {11}login {9}\S+ \(\S+@\S+\)$/),
      "ok           product       VESSL (app.vessl.ai, client `vessl`): its API accepts the token",
      "ok           organization  acme",
      "ok           project       infra",
      "ok           cluster       vessl-kr-a100-80g-sxm (connected)",
      "ok           preset        gpu-a100-80g-large, for critic, verifiable, baseline, rho1",
      "ok           preset        gpu-a100-80g-small, for ntp",
      "ok           storage       vessl-storage",
      "ok           volume        vessl-storage/wmtp-minitest-models is not there yet: pulumi up will make it",
      "ok           volume        vessl-storage/wmtp-minitest-datasets is not there yet: pulumi up will make it",
      "ok           volume        vessl-storage/wmtp-minitest-checkpoints is not there yet: pulumi up will make it",
      "ok           secret        WMTP_PROD_AWS_ACCESS_KEY_ID is there",
      "ok           secret        WMTP_PROD_AWS_SECRET_ACCESS_KEY is there",
    ]);
    expect(code).toBe(0);
    const asked = cloud.requests().slice(before);
    expect(new Set(asked.map(({ method }) => method))).toEqual(new Set(["GET"]));
  });

  test("as JSON, with a volume that is there", async () => {
    const made = await cloud.client(
      "storage",
      "create-volume",
      "wmtp-minitest-models",
      "--storage-name",
      "vessl-storage",
    );
    expect(made.code).toBe(0);
    const { code, text } = await doctor({}, { args: ["--json"] });
    expect(JSON.parse(text)).toMatchObject({
      stack: "dev",
      ok: true,
      checks: expect.arrayContaining([
        { check: "project", result: "ok", detail: "infra" },
        { check: "volume", result: "ok", detail: "vessl-storage/wmtp-minitest-models is there" },
      ]),
    });
    expect(code).toBe(0);
  });

  test("a stack with infrastructure of its own: what its up will make", async () => {
    const token = { "wmtp:hfToken": { secure: "v1:x:y" } };
    const { code, text } = await doctor({}, { from: "prod", config: token });
    expect(text).toContain("secret        WMTP_DEV_MLFLOW_TRACKING_PASSWORD is not there yet: pulumi up will make it");
    expect(text).toContain("secret        WMTP_DEV_HF_TOKEN is not there yet");
    expect(text).not.toContain("weighted-mtp-models"); // they are in the bucket
    expect(code).toBe(0);
  });

  test.each<[string, object, string[]]>([
    [
      "organization",
      { organization: "acm" },
      ['organization  organization "acm" is not among yours: acme, other; did you mean "acme"?'],
    ],
    [
      "project",
      { project: "infr" },
      ['project       project "infr" is not among yours: infra, playground; did you mean "infra"?'],
    ],
    [
      "cluster",
      { cluster: "moon" },
      [
        'cluster       cluster "moon" does not exist; wmtp:launcher.vessl.cluster is one of vessl-gcp-oregon, vessl-kr-a100-80g-sxm, lab-cluster',
      ],
    ],
    [
      "preset",
      { presets: { "1": "gpu-a100-80g-smal", "2": "not used", "4": "gpu-a100-80g-large" } },
      [
        'preset        preset "gpu-a100-80g-smal" does not exist on cluster vessl-kr-a100-80g-sxm; did you mean "gpu-a100-80g-small"? ' +
          "wmtp:launcher.vessl.presets takes gpu-a100-80g-small, gpu-a100-80g-medium, gpu-a100-80g-large (for ntp)",
      ],
    ],
  ])("a wrong %s is named, with those that there are", async (_what, vessl, expected) => {
    const answer = await doctor(vessl);
    expect(failures(answer)).toEqual(expected.map((line) => `FAILED       ${line}`));
    expect(answer.code).toBe(1);
  });

  test.each<[string, string]>([
    [
      "lab",
      'storage "lab" is of type cluster-nfs, which cannot be uploaded to from here: set wmtp:volumes.storage to one of type s3',
    ],
    [
      "attic",
      'storage "attic" is not among the organization\'s: set wmtp:volumes.storage to one of type s3 (vessl-storage, disk, other)',
    ],
  ])("a storage %s that will not do", async (storage, message) => {
    const answer = await doctor({}, { config: { "wmtp:volumes": { storage } } });
    expect(failures(answer)).toEqual([expect.stringContaining(message)]);
    expect(answer.text).toContain(`not checked  volume        needs the storage ${storage}`);
    expect(answer.code).toBe(1);
  });

  test("of an experiment what its base has not made is missed, and its base's file is read with its own", async () => {
    const launcher = { vessl: { organization: cloud.organization, project: cloud.project } };
    const base = { ...stackFile("prod").config, "wmtp:launcher": launcher };
    writeFileSync(join(project, "Pulumi.prod.yaml"), stringify({ config: base }));
    const experiment = (pipelines: object) => {
      const config = { "wmtp:base": "prod", "wmtp:pipelines": pipelines };
      writeFileSync(join(project, "Pulumi.dev.yaml"), stringify({ config }));
      return wmtp(["doctor"]);
    };
    const { text } = await experiment({ ntp: { gpus: 2 } });
    expect(text).toContain("ok           preset        gpu-a100-80g-medium, for ntp");
    expect(text.split("\n").filter((line) => line.startsWith("FAILED"))).toEqual([
      "FAILED       volume        vessl-storage/weighted-mtp-datasets is not there: run pulumi up --stack prod",
    ]);
    const named = await experiment({ verifiable: { criticCheckpoint: "old/checkpoint_best" } });
    expect(named.text).toContain("FAILED       volume        vessl-storage/weighted-mtp-checkpoints is not there");
    const wrong = await experiment({ ntp: { gpus: 3 } });
    expect(wrong.text).toContain(
      "FAILED       stack file    Pulumi.dev.yaml: wmtp:pipelines.ntp.gpus: 3 is not one of",
    );
  });

  test("a secret of the base that is gone, and a base that was never deployed", async () => {
    pulumiSays({ "stack output runSecrets --json --stack prod": ["AWS_ACCESS_KEY_ID", "HF_TOKEN"] });
    const gone = await doctor();
    expect(failures(gone)).toEqual([
      "FAILED       secret        WMTP_PROD_HF_TOKEN is not among the organization's secrets: run pulumi up --stack prod",
    ]);
    pulumiSays({});
    const never = await doctor();
    expect(failures(never)).toEqual([
      expect.stringMatching(
        /secret .* base stack prod has cannot be read \(unexpected: .*\): run pulumi up --stack prod first$/,
      ),
    ]);
    expect([gone.code, never.code]).toEqual([1, 1]);
  });

  test("a token that is refused: a login, or the vendor's other product; the token is nowhere", async () => {
    await cloud.revokeToken();
    const answer = await doctor();
    expect(failures(answer)).toEqual([expect.stringMatching(/login .*\(401.*\).*vessl configure.*VESSL_ACCESS_TOKEN/)]);
    expect(answer.text).toMatch(
      /not checked {2}product .*cloud\.vessl\.ai.*vesslctl.*VESSL Cloud.*get an account of app\.vessl\.ai/,
    );
    expect(answer.text).toContain("not checked  organization  needs a login that works");
    expect(answer.text).not.toContain(cloud.token);
    expect(answer.code).toBe(1);
  });

  test("no token", async () => {
    const answer = await doctor({}, { env: { VESSL_ACCESS_TOKEN: "" } });
    expect(failures(answer)).toEqual([expect.stringContaining("login         there is no token: log in with")]);
    expect(answer.code).toBe(1);
  });

  test("a service that does not answer, soon", async () => {
    await cloud.faults({ effect: "refuse", times: 100 });
    const begin = Date.now();
    const answer = await doctor();
    expect(Date.now() - begin).toBeLessThan(30_000);
    expect(failures(answer)).toEqual([expect.stringContaining(`host          ${cloud.url} cannot be reached`)]);
    expect(answer.code).toBe(1);
  });

  test("a stack file with problems: all of them, and to whom one may write", async () => {
    const answer = await doctor({ organisation: "acme", organization: undefined });
    expect(failures(answer)[0]).toBe(
      'FAILED       stack file    Pulumi.dev.yaml: wmtp:launcher.vessl.organisation: unknown key; did you mean "organization"?',
    );
    expect(answer.text).toContain("organization  correct the stack file first; your organizations: acme, other");
    expect(answer.code).toBe(1);
  });
});

describe("a run on the cloud", () => {
  const NAME = "wmtp-dev-critic-01234567";
  const RUN = "launcher:index:Run";
  const inputs = () => ({ stack: "dev", pipeline: "critic", name: NAME, place: cloud.place });
  const resource = () => ({ urn: `urn:pulumi:dev::wmtp::${RUN}::critic`, type: RUN, id: NAME, inputs: inputs() });
  /** A state with the run in it, or with the create that is making it. */
  const stateSays = (deployment: object) => pulumiSays({ "stack export --stack dev": { version: 3, deployment } });
  const newest = async () => (await cloud.runs()).findLast(({ run_spec }) => run_spec.title === NAME);

  async function start(): Promise<void> {
    const yaml = runYaml(NAME, "true", `tags: ["${fingerprintTag("0123456789abcdef")}"]\n`);
    await cloud.script({ title: NAME, times: 1, timeline: [{ status: "running" }] });
    const answer = await fetch(`${cloud.url}/api/v1/organizations/acme/projects/infra/run/spec/create_from_yaml`, {
      method: "POST",
      headers: { authorization: `Token ${cloud.token}` },
      body: JSON.stringify({ yaml_spec: yaml }),
    });
    expect([answer.status, await answer.text()]).toMatchObject([200, expect.anything()]);
    await eventually(async () => (await newest())?.status === "running", 10_000);
  }

  test("is cancelled while the update that makes it goes on, stays so, and may start again after retry", async () => {
    await start();
    stateSays({ resources: [], pending_operations: [{ type: "creating", resource: resource() }] });
    expect(await wmtp(["cancel", "ntp"])).toEqual({
      code: 1,
      text: "wmtp: no run of ntp is active in stack dev; active: critic\n",
    });
    expect(await wmtp(["cancel", "critic"])).toEqual({
      code: 0,
      text: `${NAME} is stopped and stays so; wmtp retry critic --stack dev lets it start again\n`,
    });
    expect(await newest()).toMatchObject({ status: "terminated", message: "wmtp cancelled: wmtp cancel" });
    stateSays({ resources: [{ ...resource(), outputs: { ...inputs(), status: "terminated" } }] });
    expect(await wmtp(["cancel", "critic"])).toMatchObject({ code: 1, text: expect.stringContaining("active: none") });
    expect(await wmtp(["retry", "critic"])).toEqual({
      code: 0,
      text: `${NAME} may start again: pulumi up --stack dev\n`,
    });
    expect(await newest()).toMatchObject({ status: "terminated", message: "wmtp retry: wmtp retry" });
  });

  test("that trains needs no retry", async () => {
    await start();
    stateSays({ resources: [{ ...resource(), outputs: { ...inputs(), status: "running" } }] });
    expect(await wmtp(["retry", "critic"])).toEqual({ code: 0, text: `${NAME} is running: nothing to retry\n` });
    expect(await wmtp(["cancel", "critic"])).toMatchObject({ code: 0 });
  });

  test("is not reached without a login, and it says so in a line", async () => {
    stateSays({ resources: [{ ...resource(), outputs: { ...inputs(), status: "running" } }] });
    for (const command of ["cancel", "retry"]) {
      const { code, text } = await wmtp([command, "critic"], { VESSL_ACCESS_TOKEN: "" });
      expect(text).toMatch(/^wmtp: there is no login for the GPU cloud: .*\n$/);
      expect(code).toBe(1);
    }
  });
});
