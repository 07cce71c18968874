/** What every backend must do, whatever is behind it. A new one passes these as they are: `describeBackend("name", make)`. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Backend, RunSpec, RunState, VolumeRef } from "../../launcher/backend.ts";
import { type Manifest, manifestOf } from "../../launcher/manifest.ts";

/** A backend on ground of its own, and what its tests need beside the interface. */
export interface BackendUnderTest {
  readonly backend: Backend;
  /** Content of every file of a volume, by path. */
  files(volume: VolumeRef): Promise<Record<string, string>>;
  /** Seconds that a run takes. */
  takes(spec: RunSpec, seconds: number): RunSpec;
  /** What the trainer of `pipeline` says before it fails in the middle; undefined: it does not fail. */
  failWith(stack: string, pipeline: string, text: string | undefined): Promise<void>;
  /** Ends and removes everything. */
  dispose(): Promise<void>;
}

const STACK = "dev";
/** Long enough that nothing ends by itself within a test. */
const FOREVER = 600;
const ENDS_MS = 20_000;

export function specOf(backend: Backend, change: Partial<RunSpec> = {}): RunSpec {
  const pipeline = change.pipeline ?? "baseline";
  const fingerprint = change.fingerprint ?? "0123456789abcdef".repeat(4);
  const stack = change.stack ?? STACK;
  return {
    name: `wmtp-${stack}-${pipeline}-${fingerprint.slice(0, 8)}`,
    stack,
    pipeline,
    fingerprint,
    gpus: 1,
    trainerConfig: { pipeline, training: { seed: 1 } },
    checkpointUri: backend.checkpointUri(stack, pipeline, fingerprint),
    volumes: { models: { storage: "disk", name: "models" }, datasets: { storage: "disk", name: "datasets" } },
    models: { "tiny-mtp": "hash of tiny-mtp" },
    maxDurationSeconds: 3600,
    trackerUrl: "http://127.0.0.1:1",
    experiment: "weighted-mtp/dev/x",
    tags: ["a", "b"],
    ...change,
  };
}

/** The run as soon as `condition` holds. */
export async function until(
  backend: Backend,
  { stack, name }: Pick<RunSpec, "stack" | "name">,
  condition: (state: RunState) => boolean | Promise<boolean>,
): Promise<RunState> {
  const deadline = Date.now() + ENDS_MS;
  for (;;) {
    const state = await backend.findRun(stack, name);
    if (state !== undefined && (await condition(state))) return state;
    if (Date.now() > deadline)
      throw new Error(
        `${name} is ${JSON.stringify(state)} after ${ENDS_MS} ms:\n${(await backend.logTail(stack, name, 20)).join("\n")}`,
      );
    await sleep(30);
  }
}

export const ended = (backend: Backend, spec: RunSpec) => until(backend, spec, ({ status }) => status !== "running");
/** Waits until the trainer itself has said something. */
export const started = (backend: Backend, spec: RunSpec) =>
  until(backend, spec, async () =>
    (await backend.logTail(spec.stack, spec.name, 100)).some((line) => line.startsWith("[wmtp]")),
  );

