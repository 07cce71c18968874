import { Slots } from "../../launcher/slots.ts";
import { eventually } from "../support/eventually.ts";

let stop: AbortController;
beforeEach(() => {
  stop = new AbortController();
});
// Whoever still waits when a test is over, or has failed, must not keep jest from ending.
afterEach(() => stop.abort(new Error("the test is over")));

const nobody = async () => [];

function acquire(slots: Slots, name: string, limit = 1, active: () => Promise<string[]> = nobody) {
  const seen: string[][] = [];
  const release = slots.acquire(
    name,
    limit,
    active,
    () => 500,
    stop.signal,
    (ahead) => seen.push([...ahead]),
  );
  release.catch(() => undefined);
  const waited = (looks: number) => eventually(() => seen.length >= looks);
  return { release, seen, waited };
}

test("who comes when a slot has just become free does not overtake who waited for it", async () => {
  const slots = new Slots();
  const releaseFirst = await acquire(slots, "first").release;
  const second = acquire(slots, "second");
  await second.waited(1);
  releaseFirst();
  const third = acquire(slots, "third");
  await third.waited(1);
  expect(third.seen[0]).toEqual(["second"]);
  const releaseSecond = await second.release;
  await third.waited(2);
  expect(third.seen.at(-1)).toEqual(["second"]);
  releaseSecond();
  (await third.release)();
});

test("two that look at the same moment do not both find the last slot free", async () => {
  const slots = new Slots();
  const all = ["a", "b", "c"].map((name) => acquire(slots, name, 2));
  await all[2]?.waited(1);
  expect(all.map(({ seen }) => seen)).toEqual([[], [], [["a", "b"]]]);
  (await all[0]?.release)?.();
  await all[2]?.release;
});

test("a run that both this process and the backend know counts once", async () => {
  const slots = new Slots();
  const running: string[] = [];
  await acquire(slots, "a", 2, async () => running).release;
  running.push("a");
  const b = acquire(slots, "b", 2, async () => running);
  await b.release;
  expect(b.seen).toEqual([]);
});

test("a look that fails leaves the queue", async () => {
  const slots = new Slots();
  const broken = acquire(slots, "broken", 1, () => Promise.reject(new Error("no answer")));
  await expect(broken.release).rejects.toThrow("no answer");
  const next = acquire(slots, "next");
  await next.release;
  expect(next.seen).toEqual([]);
});
