/** Uploads to a real S3 server, through a front that counts what travels and misbehaves. */
import { spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import {
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  PutObjectCommand,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { type Manifest, manifestOf } from "../../launcher/manifest.ts";
import { mirror, missing } from "../../launcher/s3/mirror.ts";
import { type S3Access, S3Prefix, type S3Timing } from "../../launcher/s3/prefix.ts";
import { eventually } from "../support/eventually.ts";
import { type Asked, ObjectStore } from "../support/object-store.ts";

const MEBIBYTE = 1 << 20;
/** Sixteen MiB a part, so seven of them. */
const BIG = 100 * MEBIBYTE;
const SOON: Partial<S3Timing> = { backoff: { firstMs: 20, factor: 2, longestMs: 200 }, idleMs: 1_000 };

jest.setTimeout(120_000);
let store: ObjectStore;
let work: string;
let source: string;
let tests = 0;
let prefix: string;
let moved: number[];
let opened: number;
let change: (access: S3Access) => S3Access;

beforeAll(async () => {
  store = await ObjectStore.start();
});
afterAll(() => store.dispose());
beforeEach(() => {
  work = mkdtempSync(join(tmpdir(), "wmtp-mirror-"));
  source = join(work, "source");
  mkdirSync(source);
  prefix = `volumes/${++tests}`;
  moved = [];
  opened = 0;
  change = (access) => access;
  store.reset();
});
afterEach(() => {
  rmSync(work, { recursive: true, force: true });
  rmSync(store.directory(prefix), { recursive: true, force: true });
});

function write(files: Record<string, string | Buffer>): void {
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(source, path)), { recursive: true });
    writeFileSync(join(source, path), content);
  }
}

const manifest = () => manifestOf(source, join(work, "hashes"));
const files = () =>
  new S3Prefix(async () => {
    opened += 1;
    return change(store.access(prefix));
  }, SOON);

async function upload(of?: Manifest, from = files()): Promise<number[]> {
  moved = [];
  await mirror(from, source, of ?? (await manifest()), {
    journal: join(work, "journal"),
    hashCache: join(work, "hashes"),
    label: "disk/models",
    progress: (bytes) => moved.push(bytes),
  });
  return moved.sort((a, b) => a - b);
}

/** What the server has, by path. */
function stored(): Record<string, string> {
  const root = store.directory(prefix);
  const paths = readdirSync(root, { recursive: true, encoding: "utf8" }).filter((path) =>
    statSync(join(root, path)).isFile(),
  );
  return Object.fromEntries(paths.map((path) => [path, readFileSync(join(root, path), "utf8")]));
}

const sha256 = (content: Buffer) => createHash("sha256").update(content).digest("hex");
const sha256Of = (path: string) => sha256(readFileSync(join(store.directory(prefix), path)));
const unfinished = async () =>
  (await store.client.send(new ListMultipartUploadsCommand({ Bucket: "bucket", Prefix: prefix }))).Uploads ?? [];
const put = (path: string, body: string | Buffer) =>
  store.client.send(new PutObjectCommand({ Bucket: "bucket", Key: `${prefix}/${path}`, Body: body }));
/** Answers `fault` to the first `times` requests that `match`. */
function failing(times: number, fault: ReturnType<ObjectStore["fault"]>, match: (asked: Asked) => boolean): void {
  let left = times;
  store.fault = (asked) => {
    if (left === 0 || !match(asked)) return undefined;
    left -= 1;
    return fault;
  };
}
const isUpload = ({ method }: Asked) => method === "PUT";

