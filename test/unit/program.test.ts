/** The whole program on mocks: what it registers, with which inputs, in which order. What the engine makes of it: test/engine. */
import { TrainerConfigs } from "../../components/trainer-config.ts";
import { type Registration, runProgram } from "../support/program.ts";
import { stackFile } from "../support/stack-config.ts";

const URN = "urn:pulumi:minitest::wmtp::";
const VOLUME = (name: string) => `${URN}wmtp:index:FilledVolume$launcher:index:Volume::${name}`;
const UPLOAD = (name: string) => `${URN}wmtp:index:FilledVolume$launcher:index:Upload::${name}`;
const RUN = (name: string) => `${URN}wmtp:index:TrainingRun$launcher:index:Run::${name}`;
const TRACKER = `${URN}launcher:index:TrackingServer::tracker`;
const FILLED = [VOLUME("models"), UPLOAD("models"), VOLUME("datasets"), UPLOAD("datasets")];

const PIPELINES = ["critic", "verifiable", "baseline", "rho1", "ntp"];
const minitest = stackFile("minitest").config;
const find = (registered: readonly Registration[], urn: string) => {
  const found = registered.filter((registration) => registration.urn === urn);
  expect(found).toHaveLength(1);
  return found[0] as Registration;
};
const changed = (pipelines: Record<string, unknown>) => ({ ...minitest, "wmtp:pipelines": pipelines });

test("registers exactly the volumes, the tracker and a run per pipeline", async () => {
  const { registered } = await runProgram(minitest);
  expect(registered.map(({ urn }) => urn).sort()).toEqual(
    [
      `${URN}wmtp:index:FilledVolume::models`,
      `${URN}wmtp:index:FilledVolume::datasets`,
      ...FILLED,
      TRACKER,
      ...PIPELINES.flatMap((name) => [`${URN}wmtp:index:TrainingRun::${name}`, RUN(name)]),
    ].sort(),
  );
});

test("hands out the tracker's address, the experiment and what experiments take, and nothing else", async () => {
  const { runs, ...outputs } = (await runProgram(minitest)).outputs;
  const hashes = { "tiny-mtp": "hash of tiny-mtp", "tiny-reference": "hash of tiny-reference" };
  expect(outputs).toEqual({
    trackerUrl: "http://127.0.0.1:15000",
    experiment: "weighted-mtp/minitest",
    models: { ...hashes, humaneval: "hash of humaneval" }, // the mock's uploads are all the same
    datasets: { ...hashes, humaneval: "hash of humaneval" },
    modelsVolume: { storage: "local-storage", name: "wmtp-minitest-models" },
    datasetsVolume: { storage: "local-storage", name: "wmtp-minitest-datasets" },
    modelsDelivery: "volume",
    modelBytes: null, // the mock's uploads count none
    critic: { fingerprint: "fingerprint of critic", checkpointUri: "local://checkpoints/minitest/critic" },
    plan: expect.stringContaining("| critic | 2 | 8 | 0.17 |"),
  });
  expect((runs as string).split("\n")).toEqual(
    expect.arrayContaining([
      "critic.gpus = 2",
      "critic.maxDurationSeconds = 600",
      "critic.effectiveBatch = 8",
      "ntp.trainerConfig.training.learning_rate = 0.003",
    ]),
  );
});

test("the same resources are planned whether what the provider computes is known or not", async () => {
  const runs = [
    { preview: true, known: false },
    { preview: true, known: true },
    { preview: false, known: true },
  ];
  const plans = [];
  for (const options of runs) plans.push((await runProgram(minitest, options)).registered.map(({ urn }) => urn).sort());
  expect(plans[0]).toHaveLength(17);
  expect(plans[0]).toEqual(plans[2]);
  expect(plans[1]).toEqual(plans[2]);
});

test("a run waits for the volumes, for the tracker and for the run whose checkpoint it reads", async () => {
  const { registered } = await runProgram(minitest);
  const waits = (name: string) => find(registered, RUN(name)).dependencies;
  expect(waits("critic")).toEqual([...FILLED, TRACKER].sort());
  expect(waits("verifiable")).toEqual([...FILLED, TRACKER, RUN("critic")].sort());
  for (const name of ["baseline", "rho1", "ntp"]) expect(waits(name)).toEqual([...FILLED, TRACKER].sort());
});

test("`after` orders and hands nothing over", async () => {
  const { registered } = await runProgram(
    changed({ ntp: { after: ["rho1"] }, rho1: { after: ["baseline"] }, baseline: null }),
  );
  const ntp = find(registered, RUN("ntp"));
  expect(ntp.dependencies).toEqual([...FILLED, TRACKER, RUN("rho1")].sort());
  expect(ntp.inputs.needs).toEqual({});
  expect(find(registered, RUN("rho1")).dependencies).toContain(RUN("baseline"));
});

