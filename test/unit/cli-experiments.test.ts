/** `wmtp experiments`, from canned states: a stand-in `pulumi` on PATH has them. And `wmtp changed`, from a repository of its own. */
import { execFileSync } from "node:child_process";
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join, resolve } from "node:path";
import { changed, changedStacks } from "../../cli/changed-stacks.ts";
import { experiment } from "../../cli/experiment.ts";
import { experiments, readExperiments } from "../../cli/experiments.ts";

// Jest gives a test an environment of its own; processes that are started see it only when they are told.
jest.mock("node:child_process", () => {
  const real = jest.requireActual("node:child_process");
  const { promisify } = jest.requireActual("node:util");
  const execFile = () => undefined;
  const promised = (file: string, args: string[], options: object = {}) =>
    promisify(real.execFile)(file, args, { ...options, env: process.env });
  return { ...real, execFile: Object.assign(execFile, { [promisify.custom]: promised }) };
});

const PROJECT = resolve(import.meta.dirname, "..", "..");
const directory = process.cwd();
const path = process.env.PATH;
let project: string;
beforeEach(() => {
  project = mkdtempSync(join(tmpdir(), "wmtp-experiments-"));
  for (const file of ["Pulumi.yaml", "Pulumi.prod.yaml", "Pulumi.minitest.yaml"])
    copyFileSync(join(PROJECT, file), join(project, file));
  mkdirSync(join(project, "bin"));
  process.env.PATH = `${join(project, "bin")}${delimiter}${path}`;
  process.chdir(project);
  experiment("lr", { from: "prod", set: ["verifiable.overrides.training.learning_rate=3e-5"], pipelines: ["ntp"] });
});
afterEach(() => {
  process.chdir(directory);
  process.env.PATH = path;
  rmSync(project, { recursive: true, force: true });
});

/** A `pulumi` that knows these stacks, and prints their states. */
function deployed(states: Readonly<Record<string, object>>): void {
  writeFileSync(
    "stacks.json",
    JSON.stringify(Object.keys(states).map((name) => ({ name: `organization/wmtp/${name}` }))),
  );
  for (const [name, state] of Object.entries(states)) writeFileSync(`${name}.state`, JSON.stringify(state));
  const script = `#!/bin/sh
case "$*" in
"stack ls --json --non-interactive") cat stacks.json ;;
"stack export --stack "*) cat "$4.state" ;;
*) echo "unexpected: $*" >&2; exit 1 ;;
esac
`;
  writeFileSync(join("bin", "pulumi"), script);
  chmodSync(join("bin", "pulumi"), 0o755);
}

const stateOf = (time: string, ...runs: object[]) => ({
  deployment: {
    manifest: { time },
    resources: runs.map((outputs) => ({ urn: "urn", type: "launcher:index:Run", outputs })),
  },
});
const state = (...runs: object[]) => stateOf("2026-11-20T10:30:00Z", ...runs);
const verifiable = (facts: object) => ({
  pipeline: "verifiable",
  status: "completed",
  finalLoss: 0.51234,
  usedSeconds: 5 * 3600,
  reason: null,
  cloud: { preset: "gpu-a100-80g-large" },
  ...facts,
});

test("what became of each run, and what it cost so far", async () => {
  deployed({ prod: state(), lr: state(verifiable({})) });
  expect(await readExperiments()).toEqual([
    {
      stack: "lr",
      base: "prod",
      changedAt: "2026-11-20T10:30:00.000Z",
      problem: null,
      runs: [
        {
          pipeline: "verifiable",
          status: "completed",
          finalLoss: 0.51234,
          hoursUsed: 5,
          costSoFar: 60,
          estimated: false,
          paid: true,
          currency: "USD",
          reason: null,
        },
        {
          pipeline: "ntp",
          status: "not started",
          finalLoss: null,
          hoursUsed: 0,
          costSoFar: null,
          estimated: false,
          paid: false,
          currency: "USD",
          reason: null,
        },
      ],
    },
  ]);
  const table = await experiments(undefined, false);
  const rows = table.split("\n").map((line) =>
    line
      .split("│")
      .map((cell) => cell.trim())
      .slice(1, -1),
  );
  expect(rows.find(([name]) => name === "lr")).toEqual([
    "lr",
    "prod",
    "verifiable",
    "completed",
    "0.5123",
    "5.0",
    "60.00 USD",
    "2026-11-20 10:30",
  ]);
  expect(table).toMatch(/\nTogether so far: 60\.00 USD$/);
});

const cells = (table: string, pipeline: string) =>
  table
    .split("\n")
    .map((line) => line.split("│").map((cell) => cell.trim()))
    .find((row) => row[3] === pipeline)
    ?.slice(6, 8);

test.each([
  ["null, as of a run that was adopted", { usedSeconds: null }],
  ["absent, as in an older state", { usedSeconds: undefined }],
])("hours that are %s, are not zero hours", async (_, facts) => {
  deployed({ lr: state(verifiable(facts), { ...verifiable({}), pipeline: "ntp" }) });
  const table = await experiments(undefined, false);
  expect(cells(table, "verifiable")).toEqual(["-", "-"]);
  expect(table).toMatch(/\nTogether so far: 60\.00 USD and more$/);
  deployed({ lr: state(verifiable(facts)) });
  expect(await experiments(undefined, false)).toMatch(/\nTogether so far: not known$/);
  deployed({ lr: state(verifiable({ ...facts, cloud: undefined })) });
  expect(await experiments(undefined, false)).not.toContain("Together");
});