describe("what travels", () => {
  test("all of it once; then what differs, by size or by content; what left the source is removed", async () => {
    write({ "a/b c#?%.txt": "1", "ü/日本 🎉": "22", "q'\"&<>+": "333", empty: "" });
    expect(await upload()).toEqual([0, 1, 2, 3]);
    expect(stored()).toEqual({ "a/b c#?%.txt": "1", "ü/日本 🎉": "22", "q'\"&<>+": "333", empty: "" });
    expect(await missing(files(), await manifest())).toEqual([]);
    store.reset();
    expect(await upload()).toEqual([]);
    expect(store.uploads).toEqual([]);
    write({ empty: "now not", "q'\"&<>+": "xxx" });
    rmSync(join(source, "a"), { recursive: true });
    expect(await upload()).toEqual([3, 7]);
    expect(stored()).toEqual({ "ü/日本 🎉": "22", "q'\"&<>+": "xxx", empty: "now not" });
    rmSync(join(store.directory(prefix), "empty"));
    expect(await missing(files(), await manifest())).toEqual(["empty"]);
  });

  test("a file takes a directory's place, and a directory a file's", async () => {
    write({ x: "file", "y/in/side": "1" });
    await upload();
    rmSync(join(source, "x"));
    rmSync(join(source, "y"), { recursive: true });
    write({ "x/in/side": "1", y: "file" });
    await upload();
    expect(stored()).toEqual({ "x/in/side": "1", y: "file" });
  });

  test("what somebody else uploaded is known by its entity tag: at once, in boto3's parts, and in parts like ours", async () => {
    const big = randomBytes(20 * MEBIBYTE + 3);
    write({ plain: "same", "in-8": big, "in-16": big, differs: "same size" });
    await put("plain", "same");
    await put("differs", "SAME SIZE");
    for (const [path, bytes] of [
      ["in-8", 8 * MEBIBYTE],
      ["in-16", 16 * MEBIBYTE],
    ] as const) {
      const where = { Bucket: "bucket", Key: `${prefix}/${path}` };
      const { UploadId } = await store.client.send(new CreateMultipartUploadCommand(where));
      const parts = [];
      for (let number = 1; (number - 1) * bytes < big.length; number += 1) {
        const Body = big.subarray((number - 1) * bytes, number * bytes);
        const { ETag } = await store.client.send(
          new UploadPartCommand({ ...where, UploadId, PartNumber: number, Body }),
        );
        parts.push({ ETag, PartNumber: number });
      }
      const complete = { ...where, UploadId, MultipartUpload: { Parts: parts } };
      await store.client.send(new CompleteMultipartUploadCommand(complete));
    }
    expect(await upload()).toEqual([9]);
    expect(stored().differs).toBe("same size");
  });
});

describe("what is refused", () => {
  test("files of somebody else that the source lacks, five by name, before anything is changed", async () => {
    write({ a: "1", ours: "2" });
    await upload();
    rmSync(join(source, "ours"));
    write({ a: "changed" });
    for (const name of ["f1", "f2", "f3", "f4", "f5", "f6", "f7"]) await put(name, "foreign");
    await expect(upload()).rejects.toThrow(
      /^volume disk\/models holds files that were not uploaded from here and are not in the source \(f1, f2, f3, f4, f5 and 2 more\): .*delete them there/,
    );
    expect(stored()).toMatchObject({ a: "1", ours: "2", f7: "foreign" });
  });

  test.each([
    ["a/../b", /"a\/\.\.\/b" is no path/],
    ["./a", /"\.\/a" is no path/],
    ["a//b", /"a\/\/b" is no path/],
    ["/a", /"\/a" is no path/],
    ["a\nb", /"a\\nb" holds control characters/],
    ["x".repeat(1024), /is too long for an object store \(10\d\d bytes, at most 1024\): shorten/],
  ])("the name %j, before anything is asked", async (path, message) => {
    await expect(upload([{ path, size: 1, sha256: "" }])).rejects.toThrow(message);
    expect(store.asked).toEqual([]);
  });

  test("a source that changes while it is uploaded: at once, and in parts; nothing wrong is left there", async () => {
    write({ a: "1", b: "2", big: randomBytes(BIG) });
    const before = await manifest();
    const { mtime } = statSync(join(source, "a"));
    write({ a: "X" });
    utimesSync(join(source, "a"), mtime, mtime); // not even the time of change tells
    store.fault = (asked) => {
      if (asked.query.get("partNumber") === "2") writeFileSync(join(source, "big"), "cut short");
      return undefined;
    };
    await expect(upload(before)).rejects.toThrow(
      /^volume disk\/models differs from its source after the upload \(a, big\): was the source changed meanwhile\? run pulumi up again$/,
    );
    expect(stored()).toEqual({ b: "2" });
    expect(await unfinished()).toEqual([]);
  });
});

