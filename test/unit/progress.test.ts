/** How an update ended, by the engine's events and the state: a run that goes on is no failure, and nothing else passes for one. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { nameOf, readEvents } from "../../cli/engine-events.ts";
import { attachOf, DETACHED, EXIT_CODES, progressOf } from "../../cli/progress.ts";

const CRITIC = "urn:pulumi:dev::wmtp::wmtp:index:TrainingRun$launcher:index:Run::critic";
const NTP = "urn:pulumi:dev::wmtp::wmtp:index:TrainingRun$launcher:index:Run::ntp";
const BUCKET = "urn:pulumi:dev::wmtp::wmtp:index:ArtifactStore$aws:s3/bucket:Bucket::store";
const STACK = "urn:pulumi:dev::wmtp::pulumi:pulumi:Stack::wmtp-dev";
const SUMMARY = { summaryEvent: { resourceChanges: { create: 1 } } };
const GENERIC = { diagnosticEvent: { severity: "error", message: "update failed\n" } };

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "wmtp-progress-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const error = (urn: string, message: string) => ({ diagnosticEvent: { severity: "error", urn, message } });
const detached = (pipeline: string) =>
  `1 error occurred:\n\t* launcher.wait (30m) is over: ${pipeline} is still running; run pulumi up again to attach\n`;
const failed = (urn: string, message = detached(nameOf(urn))) => [
  error(urn, message),
  { resOpFailedEvent: { metadata: { op: "create", urn, type: urn.split("::")[2] } } },
];
const run = (
  pipeline: string,
  status: "running" | "pending" | "failed" | "lost" | "completed",
  reason: string | null = null,
) => ({
  pipeline,
  status,
  reason,
});

function progress(events: object[], runs: ReturnType<typeof run>[] = [], tail = "") {
  const file = join(folder, "events.jsonl");
  writeFileSync(file, `${events.map((event) => JSON.stringify(event)).join("\n")}\n${tail}`);
  return progressOf(readEvents(file), runs);
}

test("an update without a failure is done, warnings or not", () => {
  const warning = { diagnosticEvent: { severity: "warning", urn: STACK, message: "a warning" } };
  expect(progress([warning, SUMMARY])).toEqual({ state: "done", description: "everything is as the stack file says" });
});

test("runs that go on when the wait is over", () => {
  const events = [...failed(CRITIC), ...failed(NTP), GENERIC, SUMMARY];
  expect(progress(events, [run("critic", "running"), run("ntp", "pending")])).toEqual({
    state: "running",
    description: "critic is running, ntp waits for its turn",
  });
});

test("an error that is no detachment is a failure, whatever the state says of the run", () => {
  const events = [
    ...failed(CRITIC, "critic-dev was cancelled by hand (by x): run wmtp retry critic\nlog"),
    GENERIC,
    SUMMARY,
  ];
  expect(progress(events, [run("critic", "running")])).toEqual({
    state: "failed",
    description: "critic: critic-dev was cancelled by hand (by x): run wmtp retry critic",
  });
  expect(progress([...failed(CRITIC), error(CRITIC, "trouble"), SUMMARY], [run("critic", "running")])).toEqual({
    state: "failed",
    description: "critic: trouble",
  });
  const silent = failed(CRITIC).slice(1);
  expect(progress([...silent, GENERIC, SUMMARY], [run("critic", "running")])).toEqual({
    state: "failed",
    description: "critic: could not be made or changed",
  });
  const conductor = resolve(import.meta.dirname, "..", "..", "launcher", "resources", "run-conductor.ts");
  expect(readFileSync(conductor, "utf8")).toContain(DETACHED);
});

test("one that failed beside one that goes on is a person's to decide", () => {
  const events = [...failed(CRITIC), ...failed(NTP), GENERIC, SUMMARY];
  expect(progress(events, [run("critic", "running"), run("ntp", "failed", "out of memory; lower it\nlog")])).toEqual({
    state: "failed",
    description: "ntp: out of memory; lower it",
  });
  expect(progress(events, [run("critic", "running"), run("ntp", "lost", null)])).toMatchObject({ state: "failed" });
  expect(progress(events, [run("critic", "running")])).toEqual({
    state: "failed",
    description: "ntp could not be made or changed",
  });
});

test("what is not a run is never pending", () => {
  const going = [...failed(CRITIC), GENERIC];
  expect(progress([...going, ...failed(BUCKET), SUMMARY], [run("critic", "running")])).toEqual({
    state: "failed",
    description: "store could not be made or changed",
  });
  expect(
    progress([...going, error(STACK, "Running program failed:\n stack"), SUMMARY], [run("critic", "running")]),
  ).toEqual({
    state: "failed",
    description: "wmtp-dev: Running program failed:",
  });
  // What `check` refuses has no operation that fails.
  expect(progress([error(NTP, "gpus: 3"), GENERIC, SUMMARY], [run("ntp", "running")])).toMatchObject({
    state: "failed",
  });
});

test("a broken policy", () => {
  const policy = { policyName: "no-open-ports", enforcementLevel: "mandatory", resourceUrn: BUCKET, message: "open" };
  expect(progress([{ policyEvent: policy }, SUMMARY])).toEqual({
    state: "failed",
    description: "policy no-open-ports on store",
  });
  expect(progress([{ policyEvent: { ...policy, enforcementLevel: "advisory" } }, SUMMARY])).toMatchObject({
    state: "done",
  });
});

test("an engine that was killed, or never started", () => {
  const cut = { state: "failed", description: "the update was cut off, or never began" };
  expect(progress([], [], '{"summaryEv')).toEqual(cut);
  expect(progressOf(readEvents(join(folder, "none")), [])).toEqual(cut);
});

describe("an update is taken up again only where it starts nothing", () => {
  const attach = (...events: object[]) => {
    const file = join(folder, "preview.jsonl");
    writeFileSync(file, events.map((event) => JSON.stringify(event)).join("\n"));
    return attachOf(readEvents(file));
  };
  const step = (op: string, urn: string) => ({ resourcePreEvent: { metadata: { op, urn, type: typeOf(urn) } } });
  const typeOf = (urn: string) => urn.split("::")[2]?.split("$").at(-1);

  test.each(["same", "create"])(
    "runs that are updated, or come after them (%s), and whatever happens to the rest",
    (op) => {
      expect(attach(step("update", CRITIC), step(op, NTP), step("create", BUCKET), SUMMARY)).toEqual({
        state: "running",
        description: "goes on",
      });
    },
  );

  const refused = "what it would do is not what was approved: deploy it again";
  test.each([
    ["replaced", [step("create-replacement", NTP), step("replace", NTP), step("delete-replaced", NTP)], "replace ntp"],
    ["stopped", [step("delete", NTP)], "delete ntp"],
    ["two of them", [step("replace", CRITIC), step("delete", NTP)], "replace critic, delete ntp"],
  ])("a run that would be %s", (_, steps, what) => {
    expect(attach(step("update", CRITIC), ...steps, SUMMARY)).toEqual({
      state: "failed",
      description: `${refused} (${what})`,
    });
  });

  test("a preview that failed says nothing", () => {
    expect(attach(step("update", CRITIC))).toEqual({
      state: "failed",
      description: "the preview was cut off, or never began",
    });
    const generic = { diagnosticEvent: { severity: "error", message: "preview failed" } };
    expect(attach(error(NTP, "gpus: 3\nmore"), generic, SUMMARY)).toEqual({
      state: "failed",
      description: "the preview failed: ntp: gpus: 3",
    });
    const policy = { policyName: "gpu-budget", enforcementLevel: "mandatory", resourceUrn: NTP, message: "too much" };
    expect(attach({ policyEvent: policy }, SUMMARY)).toEqual({
      state: "failed",
      description: "policy gpu-budget on ntp",
    });
  });
});

test("exit codes tell the three apart", () => {
  expect(EXIT_CODES).toEqual({ done: 0, running: 75, failed: 1 });
});
