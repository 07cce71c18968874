/** What tests can order of the stub goes wrong in the way that was ordered. */
import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import {
  DeleteObjectCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
  type S3ClientConfig,
} from "@aws-sdk/client-s3";
import { signalGroup } from "../../launcher/local/process.ts";
import { eventually } from "../support/eventually.ts";
import { type ShownRun, VesslCloud } from "../support/vessl-cloud.ts";
import { runYaml } from "./run-yaml.ts";
import { RunFiles } from "./stub/run-files.ts";

const ENDS_MS = 20_000;
let cloud: VesslCloud;

jest.setTimeout(60_000);
beforeAll(async () => {
  cloud = await VesslCloud.start();
}, 360_000);
afterEach(() => cloud.clearFaults());
afterAll(() => cloud.dispose());

const P = "/organizations/acme/projects/infra";

function call(method: string, path: string, body?: unknown, signal = AbortSignal.timeout(10_000)): Promise<Response> {
  return fetch(`${cloud.url}/api/v1${path}`, {
    method,
    signal,
    headers: { authorization: `Token ${cloud.token}` },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
}

/** @returns the run's id. */
async function create(name: string, command = "true"): Promise<string> {
  const answer = await call("POST", `${P}/run/spec/create_from_yaml`, { yaml_spec: runYaml(name, command) });
  return String(((await answer.json()) as { run_execution: { id: number } }).run_execution.id);
}

async function runOf(id: string): Promise<ShownRun> {
  return (await (await call("GET", `${P}/run_executions/${id}`)).json()) as ShownRun;
}

const reaches = (id: string, status: string) => eventually(async () => (await runOf(id)).status === status, ENDS_MS);

/** Name of the error that `attempt` ends with. */
const failure = (attempt: Promise<unknown>) =>
  attempt.then(
    () => "none",
    (error: Error) => error.name,
  );

describe("the API", () => {
  test("refuses with a status and says when to come back, as often as ordered, where ordered", async () => {
    await cloud.faults({ method: "GET", path: "/organizations$", times: 2, effect: { status: 503, retryAfter: 7 } });
    expect((await call("GET", "/accounts/me")).status).toBe(200);
    for (let times = 0; times < 2; times++) {
      const answer = await call("GET", "/organizations");
      expect([answer.status, answer.headers.get("retry-after")]).toEqual([503, "7"]);
    }
    expect((await call("GET", "/organizations")).status).toBe(200);
  });

  test("hangs, is late, breaks off in the middle of its answer", async () => {
    await cloud.faults({ effect: "hang" });
    expect(await failure(call("GET", "/organizations", undefined, AbortSignal.timeout(300)))).toBe("TimeoutError");
    await cloud.faults({ effect: { delayMs: 400 } });
    const begin = Date.now();
    expect((await call("GET", "/organizations")).status).toBe(200);
    expect(Date.now() - begin).toBeGreaterThanOrEqual(399);
    await cloud.faults({ effect: "truncate" });
    expect(await failure(call("GET", "/organizations").then((answer) => answer.json()))).toBe("SyntaxError");
  });

  test("closes the connection, after it has done what was asked, or before", async () => {
    await cloud.faults({ method: "POST", effect: "drop" }, { method: "POST", effect: "refuse" });
    expect(await failure(create("dropped"))).toBe("TypeError");
    expect(await failure(create("refused"))).toBe("TypeError");
    const titles = (await cloud.runs()).map(({ run_spec }) => run_spec.title);
    expect(titles).toContain("dropped");
    expect(titles).not.toContain("refused");
  });

  test("every request is written down with its answer", async () => {
    await call("GET", "/organizations?limit=7");
    expect(cloud.requests().at(-1)).toMatchObject({
      method: "GET",
      path: "/api/v1/organizations",
      query: "?limit=7",
      status: 200,
    });
  });
});

interface Federated {
  readonly bucket_name: string;
  readonly path: string;
  readonly s3_token: { access_key_id: string; secret_access_key: string; session_token: string; expiration: string };
}

describe("S3", () => {
  const V = "/organizations/acme/storages/vessl-storage/volumes";
  beforeAll(() => call("POST", V, { volume_name: "v", tags: [] }));

  const federate = async (federation_type: "read" | "write"): Promise<Federated> =>
    (await (await call("POST", `${V}/v/federate`, { federation_type })).json()) as Federated;

  const open = (credentials: S3ClientConfig["credentials"], maxAttempts = 1) =>
    new S3Client({ endpoint: cloud.s3Url, region: "eu-north-1", forcePathStyle: true, maxAttempts, credentials });

  const client = ({ s3_token }: Federated, change: { secretAccessKey?: string; sessionToken?: string } = {}) =>
    open({
      accessKeyId: s3_token.access_key_id,
      secretAccessKey: s3_token.secret_access_key,
      sessionToken: s3_token.session_token,
      ...change,
    });

  const account = (maxAttempts?: number) =>
    open(
      {
        accessKeyId: cloud.env.AWS_ACCESS_KEY_ID as string,
        secretAccessKey: cloud.env.AWS_SECRET_ACCESS_KEY as string,
      },
      maxAttempts,
    );

  const put = ({ bucket_name: Bucket, path }: Federated, key: string, body: string | Buffer = "x") =>
    new PutObjectCommand({ Bucket, Key: `${path}/${key}`, Body: body });
  const list = ({ bucket_name: Bucket, path }: Federated) => new ListObjectsV2Command({ Bucket, Prefix: `${path}/` });

  test("credentials are good for their volume and for nothing else; those to read do not write", async () => {
    const write = await federate("write");
    const s3 = client(write);
    await s3.send(put(write, "odd/a b#c%20?ü&=+'(1)*!~.txt", "odd"));
    expect((await s3.send(list(write))).Contents?.map(({ Key }) => Key)).toEqual([
      `${write.path}/odd/a b#c%20?ü&=+'(1)*!~.txt`,
    ]);
    expect(await failure(s3.send(put({ ...write, path: `${write.path}0` }, "x")))).toBe("AccessDenied");
    expect(await failure(s3.send(put({ ...write, bucket_name: "wmtp" }, "x")))).toBe("AccessDenied");
    expect(await failure(s3.send(new ListObjectsV2Command({ Bucket: write.bucket_name })))).toBe("AccessDenied");
    const read = await federate("read");
    expect((await client(read).send(list(read))).KeyCount).toBe(1);
    const Key = `${read.path}/x`;
    for (const command of [put(read, "x"), new DeleteObjectCommand({ Bucket: read.bucket_name, Key })])
      expect(await failure(client(read).send(command as PutObjectCommand))).toBe("AccessDenied");
  });

  test("a wrong secret, a token that nobody gave out, and none at all are refused", async () => {
    const write = await federate("write");
    expect(await failure(client(write, { secretAccessKey: "wrong" }).send(list(write)))).toBe("SignatureDoesNotMatch");
    expect(await failure(client(write, { sessionToken: "made up" }).send(list(write)))).toBe("InvalidToken");
    expect(await failure(client(write, { sessionToken: undefined }).send(list(write)))).toBe("InvalidAccessKeyId");
  });

  test("credentials expire when ordered, after so many requests, or after so long; then new ones work", async () => {
    const first = await federate("read");
    expect(Date.parse(first.s3_token.expiration)).toBeGreaterThan(Date.now() + 3_000_000);
    await client(first).send(list(first));
    await cloud.expireCredentials();
    expect(await failure(client(first).send(list(first)))).toBe("ExpiredToken");
    await cloud.shortenCredentials({ requests: 2 });
    const second = await federate("read");
    for (let times = 0; times < 2; times++) await client(second).send(list(second));
    expect(await failure(client(second).send(list(second)))).toBe("ExpiredToken");
    await cloud.shortenCredentials({ milliseconds: 200 });
    const third = await federate("read");
    await sleep(250);
    expect(await failure(client(third).send(list(third)))).toBe("ExpiredToken");
    await cloud.shortenCredentials({});
    const last = await federate("read");
    await client(last).send(list(last));
  });

  test("slows down, is down, and comes back; by the account's own key", async () => {
    const own = { bucket_name: "wmtp", path: "trouble" } as Federated;
    await cloud.s3Faults({ method: "PUT", path: "/wmtp/trouble/", times: 2, effect: { status: 503 } });
    expect(await failure(account().send(put(own, "x")))).toBe("SlowDown");
    await account(3).send(put(own, "x", "there"));
    expect(cloud.bucketFiles("trouble/")).toEqual({ x: "there" });
  });

  test("hangs; closes the connection before anything is done, or after", async () => {
    const own = { bucket_name: "wmtp", path: "broken" } as Federated;
    await cloud.s3Faults({ method: "PUT", effect: "hang" });
    const patience = { abortSignal: AbortSignal.timeout(300) };
    expect(await failure(account().send(put(own, "hang"), patience))).toBe("AbortError");
    await cloud.s3Faults({ method: "PUT", effect: "refuse" }, { method: "PUT", effect: "drop" });
    expect(await failure(account().send(put(own, "refused")))).not.toBe("none");
    expect(await failure(account().send(put(own, "dropped")))).not.toBe("none");
    expect(cloud.bucketFiles("broken/")).toEqual({ dropped: "x" });
  });

  test("the connection is cut in the middle of what comes, and of what goes", async () => {
    const own = { bucket_name: "wmtp", path: "cut" } as Federated;
    const body = Buffer.alloc(8 << 20, "a");
    await cloud.s3Faults({ method: "PUT", effect: { cutAfterBytes: 1 << 20 } });
    expect(await failure(account().send(put(own, "up", body)))).not.toBe("none");
    expect(cloud.bucketFiles("cut/")).toEqual({});
    await account().send(put(own, "down", body));
    await cloud.s3Faults({ method: "GET", effect: { cutAfterBytes: 1 << 20 } });
    const get = new GetObjectCommand({ Bucket: "wmtp", Key: "cut/down" });
    const read = async () => (await (await account().send(get)).Body?.transformToByteArray())?.length;
    expect(await failure(read())).not.toBe("none");
    expect(await read()).toBe(body.length);
  });
});

describe("runs", () => {
  test("follow a script of their title, as often as it says; others are executed", async () => {
    await cloud.script({
      title: "^scripted-",
      times: 1,
      timeline: [
        { status: "pending" },
        { status: "hibernating", after: 100 },
        { status: "failed", reason: "Preempted: spot node reclaimed", after: 400 },
      ],
      log: ["said before"],
    });
    const id = await create("scripted-a", "exit 1");
    await reaches(id, "hibernating");
    await reaches(id, "failed");
    expect((await runOf(id)).status_reason).toBe("Preempted: spot node reclaimed");
    expect(await cloud.runLog(id)).toEqual(["said before"]);
    await reaches(await create("scripted-b"), "completed");
  });

  test("stuck in the queue they can be terminated at once", async () => {
    await cloud.script({ title: "^stuck$", timeline: [] });
    const id = await create("stuck");
    expect((await runOf(id)).status).toBe("queued");
    await call("POST", `${P}/run_executions/${id}/terminate`);
    expect((await runOf(id)).status).toBe("terminated");
  });

  test("lose their machine: with a word from the cloud, or without one", async () => {
    const command = "echo started; while :; do sleep 0.1; done";
    const preempted = await create("preempted", command);
    await eventually(async () => (await cloud.runLog(preempted)).includes("started"), ENDS_MS);
    await cloud.preempt("preempted");
    expect(await runOf(preempted)).toMatchObject({ status: "failed", status_reason: "Preempted: spot node reclaimed" });
    const lost = await create("lost", command);
    await eventually(async () => (await cloud.runLog(lost)).includes("started"), ENDS_MS);
    signalGroup(nodeOf(lost), "SIGKILL");
    await reaches(lost, "failed");
    await eventually(() => !commandLines().includes(command), ENDS_MS);
  });

  test("are forgotten by somebody", async () => {
    const id = await create("forgotten", "sleep 60");
    await cloud.forgetRun("forgotten");
    expect((await call("GET", `${P}/run_executions/${id}`)).status).toBe(404);
    await eventually(() => !commandLines().includes("sleep 60"), ENDS_MS);
  });

  test("go on while API and S3 are killed and started again, with the same addresses and memory", async () => {
    const id = await create("survivor", "for i in 1 2 3 4 5 6 7 8 9; do echo $i; sleep 0.3; done");
    await eventually(async () => (await cloud.runLog(id)).includes("2"), ENDS_MS);
    const { url, s3Url } = cloud;
    await cloud.kill();
    expect(await failure(call("GET", "/accounts/me"))).toBe("TypeError");
    await cloud.restart();
    expect([cloud.url, cloud.s3Url]).toEqual([url, s3Url]);
    await reaches(id, "completed");
    expect(await cloud.runLog(id)).toEqual("123456789".split(""));
  });

  test("instant: results at once, where the command says", async () => {
    await cloud.mode("instant");
    const id = await create(
      "instant",
      "python -m weighted_mtp.entry --checkpoints s3://wmtp/checkpoints/s/p/f -- python",
    );
    await reaches(id, "completed");
    await cloud.mode("execute");
    const found = cloud.bucketFiles("checkpoints/s/p/f/");
    expect(Object.keys(found).sort()).toEqual(["COMPLETED.json", "checkpoint_best/model.safetensors"]);
    expect(JSON.parse(found["COMPLETED.json"] as string)).toMatchObject({ steps: 10, final_loss: 1 });
  });
});

test("when it is over nothing is left running", async () => {
  const other = await VesslCloud.start();
  const { root } = other;
  await fetch(`${other.url}/api/v1${P}/run/spec/create_from_yaml`, {
    method: "POST",
    headers: { authorization: `Token ${other.token}` },
    body: JSON.stringify({ yaml_spec: runYaml("left", "sleep 61") }),
  });
  await eventually(() => commandLines().includes("sleep 61"), ENDS_MS);
  await other.dispose();
  await eventually(() => !commandLines().includes("sleep 61") && !commandLines().includes(root), ENDS_MS);
});

function nodeOf(id: string): number {
  const node = new RunFiles(`${cloud.root}/state`, Number(id)).node();
  if (node === undefined) throw new Error(`run ${id} has no node`);
  return node.identity.pid;
}

/** Of all processes of this machine. */
function commandLines(): string {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
      } catch {
        return "";
      }
    })
    .join("\n");
}