describe("large files", () => {
  test("go in parts, each told of; they are whole, and not sent again", async () => {
    const content = randomBytes(BIG);
    write({ big: content, small: "1" });
    expect(await upload()).toEqual([1, 4 * MEBIBYTE, ...Array(6).fill(16 * MEBIBYTE)]);
    expect(sha256Of("big")).toBe(sha256(content));
    const head = await store.client.send(new HeadObjectCommand({ Bucket: "bucket", Key: `${prefix}/big` }));
    expect(head.Metadata).toEqual({ sha256: sha256(content) });
    expect(readdirSync(join(work, "journal"))).toEqual([]);
    store.reset();
    expect(await upload()).toEqual([]);
    expect(store.uploads).toEqual([]);
  });

  /** Kills an upload as soon as the server has `parts` of it; the numbers of those it has. */
  async function killedAfter(parts: number): Promise<Set<string>> {
    const done = () => store.uploads.filter(({ status }) => status === 200).length;
    // The later parts crawl, so that the kill comes in their middle.
    store.fault = ({ query }) => (Number(query.get("partNumber")) > parts ? 5_000 : undefined);
    const script = resolve(import.meta.dirname, "..", "support", "mirror-once.ts");
    const child = spawn(process.env.WMTP_NODE ?? "node", [script, store.endpoint, prefix, source, work], {
      stdio: "ignore",
      env: { PATH: process.env.PATH },
    });
    const gone = new Promise((end) => child.on("exit", end));
    try {
      await eventually(() => done() >= parts, 30_000);
    } finally {
      child.kill("SIGKILL");
      await gone;
    }
    const sent = store.uploads.filter(({ status }) => status === 200);
    store.reset();
    return new Set(sent.map(({ query }) => query.get("partNumber") as string));
  }

  test("killed -9 in the middle, an upload goes on: no part that arrived travels twice", async () => {
    const content = randomBytes(BIG);
    write({ big: content });
    const arrived = await killedAfter(3);
    expect(arrived.size).toBeGreaterThanOrEqual(3);
    expect(Object.keys(await unfinished())).toHaveLength(1);
    await upload();
    const again = store.uploads.map(({ query }) => query.get("partNumber") as string);
    expect(again.filter((number) => arrived.has(number))).toEqual([]);
    expect(again.length + arrived.size).toBe(7);
    const bytes = store.uploads.reduce((sum, asked) => sum + asked.bytes, 0);
    expect(bytes).toBe(moved.reduce((sum, part) => sum + part, 0));
    expect(bytes).toBeLessThanOrEqual(BIG - 3 * 16 * MEBIBYTE);
    expect(sha256Of("big")).toBe(sha256(content));
    expect(await unfinished()).toEqual([]);
  });

  test("killed, and the source changed since: the old upload is given up, the new content arrives", async () => {
    write({ big: randomBytes(BIG) });
    await killedAfter(2);
    const content = randomBytes(BIG);
    write({ big: content });
    expect(await upload()).toHaveLength(7);
    expect(sha256Of("big")).toBe(sha256(content));
    expect(await unfinished()).toEqual([]);
  });

  test("killed, and the file is no longer wanted: its upload is given up", async () => {
    write({ big: randomBytes(BIG), a: "1" });
    await killedAfter(2);
    rmSync(join(source, "big"));
    await upload();
    expect(await unfinished()).toEqual([]);
    expect(stored()).toEqual({ a: "1" });
  });

  test("an unfinished upload that somebody ended is begun anew", async () => {
    write({ big: randomBytes(BIG) });
    await killedAfter(2);
    rmSync(join(store.root, "bucket", ".sgwtmp"), { recursive: true, force: true });
    expect(await upload()).toHaveLength(7);
    expect(await unfinished()).toEqual([]);
  });

  test("a lost answer to the last request of all is no failure", async () => {
    write({ big: randomBytes(BIG) });
    const last = ({ method, query }: Asked) => method === "POST" && query.has("uploadId");
    failing(1, "truncate", last);
    expect(await upload()).toHaveLength(7);
    expect(store.asked.filter(last)).toHaveLength(2);
    expect(await unfinished()).toEqual([]);
  });
});

