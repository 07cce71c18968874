/**
 * kill -9 of pulumi and the launcher while they work with the GPU cloud, at the moments that hurt; then `wmtp recover` and `up` again:
 * one run, trained once, and volumes that equal their sources.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { CloudRounds, PIPELINE, SUBMIT } from "../support/cloud-rounds.ts";

/** Enough to be killed in their middle. */
const FILES = 300;
let rounds: CloudRounds;

jest.setTimeout(300_000);
beforeAll(async () => {
  rounds = await CloudRounds.start("cloudkill");
}, 360_000);
beforeEach(() => rounds.next());
afterEach(async () => expect(await rounds.leaks()).toEqual([]));
afterAll(() => rounds?.dispose());

/** Clears up as the manual says, and updates: all is well, and what it says. */
function recovered(): string {
  const { code: recovery, text: said } = rounds.stack.wmtp("recover");
  expect({ recovery, said }).toMatchObject({ recovery: 0 });
  expect(said).toContain("removed the lock of a pulumi that was killed");
  const { code, text } = rounds.up();
  expect({ code, text }).toMatchObject({ code: 0 });
  expect(rounds.stack.runs()[PIPELINE]).toMatchObject({ status: "completed", steps: 10 });
  return text;
}

const submissions = () =>
  rounds.cloud.requests().filter(({ method, path }) => method === "POST" && path.endsWith("/create_from_yaml")).length;

const uploads = () => rounds.cloud.s3Requests().filter(({ method }) => method === "PUT").length;

/** Fills a directory of the datasets' source with files that were never there before. */
function addFiles(directory: string): void {
  const place = join(rounds.datasets, directory);
  mkdirSync(place, { recursive: true });
  for (let file = 0; file < FILES; file += 1)
    writeFileSync(join(place, `${file}.jsonl`), `{"of": "${directory}${file}"}\n`);
}

function expectVolumeEqualsSource(): void {
  const names = readdirSync(rounds.datasets, { recursive: true, withFileTypes: true }).filter((entry) =>
    entry.isFile(),
  );
  const paths = names.map(({ parentPath, name }) => join(parentPath, name).slice(rounds.datasets.length + 1));
  const source = Object.fromEntries(paths.map((path) => [path, readFileSync(join(rounds.datasets, path), "utf8")]));
  expect(rounds.cloud.volumeFiles("vessl-storage", "cloudkill-datasets")).toEqual(source);
}

describe("an upload", () => {
  test("is killed in its middle: the next update completes it, and sends little again", async () => {
    addFiles("killed");
    await rounds.cloud.s3Faults({ method: "PUT", times: FILES, effect: { delayMs: 30 } });
    const before = uploads();
    const up = rounds.start();
    await rounds.until("half of the files are there", () => uploads() - before > FILES / 2);
    await rounds.killAll(up);
    expect(await rounds.statuses()).toEqual([]);
    const sent = uploads() - before;
    expect(sent).toBeLessThan(FILES);
    await rounds.cloud.clearFaults();
    recovered();
    expectVolumeEqualsSource();
    // At a time there are no more than sixteen requests whose outcome a kill can leave unknown.
    expect(uploads() - before).toBeLessThanOrEqual(FILES + 16 + checkpointPuts());
    expect(await rounds.statuses()).toEqual(["completed"]);
  });

  test("outlives its credentials, again and again", async () => {
    addFiles("expired");
    await rounds.cloud.shortenCredentials({ requests: 60 });
    const { code, text } = rounds.up();
    expect({ code, text }).toMatchObject({ code: 0 });
    expectVolumeEqualsSource();
    expect(await rounds.statuses()).toEqual(["completed"]);
    expect(rounds.cloud.s3Requests().filter(({ status }) => status === 400).length).toBeGreaterThan(0);
  });

  test("all credentials expire in its middle", async () => {
    addFiles("expired-at-once");
    await rounds.cloud.s3Faults({ method: "PUT", times: FILES, effect: { delayMs: 20 } });
    const before = uploads();
    const up = rounds.start();
    await rounds.until("half of the files are there", () => uploads() - before > FILES / 2);
    await rounds.cloud.expireCredentials();
    expect(await up.ended).toMatchObject({ code: 0 });
    expectVolumeEqualsSource();
    expect(await rounds.statuses()).toEqual(["completed"]);
  });
});

