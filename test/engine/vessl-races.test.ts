/** Two who train the same thing at the same moment on the GPU cloud: one run counts, and none is left that burns GPUs for nobody. */
import { isDuplicate, isOver } from "../../launcher/vessl/run-status.ts";
import { CloudRounds, makeRoundStack, SUBMIT } from "../support/cloud-rounds.ts";
import type { ShownRun } from "../support/vessl-cloud.ts";

let rounds: CloudRounds;

jest.setTimeout(300_000);
beforeAll(async () => {
  rounds = await CloudRounds.start("races");
}, 360_000);
beforeEach(() => rounds.next());
afterEach(async () => expect(await rounds.leaks()).toEqual([]));
afterAll(() => rounds?.dispose());

test("two updates of the same stack at the same moment, from two states: one run counts, both end well", async () => {
  const stacks = [
    await makeRoundStack("twins", rounds.cloud, 6),
    await makeRoundStack("twins", rounds.cloud, 6),
  ] as const;
  // Both have looked for the run by the time that the first one arrives.
  await rounds.cloud.faults({ ...SUBMIT, times: 2, effect: { delayMs: 6_000 } });
  const ups = stacks.map((stack) => rounds.start(stack));
  const ends = await Promise.all(ups.map(({ ended }) => ended));
  try {
    expect(ends).toMatchObject([{ code: 0 }, { code: 0 }]);
    const runs = (await rounds.cloud.runs()).filter(({ run_spec }) => run_spec.title.startsWith("wmtp-twins-"));
    expect(runs.filter((run) => !isDuplicate(run)).map(({ status }) => status)).toEqual(["completed"]);
    expect(runs.filter(isDuplicate).map(({ status }) => status)).toEqual(["terminated"]);
  } finally {
    for (const stack of stacks) stack.dispose();
  }
});

test("a run that lost, and could not be ended, is ended by the next update", async () => {
  const lost = await lostRunThatGoesOn();
  const { code, text } = rounds.up();
  expect({ code, text }).toMatchObject({ code: 0 });
  expect(text).toContain("attached to attempt 2");
  expect(await rounds.statuses()).toEqual(["failed", "completed"]);
  await rounds.until("the other one is over", async () => isOver(await lost()));
  expect((await lost()).status).toBe("terminated");
});

test("a run that lost, and could not be ended, goes with the stack", async () => {
  const lost = await lostRunThatGoesOn();
  expect(rounds.stack.pulumi("destroy", "--yes", "--skip-preview")).toMatchObject({ code: 0 });
  expect((await lost()).status).toBe("terminated");
});

/** Somebody submitted the same run while ours was on its way, and the cloud refused to end the younger one. */
async function lostRunThatGoesOn() {
  await rounds.next(20);
  rounds.fail("RuntimeError: CUDA out of memory");
  expect(rounds.up()).not.toMatchObject({ code: 0 });
  rounds.fail(undefined);
  const yaml = (await rounds.runs())[0]?.run_spec.yaml_spec as string;
  const asked = rounds.lists();
  await rounds.cloud.faults(
    { ...SUBMIT, effect: { delayMs: 3_000 } },
    { method: "POST", path: "/terminate$", effect: { status: 403 } },
  );
  const up = rounds.start();
  await rounds.until("it has looked for the run", () => rounds.lists() > asked);
  await new Promise((wake) => setTimeout(wake, 500));
  await rounds.submit(yaml);
  expect(await up.ended).not.toMatchObject({ code: 0 });
  expect(up.text()).toContain("403");
  expect(await rounds.statuses()).toEqual(["failed", "running"]);
  const lost = async () => (await rounds.cloud.runs()).findLast(isDuplicate) as ShownRun;
  expect(isOver(await lost())).toBe(false);
  return lost;
}