test("a run that was going on when the state was written has gone on since, until its deadline at the latest", async () => {
  const earlier = new Date(Date.now() - 2 * 3_600_000).toISOString();
  const going = { status: "running", finalLoss: null, maxDurationSeconds: 24 * 3600 };
  deployed({ lr: stateOf(earlier, verifiable(going)) });
  const table = await experiments(undefined, false);
  expect(cells(table, "verifiable")).toEqual(["about 7.0", "about 84.00 USD"]);
  expect(table).toMatch(/\nTogether so far: about 84\.00 USD$/);
  deployed({ lr: stateOf(earlier, verifiable({ ...going, maxDurationSeconds: 3600 })) });
  expect(cells(await experiments(undefined, false), "verifiable")).toEqual(["about 6.0", "about 72.00 USD"]);
  deployed({ lr: stateOf(earlier, verifiable({ ...going, usedSeconds: null })) });
  expect(cells(await experiments(undefined, false), "verifiable")).toEqual(["-", "-"]);
});

test("stacks never deployed, a run that failed, a file that is refused", async () => {
  experiment("mini", { from: "minitest", set: ["ntp.overrides.training.seed=1"], pipelines: [] });
  writeFileSync("Pulumi.old.yaml", "config:\n  wmtp:base: prod\n  wmtp:pipelines: {critic: {gpus: 3}}\n");
  deployed({ lr: state(verifiable({ status: "failed", finalLoss: null, reason: "out of memory; lower it\nlog" })) });
  const [lr, mini, old] = await readExperiments();
  expect(lr?.runs[0]).toMatchObject({ status: "failed", costSoFar: 60, reason: "out of memory; lower it\nlog" });
  expect(mini).toMatchObject({
    stack: "mini",
    base: "minitest",
    changedAt: null,
    runs: [{ pipeline: "ntp", status: "not started" }],
  });
  expect(old).toEqual({
    stack: "old",
    base: "prod",
    changedAt: null,
    problem: "wmtp:pipelines.critic.gpus: 3 is not one of 1, 2, 4",
    runs: [],
  });
  const table = await experiments("prod", false);
  expect(table).toContain(
    "\n  lr verifiable: out of memory; lower it\n  old: its file is refused: wmtp:pipelines.critic.gpus: 3 is not",
  );
  expect(table).not.toContain("mini");
  expect(JSON.parse(await experiments("minitest", true))).toEqual([mini]);
});

test("a folder without experiments, and an engine that is not there", async () => {
  expect(await experiments("minitest", false)).toMatch(/^there is no experiment on minitest: make experiment NAME=/);
  process.env.PATH = join(project, "bin");
  await expect(experiments(undefined, false)).rejects.toThrow("pulumi is not on PATH: run make setup");
});

const STACKS = [
  { stack: "lr", base: "prod" },
  { stack: "mini", base: "minitest" },
  { stack: "minitest", base: undefined },
  { stack: "prod", base: undefined },
];

test.each([
  ["its own file", ["Pulumi.lr.yaml"], ["lr"]],
  ["its base's file", ["Pulumi.prod.yaml", "docs/decisions.md"], ["prod", "lr"]],
  ["the code of all", ["components/cost.ts"], ["minitest", "prod", "lr", "mini"]],
  ["the trainer", ["trainer/src/weighted_mtp/model.py"], ["minitest", "prod", "lr", "mini"]],
  ["the policies", ["policy/cost.ts"], ["minitest", "prod", "lr", "mini"]],
  ["tests, tools and documents", ["test/unit/x.ts", "tools/check", "components/README.md", "Pulumi.yaml.md"], []],
])("a stack is changed by %s", (_what, files, stacks) => {
  expect(changedStacks(files, STACKS).map(({ stack }) => stack)).toEqual(stacks);
});

const git = (...args: string[]) =>
  execFileSync(
    "git",
    ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main", ...args],
    { encoding: "utf8" },
  );

test("a project in a folder of its repository", async () => {
  process.chdir("bin");
  for (const file of ["Pulumi.prod.yaml", "Pulumi.lr.yaml"]) copyFileSync(join("..", file), file);
  git("init", "--quiet", "..");
  git("add", "..");
  git("commit", "--quiet", "--message", "base");
  writeFileSync("Pulumi.lr.yaml", "config: {wmtp:base: prod}\n");
  writeFileSync("../package.json", "{}\n");
  git("add", "..");
  git("commit", "--quiet", "--message", "ours");
  expect(await changed({ since: "HEAD~1", withoutBase: false })).toBe("lr");
});

test("what happened since the common commit counts, and no more", async () => {
  git("init", "--quiet");
  git("add", ".");
  git("commit", "--quiet", "--message", "base");
  git("checkout", "--quiet", "-b", "feature");
  writeFileSync("Pulumi.lr.yaml", "config: {wmtp:base: prod}\n");
  git("commit", "--quiet", "--all", "--message", "ours");
  git("checkout", "--quiet", "main");
  writeFileSync("Pulumi.minitest.yaml", "config: {}\n");
  git("commit", "--quiet", "--all", "--message", "theirs");
  git("checkout", "--quiet", "feature");
  expect(await changed({ since: "main", withoutBase: false })).toBe("lr");
  expect(await changed({ since: "main", withoutBase: true })).toBe("");
  await expect(changed({ since: "nowhere", withoutBase: false })).rejects.toThrow(
    "git cannot say what changed since nowhere: fatal:",
  );
});