describe("a submission", () => {
  test("is killed before it arrives, and arrives all the same", async () => {
    await rounds.next(25);
    const before = submissions();
    await rounds.cloud.faults({ ...SUBMIT, effect: { delayMs: 2_000 } });
    const up = rounds.start();
    const asked = rounds.lists();
    await rounds.until("it has looked for the run", () => rounds.lists() > asked);
    await new Promise((wake) => setTimeout(wake, 500));
    await rounds.killAll(up);
    expect(submissions()).toBe(before);
    await rounds.until("it has arrived", () => submissions() > before);
    expect(recovered()).toContain("attached to attempt 1");
    expect(await rounds.statuses()).toEqual(["completed"]);
  });

  test.each(["drop", "truncate"] as const)(
    "is killed when it has arrived, and its answer has not (%s)",
    async (effect) => {
      await rounds.next(25);
      await rounds.cloud.faults({ ...SUBMIT, effect });
      const up = rounds.start();
      await rounds.until("the run is there", async () => (await rounds.runs()).length === 1);
      await rounds.killAll(up);
      expect(recovered()).toContain("attached to attempt 1");
      expect(await rounds.statuses()).toEqual(["completed"]);
    },
  );
});

describe("the wait", () => {
  test("is killed: attached to", async () => {
    await rounds.next(30);
    const up = rounds.start();
    await rounds.trains();
    await rounds.killAll(up);
    expect(await rounds.statuses()).toEqual(["running"]);
    expect(recovered()).toContain("attached to attempt 1");
    expect(await rounds.statuses()).toEqual(["completed"]);
  });

  test("is killed, and the run completes without anybody: adopted", async () => {
    await rounds.next(2);
    const up = rounds.start();
    await rounds.trains();
    await rounds.killAll(up);
    await rounds.reaches("completed");
    const before = submissions();
    recovered();
    expect(submissions()).toBe(before);
    expect(await rounds.statuses()).toEqual(["completed"]);
  });

  test("is killed, and the machine is taken away: the next update resumes", async () => {
    await rounds.next(6);
    const up = rounds.start();
    const run = await rounds.trains();
    await rounds.killAll(up);
    await rounds.cloud.preempt(String(run.id));
    recovered();
    expect(await rounds.statuses()).toEqual(["failed", "completed"]);
  });

  test("is killed three times in a row, a moment later each time: submitted once", async () => {
    await rounds.next(40);
    const before = submissions();
    for (let times = 0; times < 3; times += 1) {
      const up = rounds.start();
      await rounds.until("it creates the run", () => /Run rho1 creating/.test(up.text()));
      await new Promise((wake) => setTimeout(wake, times * 400));
      await rounds.killAll(up);
      expect(rounds.stack.wmtp("recover")).toMatchObject({ code: 0 });
    }
    expect(rounds.up()).toMatchObject({ code: 0 });
    expect(submissions() - before).toBe(1);
    expect(await rounds.statuses()).toEqual(["completed"]);
  });

  test("is killed, and 120 runs of others follow, 250 have been before: ours is found pages away", async () => {
    await rounds.cloud.addOldRuns(250);
    await rounds.next(40);
    const up = rounds.start();
    await rounds.trains();
    await rounds.killAll(up);
    await rounds.cloud.script({ title: "^others-", timeline: [{ status: "completed" }] });
    await rounds.submitOthers("others", 120);
    const before = submissions();
    expect(recovered()).toContain("attached to attempt 1");
    expect(submissions()).toBe(before);
    expect(await rounds.statuses()).toEqual(["completed"]);
  });
});

/** Uploads of the runs themselves. */
function checkpointPuts(): number {
  return rounds.cloud.s3Requests().filter(({ method, url }) => method === "PUT" && url.startsWith("/wmtp/")).length;
}