describe("trouble on the way", () => {
  const content = {
    big: randomBytes(BIG),
    ...Object.fromEntries(Array.from({ length: 30 }, (_, n) => [`f${n}`, `${n}`])),
  };

  test("credentials that run out after every ten requests are renewed; everything arrives", async () => {
    write(content);
    let left = 0;
    change = (access) => {
      left = 10;
      return access;
    };
    store.fault = () => (left-- > 0 ? undefined : { status: 400, code: "ExpiredToken" });
    await upload();
    expect(sha256Of("big")).toBe(sha256(content.big));
    expect(Object.keys(stored())).toHaveLength(31);
    expect(opened).toBeGreaterThanOrEqual(4);
    store.reset();
    expect(await upload()).toEqual([]);
  });

  test("credentials that have run out are renewed also where the answer has no body to say so", async () => {
    write({ a: "1", b: "2" });
    await upload();
    opened = 0;
    store.fault = ({ method }) => (method === "HEAD" && opened < 2 ? { status: 400, code: "ExpiredToken" } : undefined);
    expect(await upload()).toEqual([]);
    expect(opened).toBe(2);
  });

  test("credentials are renewed before they run out, once for all", async () => {
    write({ a: "1", b: "2", c: "3" });
    change = (access) => ({ ...access, expiration: Date.now() + (opened === 1 ? 100 : 3_600_000) });
    const from = files();
    await from.list();
    await new Promise((wake) => setTimeout(wake, 90));
    await upload(undefined, from);
    expect(opened).toBe(2);
  });

  test("a storm of 503, then peace", async () => {
    write(content);
    // Each upload twice and more: so many altogether would, by chance, hit one of them until it gives up.
    const refused = new Map<string, number>();
    store.fault = (asked) => {
      const request = `${asked.path}?${asked.query}`;
      const times = (refused.get(request) ?? 0) + 1;
      refused.set(request, times);
      return isUpload(asked) && times <= 3 ? { status: 503, code: "SlowDown" } : undefined;
    };
    await upload();
    expect(refused.size).toBeGreaterThanOrEqual(31);
    expect(sha256Of("big")).toBe(sha256(content.big));
    expect(Object.keys(stored())).toHaveLength(31);
  });

  test.each(["cut", "hang", "truncate"] as const)(
    "connections that are %s, also in the middle of a body",
    async (fault) => {
      write(content);
      let asked = 0;
      store.fault = () => (++asked % 7 === 0 ? fault : undefined);
      await upload();
      expect(sha256Of("big")).toBe(sha256(content.big));
      expect(Object.keys(stored())).toHaveLength(31);
    },
  );

  test("one that does not end is an error, and nothing is left under way", async () => {
    write(content);
    store.fault = (asked) => (isUpload(asked) ? { status: 503, code: "SlowDown" } : undefined);
    await expect(upload()).rejects.toThrow(
      /^s3:\/\/bucket\/volumes\/\d+ has trouble with upload \(SlowDown\), also after several attempts: try again later$/,
    );
    const count = store.asked.length;
    await new Promise((wake) => setTimeout(wake, 300));
    expect(store.asked).toHaveLength(count);
  });

  test.each([
    [{ status: 403, code: "AccessDenied" }, /denied upload: the credentials that the GPU cloud lent lack s3:PutObject/],
    [
      { status: 400, code: "ExpiredToken" },
      /refused upload \(ExpiredToken\): the credentials that the GPU cloud lent are not valid/,
    ],
    [{ status: 404, code: "NoSuchBucket" }, /^bucket bucket does not exist in us-east-1/],
  ])("%j is an error that says what to do, without repeats in vain", async (fault, message) => {
    write({ a: "1" });
    store.fault = (asked) => (isUpload(asked) ? fault : undefined);
    await expect(upload()).rejects.toThrow(message);
    expect(store.uploads.length).toBeLessThanOrEqual(7);
  });
});
