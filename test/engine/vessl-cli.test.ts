/** `wmtp cancel` and `retry` on the GPU cloud, with the state that a real engine writes while an update goes on. */
import { once } from "node:events";
import { makeCloudStack } from "../support/cloud-stack.ts";
import type { EngineStack } from "../support/engine-stack.ts";
import { eventually } from "../support/eventually.ts";
import { VesslCloud } from "../support/vessl-cloud.ts";

jest.setTimeout(240_000);
let cloud: VesslCloud;
let stack: EngineStack;
beforeAll(async () => {
  cloud = await VesslCloud.start();
  const pipelines = { critic: { gpus: 1, maxDuration: "30m" } };
  stack = await makeCloudStack("cli", cloud, { config: { "wmtp:pipelines": pipelines } });
}, 400_000);
afterAll(async () => {
  stack?.dispose();
  await cloud?.dispose();
});

const doctor = () => stack.wmtp("doctor");

test("the doctor knows the base's secrets by what the base exports", () => {
  const { code, text } = doctor();
  expect(text).toMatch(/^ok +secret +WMTP_PROD_AWS_SECRET_ACCESS_KEY is there$/m);
  expect(code).toBe(0);
});

test("a run is cancelled during the up that makes it; no up starts it again until retry", async () => {
  await cloud.script({ title: "-critic-", times: 1, timeline: [{ status: "running" }] });
  const up = stack.startUp();
  const ended = once(up, "exit");
  await eventually(async () => (await cloud.runs()).some(({ status }) => status === "running"), 60_000);
  expect(stack.runs()).toEqual({}); // the state knows it by the open create alone
  expect(stack.wmtp("cancel", "critic")).toMatchObject({ code: 0, text: expect.stringContaining("is stopped") });
  expect((await ended)[0]).not.toBe(0);
  expect(stack.runs().critic).toMatchObject({ status: "terminated" });

  const still = stack.up();
  expect(still.code).not.toBe(0);
  expect(still.text).toContain("wmtp retry critic");
  expect(await cloud.runs()).toHaveLength(1);

  expect(stack.wmtp("retry", "critic")).toMatchObject({ code: 0, text: expect.stringContaining("may start again") });
  expect(stack.up().code).toBe(0);
  expect(stack.runs().critic).toMatchObject({ status: "completed", attempts: 2 });
  expect(doctor().text).toMatch(/^ok +volume +vessl-storage\/wmtp-minitest-models is there$/m);
});