export function describeBackend(name: string, makeBackend: () => Promise<BackendUnderTest>): void {
  let given: BackendUnderTest;
  let backend: Backend;
  let source: string;
  jest.setTimeout(60_000);
  beforeEach(async () => {
    given = await makeBackend();
    backend = given.backend;
    source = mkdtempSync(join(tmpdir(), "wmtp-source-"));
  });
  afterEach(async () => {
    rmSync(source, { recursive: true, force: true });
    await given.dispose();
  });

  const volume: VolumeRef = { storage: "disk", name: "models" };
  const write = (files: Record<string, string>) => {
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(dirname(join(source, path)), { recursive: true });
      writeFileSync(join(source, path), text);
    }
  };
  const manifest = (): Promise<Manifest> => manifestOf(source, join(source, ".hashes"));
  /** Uploads the source as it is; returns the sizes that were moved. */
  const upload = async (of?: Manifest): Promise<number[]> => {
    const moved: number[] = [];
    await backend.upload(volume, source, of ?? (await manifest()), (bytes) => moved.push(bytes));
    return moved.sort((a, b) => a - b);
  };

  describe(`${name}: volumes`, () => {
    test("one that was never made is not there", async () => {
      expect(await backend.readVolume(volume)).toBeUndefined();
    });

    test("made, it is there with its tags and empty", async () => {
      await backend.ensureVolume({ ...volume, tags: ["a", "b"] });
      expect(await backend.readVolume(volume)).toEqual({ ...volume, tags: ["a", "b"] });
      expect(await given.files(volume)).toEqual({});
    });

    test("one that is there is adopted with its content, and gets the new tags", async () => {
      await backend.ensureVolume({ ...volume, tags: ["a"] });
      write({ x: "one" });
      await upload();
      await backend.ensureVolume({ ...volume, tags: ["b"] });
      expect(await backend.readVolume(volume)).toEqual({ ...volume, tags: ["b"] });
      expect(await given.files(volume)).toEqual({ x: "one" });
    });

    test("the same name in another storage is another volume", async () => {
      await backend.ensureVolume({ ...volume, tags: [] });
      expect(await backend.readVolume({ ...volume, storage: "other" })).toBeUndefined();
    });

    test("deleted when empty; kept, with its content, when not", async () => {
      await backend.ensureVolume({ ...volume, tags: ["a"] });
      expect(await backend.deleteVolume(volume)).toBe(true);
      expect(await backend.readVolume(volume)).toBeUndefined();
      await backend.ensureVolume({ ...volume, tags: ["a"] });
      write({ x: "one" });
      await upload();
      expect(await backend.deleteVolume(volume)).toBe(false);
      expect(await backend.readVolume(volume)).toEqual({ ...volume, tags: ["a"] });
      expect(await given.files(volume)).toEqual({ x: "one" });
    });

    test("deleting one that is not there is what was wanted", async () => {
      expect(await backend.deleteVolume(volume)).toBe(true);
    });
  });

  describe(`${name}: uploads`, () => {
    beforeEach(() => backend.ensureVolume({ ...volume, tags: [] }));

    const odd = {
      "plain/file.txt": "1",
      "with space/a b.txt": "22",
      "hash#/x#y.txt": "333",
      "question?/who?.txt": "4444",
      "percent%20/100%.txt": "55555",
      "ümläut/日本語 🎉.txt": "666666",
      "quote'\"/it's.txt": "7777777",
      "deep/er/and/deeper/still": "88888888",
    };

    test("everything arrives, whatever it is called", async () => {
      write({ ...odd, empty: "" });
      expect(await upload()).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
      expect(await given.files(volume)).toEqual({ ...odd, empty: "" });
      expect(await backend.missingFiles(volume, await manifest())).toEqual([]);
    });

    test("a second time nothing moves", async () => {
      write(odd);
      await upload();
      expect(await upload()).toEqual([]);
    });

    test("only what differs moves: new content, new files; also with the size unchanged", async () => {
      write({ a: "1", b: "22", c: "333" });
      await upload();
      write({ b: "xx", d: "4444" });
      expect(await upload()).toEqual([2, 4]);
      expect(await given.files(volume)).toEqual({ a: "1", b: "xx", c: "333", d: "4444" });
    });

    test("what is not in the source any more is removed", async () => {
      write({ a: "1", "b/c": "22", "b/#d": "333" });
      await upload();
      rmSync(join(source, "b"), { recursive: true });
      expect(await upload()).toEqual([]);
      expect(await given.files(volume)).toEqual({ a: "1" });
    });

    test("files of the same content, side by side", async () => {
      const same = Object.fromEntries(Array.from({ length: 12 }, (_, index) => [`d/f${index}`, "same"]));
      write(same);
      expect(await upload()).toHaveLength(12);
      expect(await given.files(volume)).toEqual(same);
    });

    test("a file where a directory is needed", async () => {
      write({ thing: "file" });
      await upload();
      rmSync(join(source, "thing"));
      write({ "thing/inside": "1" });
      await upload();
      expect(await given.files(volume)).toEqual({ "thing/inside": "1" });
    });

    test("a directory where a file is needed", async () => {
      write({ "thing/inside": "1" });
      await upload();
      rmSync(join(source, "thing"), { recursive: true });
      write({ thing: "file" });
      await upload();
      expect(await given.files(volume)).toEqual({ thing: "file" });
    });

    test("a source that changed since its manifest was made is an error that names the file", async () => {
      write({ a: "1", b: "2" });
      const before = await manifest();
      write({ b: "3" });
      await expect(upload(before)).rejects.toThrow(
        /^volume disk\/models differs from its source.*\(b\).*run pulumi up again$/s,
      );
    });

    test("files that vanished or shrank in the volume are missing, by path", async () => {
      write({ a: "1", "b/c": "22" });
      await upload();
      write({ "b/c": "2", "#new": "x" });
      expect(await backend.missingFiles(volume, await manifest())).toEqual(["#new", "b/c"]);
    });
  });

  describe(`${name}: runs`, () => {
    test("one that was never submitted is not there", async () => {
      expect(await backend.findRun(STACK, "wmtp-dev-baseline-00000000")).toBeUndefined();
      expect(await backend.activeRuns(STACK)).toEqual([]);
      expect(await backend.logTail(STACK, "wmtp-dev-baseline-00000000", 5)).toEqual([]);
      const uri = backend.checkpointUri(STACK, "baseline", "x");
      expect(await backend.readCompletion(uri)).toBeUndefined();
      expect(await backend.hasCheckpoint(uri)).toBe(false);
    });

    test("where the checkpoints go is known before, differs by content, and is free of paths of this machine", () => {
      const uris = [
        ["dev", "critic", "a"],
        ["dev", "critic", "b"],
        ["dev", "ntp", "a"],
        ["prod", "critic", "a"],
      ].map(([stack, pipeline, fingerprint]) =>
        backend.checkpointUri(stack as string, pipeline as string, fingerprint as string),
      );
      expect(new Set(uris).size).toBe(4);
      for (const uri of uris) expect(uri).toMatch(/^[a-z0-9]+:\/\/[^/]/);
      expect(backend.checkpointUri("dev", "critic", "a")).toBe(uris[0]);
    });

    test("submitted, it runs, is found and listed, and completes with marker and checkpoint", async () => {
      const spec = given.takes(specOf(backend), 0.3);
      const submitted = await backend.submit(spec);
      const known = {
        name: spec.name,
        pipeline: "baseline",
        attempts: 1,
        cancelled: false,
      };
      expect(submitted).toMatchObject({ ...known, status: expect.stringMatching(/^(running|completed)$/) });
      const over = await ended(backend, spec);
      expect(over).toMatchObject({ ...known, status: "completed", retryable: false });
      expect(await backend.activeRuns(STACK)).toEqual([]);
      expect(await backend.readCompletion(spec.checkpointUri)).toMatchObject({
        fingerprint: spec.fingerprint,
        steps: 10,
        first_loss: 10,
        final_loss: 1,
        checkpoint: "checkpoint_best",
      });
      expect(await backend.hasCheckpoint(spec.checkpointUri)).toBe(true);
    });

    test("while it runs it is active in its own stack only", async () => {
      const spec = given.takes(specOf(backend), FOREVER);
      const state = await backend.submit(spec);
      expect(state).toMatchObject({
        status: "running",
        runId: expect.stringMatching(/.+/),
        runUrl: expect.stringMatching(/:\/\//),
      });
      const { waiting, runningSeconds, usedSeconds, ...lasting } = state; // those three tell the time
      expect(await backend.activeRuns(STACK)).toEqual([expect.objectContaining(lasting)]);
      expect(await backend.activeRuns("other")).toEqual([]);
      expect(await backend.findRun("other", spec.name)).toBeUndefined();
      expect(await backend.readCompletion(spec.checkpointUri)).toBeUndefined();
    });

    test("its log's last lines, oldest first", async () => {
      const spec = given.takes(specOf(backend), 0.1);
      await backend.submit(spec);
      await ended(backend, spec);
      const tail = await backend.logTail(STACK, spec.name, 3);
      expect(tail.map((line) => JSON.parse(line.slice("[wmtp] ".length)))).toMatchObject([
        { event: "progress", step: 9 },
        { event: "progress", step: 10 },
        { event: "completed", steps: 10 },
      ]);
      expect(await backend.logTail(STACK, spec.name, 1)).toEqual(tail.slice(2));
    });

    test("terminated, it is gone when the call returns, with the reason; not by hand, so it may start again", async () => {
      const spec = given.takes(specOf(backend), FOREVER);
      await backend.submit(spec);
      await started(backend, spec);
      await backend.terminate(STACK, spec.name, "superseded by another");
      expect(await backend.findRun(STACK, spec.name)).toMatchObject({
        status: "terminated",
        reason: "superseded by another",
        cancelled: false,
      });
      expect(await backend.activeRuns(STACK)).toEqual([]);
    });

    test("terminating what is over, or was never there, does nothing", async () => {
      const spec = given.takes(specOf(backend), 0.1);
      await backend.submit(spec);
      const over = await ended(backend, spec);
      await backend.terminate(STACK, spec.name, "too late", true);
      expect(await backend.findRun(STACK, spec.name)).toEqual(over);
      await backend.terminate(STACK, "wmtp-dev-ntp-00000000", "nobody");
    });

    test("cancelled by hand it stays so, until that is cleared; then it resumes as a new attempt", async () => {
      const spec = given.takes(specOf(backend), FOREVER);
      await backend.submit(spec);
      await started(backend, spec);
      await backend.terminate(STACK, spec.name, "wmtp cancel", true);
      expect(await backend.findRun(STACK, spec.name)).toMatchObject({
        status: "terminated",
        cancelled: true,
        reason: "wmtp cancel",
      });
      await backend.clearCancellation(STACK, spec.name);
      expect(await backend.findRun(STACK, spec.name)).toMatchObject({ cancelled: false });
      expect((await backend.findRun(STACK, spec.name))?.status).not.toMatch(/running|completed/);
      await backend.submit(given.takes(spec, 0.1));
      expect(await ended(backend, spec)).toMatchObject({ status: "completed", attempts: 2, cancelled: false });
    });

    test("a program error is a failure with its cause, not to be retried by itself; another attempt resumes", async () => {
      const spec = given.takes(specOf(backend), 0.3);
      await given.failWith(STACK, "baseline", "torch.OutOfMemoryError: CUDA out of memory");
      await backend.submit(spec);
      const failed = await ended(backend, spec);
      expect(failed).toMatchObject({ status: "failed", retryable: false, attempts: 1 });
      expect(failed.reason).toMatch(/^out of memory \(exit code 1\); /);
      expect(await backend.readCompletion(spec.checkpointUri)).toBeUndefined();
      await given.failWith(STACK, "baseline", undefined);
      await backend.submit(spec);
      expect(await ended(backend, spec)).toMatchObject({ status: "completed", attempts: 2 });
      const resumed = (await backend.logTail(STACK, spec.name, 100)).filter((line) =>
        line.includes('"resumed_from":4'),
      );
      expect(resumed).toHaveLength(1);
    });

    test("the seconds of all attempts are counted, and no more when it is over", async () => {
      const spec = given.takes(specOf(backend), 0.6);
      const submitted = await backend.submit(spec);
      expect(submitted.usedSeconds).toBeLessThan(5);
      await started(backend, spec);
      const trains = await backend.findRun(STACK, spec.name);
      expect(trains?.runningSeconds).toBeGreaterThan(0);
      expect(trains?.usedSeconds).toBe(trains?.runningSeconds);
      await given.failWith(STACK, "baseline", "KeyError: 'reward'");
      const failed = await ended(backend, spec);
      expect(failed.usedSeconds).toBeGreaterThan(trains?.usedSeconds as number);
      await sleep(200);
      expect((await backend.findRun(STACK, spec.name))?.usedSeconds).toBe(failed.usedSeconds);
      await given.failWith(STACK, "baseline", undefined);
      await backend.submit(spec);
      const completed = await ended(backend, spec);
      expect(completed.usedSeconds).toBeGreaterThan(failed.usedSeconds + 0.2);
      expect(completed.runningSeconds).toBeUndefined();
    });

    test("an earlier attempt's cause is not mistaken for the next one's", async () => {
      const spec = given.takes(specOf(backend), 0.1);
      await given.failWith(STACK, "baseline", "CUDA out of memory");
      await backend.submit(spec);
      await ended(backend, spec);
      await given.failWith(STACK, "baseline", "KeyError: 'reward'");
      await backend.submit(spec);
      expect(await ended(backend, spec)).toMatchObject({ status: "failed", reason: "exit code 1", attempts: 2 });
    });

    test("a passed deadline ends it, as a failure that is not retried", async () => {
      const spec = { ...given.takes(specOf(backend), FOREVER), maxDurationSeconds: 1 };
      await backend.submit(spec);
      const state = await ended(backend, spec);
      expect(state).toMatchObject({ status: "failed", retryable: false, cancelled: false });
      expect(state.reason).toMatch(/^deadline passed/);
    });

    test("runs side by side do not disturb each other", async () => {
      const specs = ["critic", "baseline", "ntp"].map((pipeline) => given.takes(specOf(backend, { pipeline }), 0.3));
      await Promise.all(specs.map((spec) => backend.submit(spec)));
      expect(await Promise.all(specs.map((spec) => ended(backend, spec)))).toMatchObject(
        specs.map(({ name: run, pipeline }) => ({ name: run, pipeline, status: "completed", attempts: 1 })),
      );
    });

    test("a checkpoint of another run is handed to the trainer", async () => {
      const critic = given.takes(specOf(backend, { pipeline: "critic" }), 0.1);
      const of = (uri: string) =>
        given.takes({ ...specOf(backend, { pipeline: "verifiable" }), criticCheckpointUri: uri }, 0.1);
      const missing = of(`${critic.checkpointUri}/checkpoint_best`);
      await backend.submit(missing);
      expect((await ended(backend, missing)).reason).toMatch(/^missing or foreign critic checkpoint \(exit code 2\)/);
      await backend.submit(critic);
      await ended(backend, critic);
      await backend.submit(missing);
      expect(await ended(backend, missing)).toMatchObject({ status: "completed", attempts: 2 });
    });
  });
}
