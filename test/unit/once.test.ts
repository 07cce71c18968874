import { Once } from "../../launcher/once.ts";

test("asks once, also for those who come while it asks", async () => {
  let asked = 0;
  const once = new Once(async () => {
    asked += 1;
    return "answer";
  });
  expect(await Promise.all([once.get(), once.get()])).toEqual(["answer", "answer"]);
  expect(await once.get()).toBe("answer");
  expect(asked).toBe(1);
});

test("a failure reaches all who wait, and the next one asks again", async () => {
  let asked = 0;
  const once = new Once(async () => {
    asked += 1;
    if (asked === 1) throw new Error("outage");
    return asked;
  });
  const both = await Promise.allSettled([once.get(), once.get()]);
  expect(both.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  expect(await once.get()).toBe(2);
});