test("the inputs of a run, all of them", async () => {
  const { registered } = await runProgram(minitest);
  expect(find(registered, RUN("verifiable")).inputs).toEqual({
    place: { target: "local" },
    stack: "minitest",
    pipeline: "verifiable",
    gpus: 2,
    trainerConfig: new TrainerConfigs().resolve("verifiable", {
      ...(minitest["wmtp:overrides"] as object),
      "models.base": "tiny-mtp",
      "models.critic_trunk": "tiny-mtp",
    }),
    models: { "tiny-mtp": "hash of tiny-mtp" },
    datasets: { humaneval: "hash of humaneval" },
    needs: {
      critic: { fingerprint: "fingerprint of critic", checkpointUri: "local://checkpoints/minitest/critic" },
    },
    resultsVersion: new TrainerConfigs().resultsVersion,
    volumes: {
      models: { storage: "local-storage", name: "wmtp-minitest-models" },
      datasets: { storage: "local-storage", name: "wmtp-minitest-datasets" },
    },
    trackerUrl: "http://127.0.0.1:15000",
    experiment: "weighted-mtp/minitest/verifiable-wmtp",
    tags: ["weighted-mtp", "verifiable", "2gpu", "minitest"],
    effectiveBatch: 8,
    maxDurationSeconds: 600,
    maxParallel: 1,
    retries: 2,
    waitSeconds: process.env.CI ? 1800 : null,
  });
});

test("a run reads its own models and no others", async () => {
  const { registered } = await runProgram(minitest);
  const models = PIPELINES.map((name) => Object.keys(find(registered, RUN(name)).inputs.models as object));
  expect(models).toEqual([["tiny-mtp"], ["tiny-mtp"], ["tiny-mtp"], ["tiny-mtp", "tiny-reference"], ["tiny-mtp"]]);
});

test("a model that its volume does not hold reaches the run as an empty hash, which the launcher refuses by name", async () => {
  const { registered } = await runProgram({
    ...minitest,
    "wmtp:models": { base: "absent", reference: "tiny-reference" },
  });
  expect(find(registered, RUN("rho1")).inputs.models).toEqual({
    absent: "",
    "tiny-reference": "hash of tiny-reference",
  });
});

test("volumes and uploads", async () => {
  const { registered } = await runProgram(minitest);
  expect(find(registered, VOLUME("models")).inputs).toEqual({
    place: { target: "local" },
    storage: "local-storage",
    volumeName: "wmtp-minitest-models",
    tags: ["weighted-mtp", "models"],
    forceDelete: false,
  });
  const upload = find(registered, UPLOAD("datasets"));
  expect(upload.inputs).toEqual({
    place: { target: "local" },
    storage: "local-storage",
    volumeName: "wmtp-minitest-datasets",
    source: "storage/minitest/datasets",
    optional: false,
  });
  expect(upload.dependencies).toEqual([VOLUME("datasets")]);
  expect(upload.deletedWith).toBe(VOLUME("datasets"));
});

test("a named critic checkpoint stands in place of the critic's run", async () => {
  const { registered } = await runProgram(changed({ verifiable: { criticCheckpoint: "elsewhere/critic" } }));
  expect(registered.filter(({ type }) => type === "launcher:index:Run")).toHaveLength(1);
  expect(find(registered, RUN("verifiable")).inputs).toMatchObject({ needs: {}, criticCheckpoint: "elsewhere/critic" });
});

test("no secret of the stack reaches any resource, component or output", async () => {
  process.env.PULUMI_CONFIG_SECRET_KEYS = '["wmtp:hfToken","wmtp:mlflowAdminPassword"]';
  try {
    const { registered, outputs } = await runProgram({
      ...minitest,
      "wmtp:hfToken": "planted-secret-1",
      "wmtp:mlflowAdminPassword": "planted-secret-2",
    });
    expect(registered).toHaveLength(17);
    expect(JSON.stringify([registered, outputs])).not.toContain("planted-secret");
    // Inputs that are marked secret arrive wrapped, with this signature.
    expect(JSON.stringify(registered)).not.toContain("4dabf18193072939515e22adb298388d");
  } finally {
    delete process.env.PULUMI_CONFIG_SECRET_KEYS;
  }
});

test("a bad stack file registers nothing", async () => {
  await expect(runProgram(changed({ critic: { gpus: 8 } }))).rejects.toThrow(
    "Pulumi.minitest.yaml has 1 problem; nothing was created or changed:\n  wmtp:pipelines.critic.gpus: 8 is not one of 1, 2, 4",
  );
});
