/**
 * The GPU cloud does not answer as it should, under the real engine: a run trains once and counts once, an update says what happened, and
 * the next one goes on from there.
 */
import { isDuplicate } from "../../launcher/vessl/run-status.ts";
import { CloudRounds, PIPELINE, SUBMIT } from "../support/cloud-rounds.ts";

const LIST = { method: "GET", path: "/run_executions\\?" };
let rounds: CloudRounds;

jest.setTimeout(300_000);
beforeAll(async () => {
  rounds = await CloudRounds.start("outages");
}, 360_000);
beforeEach(() => rounds.next());
afterEach(async () => expect(await rounds.leaks()).toEqual([]));
afterAll(() => rounds?.dispose());

describe("the API does not answer as it should", () => {
  test("a storm of 429, 500 and 503 over every endpoint, and over S3, from nothing to trained", async () => {
    const endpoints = ["organizations", "projects", "clusters", "resource_specs", "storages", "volumes", "federate"];
    const paths = [...endpoints.map((name) => `/${name}(\\?|$)`), "/volumes/[^/]+$", "/logs\\?"];
    await rounds.cloud.faults(
      ...[...paths.map((path) => ({ path })), LIST, SUBMIT].flatMap((where) => [
        { ...where, effect: { status: 503, retryAfter: 1 } },
        { ...where, effect: { status: 429 } },
        { ...where, effect: { status: 500 } },
      ]),
    );
    await rounds.cloud.s3Faults({ times: 12, effect: { status: 503 } });
    rounds.green();
    expect(await rounds.statuses()).toEqual(["completed"]);
  });

  test("connections that hang, in the wait and at the submission", async () => {
    await rounds.cloud.faults({ ...LIST, effect: "hang" }, { ...SUBMIT, effect: "hang" });
    rounds.green();
    expect(await rounds.statuses()).toEqual(["completed"]);
  });

  test("an outage in the middle of the wait: it goes on by itself", async () => {
    await rounds.next(4);
    const up = rounds.start();
    await rounds.trains();
    await rounds.cloud.kill();
    await new Promise((wake) => setTimeout(wake, 3_000));
    await rounds.cloud.restart();
    expect(await up.ended).toMatchObject({ code: 0 });
    expect(await rounds.statuses()).toEqual(["completed"]);
  });

  test.each(["drop", "truncate"] as const)("the answer to a submission is lost (%s): one run", async (effect) => {
    await rounds.cloud.faults({ ...SUBMIT, effect });
    rounds.green();
    expect(await rounds.statuses()).toEqual(["completed"]);
    expect((await rounds.cloud.runs()).filter(isDuplicate)).toEqual([]);
  });

  test("a submission that never arrived is made again", async () => {
    await rounds.cloud.faults({ ...SUBMIT, effect: "refuse" });
    rounds.green();
    expect(await rounds.statuses()).toEqual(["completed"]);
  });
});

describe("the token", () => {
  test("expires in the middle of the wait: detached, and attached to again with a new one", async () => {
    await rounds.next(12);
    const up = rounds.start();
    await rounds.trains();
    await rounds.cloud.revokeToken();
    const { code, text } = await up.ended;
    await rounds.cloud.revokeToken(false);
    expect({ code, text }).not.toMatchObject({ code: 0 });
    expect(text).toContain("the login has expired");
    expect(text).toContain("is still running; run pulumi up again to attach");
    expect(rounds.stack.runs()[PIPELINE]).toMatchObject({ status: "running" });
    expect(await rounds.statuses()).toEqual(["running"]);
    expect(rounds.green()).toContain("attached to attempt 1");
    expect(await rounds.statuses()).toEqual(["completed"]);
  });

  test("has expired before: nothing is submitted, and the text says what to do", async () => {
    await rounds.cloud.revokeToken();
    const text = rounds.red();
    await rounds.cloud.revokeToken(false);
    expect(text).toContain("the login has expired");
    expect(text).toContain("vessl configure");
    expect(await rounds.statuses()).toEqual([]);
    rounds.green();
    expect(await rounds.statuses()).toEqual(["completed"]);
  });
});
