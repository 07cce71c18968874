/** A preview of prod by the real engine, offline: the whole graph, in dependency order, and no secret anywhere. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { parse } from "yaml";
import { EngineStack } from "../support/engine-stack.ts";
import { VesslCloud } from "../support/vessl-cloud.ts";

jest.setTimeout(300_000);
const PROJECT = resolve(import.meta.dirname, "..", "..");
const PLANTED = { admin: "planted-admin-password", token: "planted-registry-token", hub: "planted-hub-token" };

let stack: EngineStack;
beforeAll(() => {
  stack = new EngineStack("prod", { from: "prod", config: { "wmtp:image.registryUser": "somebody" } });
  stack.mustRun("config", "set", "--secret", "wmtp:mlflowAdminPassword", PLANTED.admin);
  stack.mustRun("config", "set", "--secret", "wmtp:registryToken", PLANTED.token);
  stack.mustRun("config", "set", "--secret", "wmtp:hfToken", PLANTED.hub);
});
afterAll(() => stack?.dispose());

interface Step {
  readonly op: string;
  readonly urn: string;
  readonly newState: { readonly type: string; readonly inputs: Record<string, unknown>; readonly protect?: boolean };
}

const planted = (text: string) => Object.values(PLANTED).filter((secret) => text.includes(secret));

test("shows bucket, identity, tracker, image, volumes and runs, and makes nothing", () => {
  const text = stack.mustRun("preview", "--json");
  const { steps } = JSON.parse(text.slice(text.indexOf("{"), text.lastIndexOf("}") + 1)) as { steps: Step[] };
  expect(new Set(steps.map(({ op }) => op))).toEqual(new Set(["create"]));
  const count = (type: string) => steps.filter(({ newState }) => newState.type === type).length;
  expect({
    buckets: count("aws:s3/bucket:Bucket"),
    instances: count("aws:ec2/instance:Instance"),
    volumes: count("aws:ebs/volume:Volume"),
    images: count("docker:index/image:Image"),
    gates: count("command:local:Command"),
    secrets: count("launcher:index:OrgSecret"),
    cloudVolumes: count("launcher:index:Volume"),
    uploads: count("launcher:index:Upload"),
    runs: count("launcher:index:Run"),
  }).toEqual({
    buckets: 2,
    instances: 1,
    volumes: 1,
    images: 1,
    gates: 1,
    secrets: 4,
    cloudVolumes: 2,
    uploads: 3,
    runs: 5,
  });
  const run = steps.find(({ urn }) => urn.endsWith("launcher:index:Run::ntp"))?.newState.inputs;
  expect(run).toMatchObject({ pipeline: "ntp", gpus: 1, experiment: "weighted-mtp/production/ntp" });
  expect(stack.state().deployment.resources ?? []).toEqual([]);
});

test("no planted secret is in what it prints, in its plan, or in any file it leaves", () => {
  const shown = stack.mustRun("preview", "--diff") + stack.mustRun("preview", "--json", "--show-sames");
  expect(shown).toContain("secretString");
  expect(planted(shown)).toEqual([]);
  const plan = join(stack.root, "plan.json");
  stack.mustRun("preview", "--save-plan", plan);
  expect(planted(readFileSync(plan, "utf8"))).toEqual([]);
  const files = readdirSync(stack.root, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  expect(files.length).toBeGreaterThan(3);
  for (const { parentPath, name } of files)
    expect([name, planted(readFileSync(join(parentPath, name), "latin1"))]).toEqual([name, []]);
});

test("an update with runs and no login to the GPU cloud is refused before anything is made", () => {
  const { code, text } = stack.up();
  expect(code).not.toBe(0);
  expect(text).toContain("there is no login for the GPU cloud, so nothing was created or changed");
  expect(stack.state().deployment.resources?.filter(({ type }) => !type.startsWith("pulumi:")) ?? []).toEqual([]);
});

test("with a login and the models at hand it looks at the cluster, and shows each run as far as it is known", async () => {
  const cloud = await VesslCloud.start();
  const before = stack.configuration();
  const file = (...path: string[]) => {
    const target = join(stack.root, "sources", ...path);
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, "content");
  };
  for (const model of ["llama-7b-mtp", "sheared-llama-2.7b"]) file("models", model, "model.safetensors");
  file("datasets", "codecontests", "processed", "train.jsonl");
  const sources = { models: join(stack.root, "sources", "models"), datasets: join(stack.root, "sources", "datasets") };
  stack.configure({
    "wmtp:launcher.vessl": { organization: cloud.organization, project: cloud.project },
    "wmtp:volumes": { sources },
  });
  try {
    const { code, text } = stack.pulumiIn({ ...stack.env, ...cloud.env }, "preview", "--json");
    expect({ code, text }).toMatchObject({ code: 0 });
    const { steps } = JSON.parse(text.slice(text.indexOf("{"), text.lastIndexOf("}") + 1)) as { steps: Step[] };
    const run = steps.find(({ urn }) => urn.endsWith("launcher:index:Run::rho1"))?.newState.inputs;
    const shown = parse(run?.submission as string);
    expect(shown).toMatchObject({
      name: run?.name,
      image: "(known after up)",
      import: { "/app/datasets/": "volume://vessl-storage/weighted-mtp-datasets" },
      resources: { cluster: "vessl-kr-a100-80g-sxm", preset: "gpu-a100-80g-large" },
      env: { MLFLOW_TRACKING_URI: "(known after up)", WMTP_TRACKER_CA: "(known after up)", S3_BUCKET_NAME: "wmtp" },
    });
    expect(shown.run[0].command).toContain(
      "--fetch s3://wmtp/models/sheared-llama-2.7b=/app/models/sheared-llama-2.7b ",
    );
    stack.configure({ "wmtp:launcher.vessl.cluster": "moon" });
    const refused = stack.pulumiIn({ ...stack.env, ...cloud.env }, "preview");
    expect(refused.code).not.toBe(0);
    expect(refused.text).toContain('cluster "moon" does not exist');
  } finally {
    stack.restore(before);
    await cloud.dispose();
  }
});

test("an open tracker with the waiver of the stack file's comment is fine, its date unquoted as YAML has it", () => {
  const before = stack.configuration();
  const waiver = readFileSync(join(PROJECT, "Pulumi.prod.yaml"), "utf8").match(/# {3}- (\{policy: .*\})/)?.[1];
  stack.restore(
    `${before.replace("203.0.113.0/24", "0.0.0.0/0")}`.replace("config:", `config:\n  wmtp:waivers:\n    - ${waiver}`),
  );
  expect(stack.configuration()).toMatch(/expires: \d{4}-\d\d-\d\d\}/);
  const { code, text } = stack.pulumi("preview");
  stack.restore(before);
  expect({ code, text }).toMatchObject({ code: 0 });
  expect(text).toContain("tracker-from-0.0.0.0/0");
});

test.each([
  [
    "a region without Transfer Acceleration",
    { "wmtp:storage.transferAcceleration": true },
    "S3 has no Transfer Acceleration in eu-north-1",
  ],
  [
    "the whole internet",
    { "wmtp:tracking.allowedCidrs": ["0.0.0.0/0"] },
    "lets the whole internet reach the tracker's login",
  ],
  ["nobody at all", { "wmtp:tracking.allowedCidrs": [] }, "wmtp:tracking.allowedCidrs: names nobody"],
  ["an image without a registry", { "wmtp:image.repository": "wmtp" }, '"wmtp" names no registry'],
])("refuses %s in the preview", (_, config, message) => {
  const before = stack.configuration();
  stack.configure(config);
  const { code, text } = stack.pulumi("preview");
  stack.restore(before);
  expect(code).not.toBe(0);
  expect(text).toContain(message);
  expect(text).toContain("nothing was created or changed");
});
