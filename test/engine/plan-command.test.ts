/** From a command line to a plan and an update that is taken up again: an experiment on minitest, on this machine, under the real engine. */

import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parse, stringify } from "yaml";
import { EngineStack } from "../support/engine-stack.ts";

// The policies read the file of the base beside the real program, where there is one of this name.
const BASE = "minitest";
const EXPERIMENT = "exp";
let base: EngineStack;

jest.setTimeout(300_000);
beforeAll(() => {
  base = new EngineStack(BASE, {
    config: { "wmtp:pipelines": { ntp: { gpus: 1, effectiveBatch: 8 } } },
  });
  expect(base.up()).toMatchObject({ code: 0 });
});
afterAll(() => {
  run("pulumi", ["destroy", "--yes", "--skip-preview", "--stack", EXPERIMENT]);
  base.dispose();
});

const WMTP = resolve(import.meta.dirname, "..", "..", "cli", "wmtp.ts");

function run(program: string, args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const { status, stdout, stderr } = spawnSync(program, args, {
    cwd: base.project,
    env: { ...base.env, ...env },
    encoding: "utf8",
  });
  return { code: status, stdout, text: stdout + stderr };
}

const wmtp = (...args: string[]) => run("node", [WMTP, ...args]);
const markdown = () => readFileSync(join(base.project, "plan.md"), "utf8");
const stacks = () =>
  JSON.parse(run("pulumi", ["stack", "ls", "--json"]).stdout).map(({ name }: { name: string }) => name);

test("an experiment is written, and its plan says what would train and why", () => {
  const set = ["--set", "ntp.overrides.training.seed=40", "--set", "ntp.maxDuration=5m"];
  expect(wmtp("experiment", EXPERIMENT, "--from", BASE, ...set)).toMatchObject({ code: 0 });
  const { code, text } = wmtp("plan", "--stack", EXPERIMENT, "--markdown", "plan.md");
  if (code !== 0) throw new Error(text);
  expect(markdown()).toMatch(/^<!-- wmtp:plan:exp -->\n\n### Plan of `exp` on `minitest`\n/);
  expect(markdown()).toMatch(/training\.seed.*10.*40/);
  expect(markdown()).toContain("- create `launcher:index:Run` `ntp`\n");
  expect(text).toContain("training.seed");
  // It was made for the preview alone.
  expect(stacks()).toEqual([BASE]);
});

test("a plan that cannot be says why, and fails as the preview does", () => {
  writeFileSync(join(base.project, "Pulumi.never.yaml"), readFileSync(join(base.project, "Pulumi.minitest.yaml")));
  expect(wmtp("experiment", "lost", "--from", "never", "--set", "ntp.overrides.training.seed=40")).toMatchObject({
    code: 0,
  });
  const { code } = wmtp("plan", "--stack", "lost", "--markdown", "plan.md");
  expect(code).not.toBe(0);
  expect(markdown()).toMatch(/^<!-- wmtp:plan:lost -->\n/);
  expect(markdown()).toMatch(/:x: \*\*1 error.*: this cannot be deployed\.[\s\S]*the stack never does not exist yet/);
  expect(wmtp("plan", "--stack", "nobody", "--markdown", "nobody.md")).toMatchObject({
    code: 1,
    text: expect.stringContaining("there is no Pulumi.nobody.yaml"),
  });
  expect(existsSync(join(base.project, "nobody.md"))).toBe(false);
});

test("an update whose runs go on is told from one that failed, and done when it is taken up again", () => {
  const file = join(base.project, `Pulumi.${EXPERIMENT}.yaml`);
  const written = parse(readFileSync(file, "utf8"));
  const up = (events: string) => {
    const env = { PULUMI_DEBUG_COMMANDS: "1", PULUMI_OPTION_EVENT_LOG: join(base.root, events) };
    return run("pulumi", ["up", "--yes", "--skip-preview", "--stack", EXPERIMENT], env);
  };
  const progress = (events: string) => wmtp("progress", "--stack", EXPERIMENT, "--events", join(base.root, events));
  const listed = () => JSON.parse(wmtp("experiments", "--from", BASE, "--json").stdout)[0];
  expect(listed()).toMatchObject({
    stack: EXPERIMENT,
    changedAt: null,
    runs: [{ pipeline: "ntp", status: "not started" }],
  });

  run("pulumi", ["stack", "init", EXPERIMENT]);
  writeFileSync(
    file,
    stringify({ ...parse(readFileSync(file, "utf8")), config: { ...written.config, "wmtp:launcher": { wait: "1s" } } }),
  );
  expect(up("first.jsonl").code).not.toBe(0);
  expect(progress("first.jsonl")).toMatchObject({ code: 75, stdout: "running: ntp is running\n" });
  expect(listed().runs).toMatchObject([{ pipeline: "ntp", status: "running", reason: null }]);

  writeFileSync(file, stringify({ ...parse(readFileSync(file, "utf8")), config: written.config }));
  expect(up("second.jsonl")).toMatchObject({ code: 0 });
  expect(progress("second.jsonl")).toMatchObject({ code: 0, stdout: "done: everything is as the stack file says\n" });
  expect(listed().runs).toMatchObject([{ pipeline: "ntp", status: "completed", costSoFar: null }]);
  expect(progress("none.jsonl")).toMatchObject({ code: 1, stdout: "failed: the update was cut off, or never began\n" });
});
