import { setImmediate as turn } from "node:timers/promises";
import { forEachOf, Gate } from "../../launcher/s3/gate.ts";

/** Runs pieces of work through a gate; the most that went on at a time. */
async function most(
  gate: Gate,
  sizes: readonly number[],
): Promise<{ requests: number; bytes: number; order: number[] }> {
  const peak = { requests: 0, bytes: 0, order: [] as number[] };
  const now = { requests: 0, bytes: 0 };
  await Promise.all(
    sizes.map((size, index) =>
      gate.run(size, async () => {
        peak.order.push(index);
        now.requests += 1;
        now.bytes += size;
        peak.requests = Math.max(peak.requests, now.requests);
        peak.bytes = Math.max(peak.bytes, now.bytes);
        await turn();
        now.requests -= 1;
        now.bytes -= size;
      }),
    ),
  );
  return peak;
}

test("no more requests and no more bytes at a time than it was made for, in the order they came", async () => {
  const order = Array.from({ length: 20 }, (_, index) => index);
  expect(await most(new Gate(3, 100), Array(20).fill(1))).toEqual({ requests: 3, bytes: 3, order });
  expect(await most(new Gate(16, 100), Array(20).fill(40))).toEqual({ requests: 2, bytes: 80, order });
});

test("what is larger than all it has goes alone, and keeps nobody waiting for ever", async () => {
  const { requests, order } = await most(new Gate(16, 100), [300, 300, 1]);
  expect({ requests, order }).toEqual({ requests: 1, order: [0, 1, 2] });
});

test("work that fails makes room for the next", async () => {
  const gate = new Gate(1, 1);
  await expect(gate.run(1, () => Promise.reject(new Error("no")))).rejects.toThrow("no");
  expect(await gate.run(1, async () => "yes")).toBe("yes");
});

test("every item once, so many at a time", async () => {
  const done: number[] = [];
  let now = 0;
  let peak = 0;
  await forEachOf([1, 2, 3, 4, 5, 6, 7], 3, async (item) => {
    peak = Math.max(peak, ++now);
    await turn();
    done.push(item);
    now -= 1;
  });
  expect([done.sort(), peak]).toEqual([[1, 2, 3, 4, 5, 6, 7], 3]);
});

test("after a failure nothing new begins, and it is thrown when all that had begun has ended", async () => {
  const begun: number[] = [];
  let ended = 0;
  const work = forEachOf([1, 2, 3, 4, 5, 6], 2, async (item) => {
    begun.push(item);
    if (item === 1) throw new Error("first");
    await turn();
    ended += 1;
  });
  await expect(work).rejects.toThrow("first");
  expect([begun, ended]).toEqual([[1, 2], 1]);
});
