/** Experiments on minitest by the real engine: what they take from their base, what they own, and what they leave alone. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { EngineStack, isLive } from "../support/engine-stack.ts";
import { ExperimentStack } from "../support/experiment-stack.ts";

jest.setTimeout(300_000);
const CRITIC = { gpus: 1, overrides: { "training.seed": 2 } };

let base: EngineStack;
beforeAll(() => {
  base = new EngineStack("minitest", {
    config: {
      // A fifth of a second for each run of the stand-in.
      "wmtp:overrides.training\\.seed": 2,
      "wmtp:pipelines": { critic: CRITIC, verifiable: { gpus: 1, maxDuration: "5m" }, ntp: { gpus: 1 } },
    },
  });
});
afterAll(() => base?.dispose());

const experiment = (name: string, pipelines: Record<string, unknown>, more: Record<string, unknown> = {}) =>
  new ExperimentStack(base, name, { "wmtp:base": "minitest", "wmtp:pipelines": pipelines, ...more });
const criticOf = (stack: EngineStack) => {
  const { fingerprint, checkpointUri } = stack.runs().critic ?? {};
  return { fingerprint, checkpointUri };
};

describe("a base that is not ready", () => {
  let early: ExperimentStack;
  beforeAll(() => {
    early = experiment("early", { verifiable: {} });
  });

  test("was never deployed: its outputs are missed by name", () => {
    expect(early.refused("preview")).toContain(
      'error: the base stack minitest has no output "trackerUrl": it was never deployed, or by an older version, or has a base ' +
        "itself, or names no pipeline and so has no volumes; run pulumi up --stack minitest first",
    );
  });

  test("has a file and no stack", () => {
    writeFileSync(join(base.project, "Pulumi.never.yaml"), base.configuration());
    early.write({ "wmtp:base": "never", "wmtp:pipelines": { ntp: {} } });
    expect(early.refused("preview")).toContain(
      "error: the stack never does not exist yet: run pulumi up --stack never first",
    );
  });

  test("has a critic that failed: the rest is there for others, and what reads a critic is refused with the remedies", () => {
    base.fail("critic", "CUDA out of memory");
    expect(base.up().code).not.toBe(0);
    base.fail("critic", undefined);
    const outputs = JSON.parse(base.mustRun("stack", "output", "--json"));
    const exported = ["models", "datasets", "modelsVolume", "datasetsVolume", "modelsDelivery", "runs", "trackerUrl"];
    expect(Object.keys(outputs)).toEqual(expect.arrayContaining(exported));
    expect(outputs).toHaveProperty("critic", null);
    early.write({ "wmtp:base": "minitest", "wmtp:pipelines": { verifiable: {} } });
    // Nothing was declared, and so nothing started, before it was refused.
    expect(early.refused("up", "--yes", "--skip-preview")).toContain(
      "error: verifiable needs a critic, and the stack minitest has none that is trained: train it there (wmtp:pipelines.critic, then " +
        "pulumi up --stack minitest), or enable wmtp:pipelines.critic here, or name another in wmtp:pipelines.verifiable.criticCheckpoint",
    );
    expect(early.owned()).toEqual([]);
  });
});

describe("on a base that is ready", () => {
  let hot: ExperimentStack;
  let trained: string[];
  beforeAll(() => {
    const { code, text } = base.up();
    expect({ code, text }).toMatchObject({ code: 0 });
    trained = base.trained();
    hot = experiment("hot", { verifiable: { overrides: { "training.learning_rate": 0.01 } } });
  });

  test("a preview makes nothing; an update trains with the base's settings, data, tracker and critic, and owns its run alone", () => {
    expect(hot.mustRun("preview")).toMatch(/\+ 3 to create/);
    expect(hot.runs()).toEqual({});
    hot.mustRun("up", "--yes", "--skip-preview");
    expect(hot.owned()).toEqual(["launcher:index:Run", "wmtp:index:TrainingRun"]);
    const [{ verifiable: theirs }, run] = [base.runs(), hot.runs().verifiable];
    expect(run).toMatchObject({
      status: "completed",
      needs: { critic: criticOf(base) },
      gpus: 1,
      maxDurationSeconds: 300,
      models: theirs?.models,
      datasets: theirs?.datasets,
      volumes: theirs?.volumes,
      trackerUrl: theirs?.trackerUrl,
      experiment: "weighted-mtp/hot/verifiable-wmtp",
      checkpointUri: `local://checkpoints/hot/verifiable/${run?.fingerprint}`,
    });
    const differs = { training: expect.objectContaining({ learning_rate: 0.01 }) };
    expect(run?.trainerConfig).toEqual({ ...theirs?.trainerConfig, ...differs });
    expect(hot.outputs()).toMatchObject({ experiment: "weighted-mtp/hot", trackerUrl: theirs?.trackerUrl });
    expect(base.trained()).toEqual(trained);
  });

  test("two at once; the critic of one is read by another", async () => {
    const ownCritic = experiment("own-critic", { critic: { overrides: { "training.learning_rate": 0.02 } } });
    const slow = experiment("slow", { ntp: { overrides: { "training.seed": 10 } } });
    const ups = [ownCritic.startUp(), slow.startUp()];
    expect(await Promise.all(ups)).toMatchObject([{ code: 0 }, { code: 0 }]);
    const { fingerprint, checkpointUri } = ownCritic.runs().critic ?? {};
    expect(ownCritic.outputs().critic).toEqual({ fingerprint, checkpointUri });
    hot.write({
      "wmtp:base": "minitest",
      "wmtp:pipelines": { verifiable: { criticCheckpoint: "own-critic" } },
    });
    const [run] = hot.planned();
    expect(run).toMatchObject({ needs: { critic: { fingerprint, checkpointUri } } });
    expect(run).not.toHaveProperty("criticCheckpoint");
  });

  test("what the base changes shows in the preview: in its file at once, what it trains and holds once it is deployed", () => {
    const before = base.configuration();
    hot.write({ "wmtp:base": "minitest", "wmtp:pipelines": { verifiable: {} } });
    hot.mustRun("up", "--yes", "--skip-preview");

    base.configure({ "wmtp:pipelines.verifiable.overrides": { "training.learning_rate": 0.5 } });
    expect(hot.mustRun("preview")).toContain("re-trains because training.learning_rate 0.003 -> 0.5");
    base.restore(before);

    base.configure({ "wmtp:pipelines.critic.rerun": "again" });
    expect(hot.mustRun("preview", "--expect-no-changes")).toContain("unchanged");
    base.mustRun("up", "--yes", "--skip-preview");
    expect(hot.mustRun("preview")).toMatch(/re-trains because .*critic/);
    const steps = hot.planned();
    expect(steps).toMatchObject([{ needs: { critic: criticOf(base) } }]);
  });

  test("destroyed, it leaves its base as it was: state, files, checkpoints, tracker", () => {
    const own = (path: string) => /^local\/(hot|slow|own-critic|early)\//.test(path) || path.startsWith("hashes");
    const [state, files] = [base.mustRun("stack", "export"), filesBelow(base.home, own)];
    const server = trackerProcess(base);
    for (const name of ["hot", "slow", "own-critic", "early"]) {
      base.onStack(name, "destroy", "--yes", "--skip-preview");
    }
    expect(base.mustRun("stack", "export")).toBe(state);
    expect(filesBelow(base.home, own)).toEqual(files);
    expect({ pid: trackerProcess(base), live: isLive(server) }).toEqual({ pid: server, live: true });
  });

  test("without its base's tracker it previews with a warning, and starts nothing", () => {
    const { trackerUrl } = JSON.parse(base.mustRun("stack", "output", "--json"));
    process.kill(-trackerProcess(base), "SIGKILL");
    const late = experiment("late", { ntp: {} });
    const silent = `the tracker of minitest does not answer at ${trackerUrl}: start it with make up STACK=minitest`;
    expect(late.mustRun("preview").replaceAll(/\s+/g, " ")).toContain(`warning: ${silent}`);
    expect(late.refused("up", "--yes", "--skip-preview")).toContain(`error: ${silent}`);
    expect(late.owned()).toEqual([]);
  });
});

/** Path and content of every file below, but for the tracker's own, which writes on. */
function filesBelow(root: string, but: (path: string) => boolean): Record<string, string> {
  const paths = readdirSync(root, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name).slice(root.length + 1));
  const kept = paths.filter((path) => !but(path) && !path.includes("/tracker/"));
  return Object.fromEntries(kept.sort().map((path) => [path, readFileSync(join(root, path), "latin1")]));
}

function trackerProcess({ data }: EngineStack): number {
  return JSON.parse(readFileSync(join(data, "tracker", "server.json"), "utf8")).server.pid;
}
