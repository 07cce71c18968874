/** How a run on the GPU cloud can end, or not: what the update says of it, and what the next one does. The real engine. */
import { CloudRounds, PIPELINE } from "../support/cloud-rounds.ts";

let rounds: CloudRounds;

jest.setTimeout(300_000);
beforeAll(async () => {
  rounds = await CloudRounds.start("endings");
}, 360_000);
beforeEach(() => rounds.next());
afterEach(async () => expect(await rounds.leaks()).toEqual([]));
afterAll(() => rounds?.dispose());

describe("a run", () => {
  test("fails by an error of its program: not repeated; the last lines and a diagnosis; the next update tries again", async () => {
    rounds.fail("RuntimeError: CUDA out of memory. Tried to allocate 2 GiB");
    const text = rounds.red();
    expect(text).toContain("Tried to allocate 2 GiB");
    expect(text).toContain("batch_size");
    expect(await rounds.statuses()).toEqual(["failed"]);
    expect(rounds.stack.runs()[PIPELINE]).toMatchObject({ status: "failed", attempts: 1 });
    rounds.fail(undefined);
    rounds.green();
    expect(await rounds.statuses()).toEqual(["failed", "completed"]);
    expect(rounds.stack.runs()[PIPELINE]).toMatchObject({ attempts: 2 });
  });

  test.each(["failed", "terminated"])(
    "is preempted (%s): resumed by the same update from where it was",
    async (status) => {
      await rounds.next(6);
      const up = rounds.start();
      const run = await rounds.trains();
      const checkpoint = new RegExp(`/${fingerprintOf(run.run_spec.title)}.*/COMMITTED$`);
      await rounds.until("a checkpoint is in the bucket", () =>
        Object.keys(rounds.cloud.bucketFiles("checkpoints/")).some((path) => checkpoint.test(path)),
      );
      await rounds.cloud.preempt(String(run.id), status);
      const { code, text } = await up.ended;
      expect({ code, text }).toMatchObject({ code: 0 });
      expect(text).toContain("preempted: Preempted: spot node reclaimed; resuming (1 of");
      expect(await rounds.statuses()).toEqual([status, "completed"]);
      const log = await rounds.cloud.runLog(String((await rounds.runs()).at(-1)?.id));
      expect(log.join("\n")).toMatch(/"event":"start".*"resumed_from":[1-9]/);
    },
  );

  test("is terminated by hand with the cloud's own client: stays so until it is allowed again", async () => {
    await rounds.next(20);
    const up = rounds.start();
    const run = await rounds.trains();
    expect(await rounds.cloud.client("run", "terminate", String(run.id))).toMatchObject({ code: 0 });
    const { code, text } = await up.ended;
    expect({ code, text }).not.toMatchObject({ code: 0 });
    expect(text).toContain("terminated on the cloud, not by pulumi");
    expect(text).toContain(`wmtp retry ${PIPELINE}`);
    const refused = rounds.red();
    expect(refused).toContain("terminated on the cloud, not by pulumi");
    expect(refused).toContain(`wmtp retry ${PIPELINE}`);
    expect(await rounds.statuses()).toEqual(["terminated"]);
    expect(rounds.stack.wmtp("retry", PIPELINE)).toMatchObject({ code: 0 });
    rounds.green();
    expect(await rounds.statuses()).toEqual(["terminated", "completed"]);
  });

  test("is deleted by hand with the cloud's own client: the update says so, the next one starts it anew", async () => {
    await rounds.next(6);
    const up = rounds.start();
    const run = await rounds.trains();
    await rounds.cloud.client("run", "terminate", String(run.id));
    await rounds.cloud.client("run", "delete", String(run.id));
    const { code, text } = await up.ended;
    expect({ code, text }).not.toMatchObject({ code: 0 });
    rounds.green();
    expect(await rounds.statuses()).toEqual(["completed"]);
  });

  test("is gone from one moment to the next: the update says so, the next one starts it anew", async () => {
    await rounds.next(6);
    const up = rounds.start();
    const run = await rounds.trains();
    await rounds.cloud.forgetRun(String(run.id));
    const { code, text } = await up.ended;
    expect({ code, text }).not.toMatchObject({ code: 0 });
    expect(text).toContain("it was deleted on the cloud, not by pulumi; run pulumi up again to start it anew");
    rounds.green();
    expect(await rounds.statuses()).toEqual(["completed"]);
  });

  test("is stuck in the queue longer than launcher.wait: detached; a later update attaches", async () => {
    await rounds.cloud.script({ title: "^wmtp-endings-", times: 1, timeline: [] });
    rounds.stack.configure({ "wmtp:launcher.wait": "5s" });
    const text = rounds.red();
    rounds.stack.configure({ "wmtp:launcher.wait": undefined });
    expect(text).toContain("queued for");
    expect(text).toContain(`launcher.wait (5s) is over: ${PIPELINE} is still running; run pulumi up again to attach`);
    expect(rounds.stack.runs()[PIPELINE]).toMatchObject({ status: "running" });
    const up = rounds.start();
    await rounds.until("it is attached to", () => up.text().includes("attached to attempt 1"));
    expect(await rounds.statuses()).toEqual(["queued"]);
    await rounds.cloud.preempt(String((await rounds.runs())[0]?.id));
    expect(await up.ended).toMatchObject({ code: 0 });
    expect(await rounds.statuses()).toEqual(["failed", "completed"]);
  });

  test("has a status that nobody knows for a while: waited for", async () => {
    const timeline = [
      { status: "running" },
      { status: "hibernating", after: 500 },
      { status: "failed", reason: "Preempted: spot node reclaimed", after: 5_000 },
    ];
    await rounds.cloud.script({ title: "^wmtp-endings-", times: 1, timeline });
    expect(rounds.green()).toContain('the cloud says "hibernating"');
    expect(await rounds.statuses()).toEqual(["failed", "completed"]);
  });

  test("is stopped by the cloud: a failure, not repeated; the next update tries again", async () => {
    const timeline = [{ status: "running" }, { status: "stopped", reason: "Quota of credits is used up", after: 500 }];
    await rounds.cloud.script({ title: "^wmtp-endings-", times: 1, timeline });
    expect(rounds.red()).toContain("stopped by the cloud: Quota of credits is used up");
    expect(await rounds.statuses()).toEqual(["stopped"]);
    rounds.green();
    expect(await rounds.statuses()).toEqual(["stopped", "completed"]);
  });
});

/** The first digits of a run's fingerprint, which its title ends with. */
function fingerprintOf(title: string): string {
  return title.slice(title.lastIndexOf("-") + 1);
}
