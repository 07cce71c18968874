/** Volumes of the GPU cloud: its API played by the test, the object store behind it a real one. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { PutObjectCommand } from "@aws-sdk/client-s3";
import { manifestOf } from "../../launcher/manifest.ts";
import { S3Prefix } from "../../launcher/s3/prefix.ts";
import { VesslBackend } from "../../launcher/vessl/backend.ts";
import { VesslVolumes } from "../../launcher/vessl/volumes.ts";
import { type ApiRequest, ApiServer, type Reply } from "../support/api-server.ts";
import { CREDENTIALS, ObjectStore } from "../support/object-store.ts";

const VOLUME = { storage: "disk", name: "models" };
const O = "/organizations/acme";
const PATH = `${O}/storages/disk/volumes`;
const OWN = { storage: "s3://bucket", name: "models" };
const NOT_FOUND: Reply = { status: 404, json: { code: "NotFound", message: "no such thing" } };
const AWS = /^AWS_/;

jest.setTimeout(60_000);
const environment = { ...process.env };
let store: ObjectStore;
let server: ApiServer;
let volumes: VesslVolumes;
let work: string;
/** Tags of the volume; undefined: there is none. */
let tags: string[] | undefined;
/** Type of the storage that the volume is in. */
let storageType: string;
let federation: Reply;

beforeAll(async () => {
  store = await ObjectStore.start();
});
afterAll(() => store.dispose());
beforeEach(async () => {
  for (const name of Object.keys(process.env)) if (AWS.test(name)) delete process.env[name];
  process.env.AWS_EC2_METADATA_DISABLED = "true";
  work = mkdtempSync(join(tmpdir(), "wmtp-volumes-"));
  process.env.AWS_CONFIG_FILE = process.env.AWS_SHARED_CREDENTIALS_FILE = join(work, "none");
  store.reset();
  server = await ApiServer.start();
  server.reply = cloud;
  tags = undefined;
  storageType = "s3";
  federation = lent({
    type: "s3",
    bucket_name: "bucket",
    path: "volumes/v1/",
    region: "us-east-1",
    endpoint: store.endpoint,
    force_path_style: true,
    s3_token: {
      access_key_id: CREDENTIALS.accessKeyId,
      secret_access_key: CREDENTIALS.secretAccessKey,
      session_token: "",
      expiration: new Date(Date.now() + 3_600_000).toISOString(),
    },
  });
  volumes = new VesslVolumes(server.api(), {
    region: "us-east-1",
    journal: join(work, "journal"),
    hashCache: join(work, "hashes"),
  });
});
afterEach(() => {
  server.dispose();
  process.env = { ...environment };
  for (const directory of [work, store.directory("volumes"), store.directory("models")])
    rmSync(directory, { recursive: true, force: true });
});

function lent(json: object): Reply {
  return { json };
}

/** The part of the cloud that volumes need. */
function cloud({ method, path, body }: ApiRequest): Reply {
  const named = (list: unknown) => (list as { name: string }[]).map(({ name }) => name);
  switch (`${method} ${path}`) {
    case `POST ${PATH}`:
      if (tags !== undefined) return { status: 409, json: { code: "Duplicate" } };
      tags = named((body as { tags: unknown }).tags);
      return {};
    case `POST ${PATH}/tags/create`:
      tags = [...(tags ?? []), ...named((body as { tags: unknown }).tags)];
      return {};
    case `POST ${PATH}/tags/delete`:
      tags = tags?.filter((tag) => !(body as { tag_names: string[] }).tag_names.includes(tag));
      return {};
    case `GET ${O}/storages`:
      return {
        json: { managed: { name: "disk", type: storageType }, external: { results: [{ name: "lab", type: "gcs" }] } },
      };
  }
  if (tags === undefined || !path.startsWith(`${PATH}/models`)) return NOT_FOUND;
  switch (`${method} ${path}`) {
    case `GET ${PATH}/models`:
      return { json: { id: 12, name: "models", tags: tags.map((name) => ({ name })) } };
    case `DELETE ${PATH}/models`:
      tags = undefined;
      return {};
    case `POST ${PATH}/models/federate`:
      return federation;
  }
  return NOT_FOUND;
}

function write(files: Record<string, string>): void {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(work, "source", path)), { recursive: true });
    writeFileSync(join(work, "source", path), text);
  }
}

async function upload(volume = VOLUME): Promise<number> {
  let moved = 0;
  const manifest = await manifestOf(join(work, "source"), join(work, "hashes"));
  await volumes.upload(volume, join(work, "source"), manifest, (bytes) => {
    moved += bytes;
  });
  expect(await volumes.missing(volume, manifest)).toEqual([]);
  return moved;
}

describe("a volume", () => {
  test("made with its tags, adopted, and given others: what is missing added, what is not wanted removed", async () => {
    expect(await volumes.read(VOLUME)).toBeUndefined();
    await volumes.ensure({ ...VOLUME, tags: ["a", "b"] });
    expect(await volumes.read(VOLUME)).toEqual({ ...VOLUME, tags: ["a", "b"] });
    server.requests.length = 0;
    await volumes.ensure({ ...VOLUME, tags: ["a", "b"] });
    expect(server.requests.map(({ method }) => method)).toEqual(["GET"]);
    await volumes.ensure({ ...VOLUME, tags: ["b", "c"] });
    expect(tags).toEqual(["b", "c"]);
    expect(server.requests.slice(-2).map(({ body }) => body)).toEqual([
      { tags: [{ name: "c" }], volume_v2_ids: [12] },
      { tag_names: ["a"], volume_v2_ids: [12] },
    ]);
  });

  test("files go to its prefix and to no other; kept while there are any, unless it is forced", async () => {
    await volumes.ensure({ ...VOLUME, tags: [] });
    write({ "a/b": "1", c: "22" });
    expect(await upload()).toBe(3);
    expect(readFileSync(join(store.directory("volumes/v1"), "a/b"), "utf8")).toBe("1");
    expect(await upload()).toBe(0);
    expect(await volumes.delete(VOLUME)).toBe(false);
    expect(tags).toEqual([]);
    expect(await volumes.delete(VOLUME, true)).toBe(true);
    expect(tags).toBeUndefined();
    expect((await new S3Prefix(async () => store.access("volumes/v1")).list()).size).toBe(0);
    expect(await volumes.delete(VOLUME)).toBe(true);
  });

  test("one that is empty goes", async () => {
    await volumes.ensure({ ...VOLUME, tags: [] });
    expect(await volumes.delete(VOLUME)).toBe(true);
    expect(tags).toBeUndefined();
  });

  test("is not made in a storage that there is not; the error names those that there are", async () => {
    await expect(volumes.ensure({ storage: "dsk", name: "x", tags: [] })).rejects.toThrow(
      /^storage "dsk" is not among the organization's: set wmtp:volumes.storage to one of disk, lab$/,
    );
    expect(server.requests.map(({ method }) => method)).toEqual(["GET", "GET"]);
  });

  test("of a file system is made and read, not filled, and kept: nobody knows what it holds", async () => {
    storageType = "cluster-nfs";
    federation = { status: 400, json: { code: "Invalid", message: "unsupported storage type cluster-nfs" } };
    await volumes.ensure({ ...VOLUME, tags: ["cache"], owner: "dev" });
    expect(await volumes.read(VOLUME)).toEqual({ ...VOLUME, tags: ["cache"], owner: "dev" });
    const refusal =
      /^storage "disk" is of type cluster-nfs, which cannot be uploaded to from here: set .* \(there is none\)$/;
    await expect(upload()).rejects.toThrow(refusal);
    await expect(volumes.missing(VOLUME, [])).rejects.toThrow(refusal);
    expect(await volumes.delete({ ...VOLUME, owner: "dev" }, true)).toBe(false);
    expect(tags).toEqual(["cache", "stack-dev"]);
  });

  test("that is gone when it is to be filled: the error says how to have it made again", async () => {
    write({ a: "1" });
    await expect(upload()).rejects.toThrow(
      /^volume disk\/models is gone from the cloud: run pulumi refresh, then pulumi up$/,
    );
  });

  test("of another kind of storage is refused before anything moves", async () => {
    tags = [];
    write({ a: "1" });
    federation = lent({ type: "gcs", bucket_name: "b", path: "p", gcs_token: { base64_credentials: "planted" } });
    await expect(upload()).rejects.toThrow(
      /^volume disk\/models is in a storage of type gcs, which cannot be uploaded to/,
    );
    federation = lent({ type: "s3", bucket_name: "b", path: "p", s3_token: null });
    await expect(upload()).rejects.toThrow(/lends no credentials for volume disk\/models/);
    expect(store.asked).toEqual([]);
  });
});

describe("a volume of a stack", () => {
  const ours = { ...VOLUME, owner: "dev" };
  const theirs = { ...VOLUME, owner: "prod" };

  test("says whose it is by a tag that is none of the user's, and keeps it whoever sets the others", async () => {
    await volumes.ensure({ ...ours, tags: ["a"] });
    expect(tags).toEqual(["a", "stack-dev"]);
    expect(await volumes.read(VOLUME)).toEqual({ ...ours, tags: ["a"] });
    await volumes.ensure({ ...ours, tags: ["b"] });
    await volumes.ensure({ ...VOLUME, tags: ["b"] });
    expect(tags).toEqual(["stack-dev", "b"]);
  });

  test("made by hand is adopted, and is the stack's from then on", async () => {
    tags = ["a"];
    await volumes.ensure({ ...ours, tags: ["a"] });
    expect(tags).toEqual(["a", "stack-dev"]);
  });

  test("is not another stack's to take; the error names the stack and the ways out, and nothing is changed", async () => {
    await volumes.ensure({ ...ours, tags: ["a"] });
    await expect(volumes.ensure({ ...theirs, tags: ["b"] })).rejects.toThrow(
      /^volume disk\/models belongs to stack dev: choose another name in wmtp:volumes.names, or set wmtp:base to build on that stack \(.*tag stack-dev off the volume\)$/,
    );
    expect(tags).toEqual(["a", "stack-dev"]);
  });

  test("made by two stacks at the same moment, is one's", async () => {
    const play = server.reply;
    server.reply = (request, count) => {
      if (request.method === "POST" && request.path === PATH) tags = ["stack-dev"];
      return play(request, count);
    };
    await expect(volumes.ensure({ ...theirs, tags: [] })).rejects.toThrow(/belongs to stack dev/);
    expect(tags).toEqual(["stack-dev"]);
  });

  test("goes with that stack alone, also when it is forced", async () => {
    await volumes.ensure({ ...ours, tags: [] });
    write({ a: "1" });
    await upload();
    for (const stranger of [theirs, VOLUME]) expect(await volumes.delete(stranger, true)).toBe(false);
    expect(tags).toEqual(["stack-dev"]);
    expect(readFileSync(join(store.directory("volumes/v1"), "a"), "utf8")).toBe("1");
    expect(await volumes.delete(ours, true)).toBe(true);
    expect(tags).toBeUndefined();
  });
});

describe("whether a storage is there", () => {
  const place = {
    ...{ target: "vessl" as const, organization: "acme", project: "infra" },
    ...{ bucket: "bucket", region: "us-east-1", checkpoints: "checkpoints/" },
  };
  const backend = () => new VesslBackend({ place, api: server.api(), journal: work, hashCache: work });
  const CLEAR = { problems: [], warnings: [] };

  test("is asked once, of whatever type it is; one that is not is a problem that names those that are", async () => {
    const cloudBackend = backend();
    for (const storage of ["disk", "disk", "s3://bucket"]) {
      expect(await cloudBackend.examineVolume({ storage, name: "x" })).toEqual(CLEAR);
    }
    expect(server.requests).toHaveLength(1);
    expect(await cloudBackend.examineVolume({ storage: "lab", name: "x" })).toEqual(CLEAR);
    expect(await cloudBackend.examineVolume({ storage: "dsk", name: "x" })).toEqual({
      problems: [expect.stringMatching(/^storage "dsk" is not among .* one of disk, lab$/)],
      warnings: [],
    });
  });

  test("is not asked without a login, and an outage is a warning", async () => {
    const without = new VesslBackend({ place, api: undefined, journal: work, hashCache: work });
    expect(await without.examineVolume({ storage: "dsk", name: "x" })).toEqual(CLEAR);
    expect(server.requests).toEqual([]);
    server.reply = () => ({ status: 403, json: {} });
    expect(await backend().examineVolume({ storage: "disk", name: "x" })).toEqual({
      problems: [],
      warnings: [expect.stringMatching(/^storage disk was not looked up: the GPU cloud refused /)],
    });
  });
});

describe("a prefix of the account's own bucket", () => {
  beforeEach(() => {
    process.env.AWS_ENDPOINT_URL_S3 = store.endpoint;
    process.env.AWS_ACCESS_KEY_ID = CREDENTIALS.accessKeyId;
    process.env.AWS_SECRET_ACCESS_KEY = CREDENTIALS.secretAccessKey;
  });

  test("is used as a volume without the cloud being asked, and stays", async () => {
    expect(await volumes.read(OWN)).toEqual({ ...OWN, tags: [] });
    await volumes.ensure({ ...OWN, tags: ["a"] });
    write({ "a/b": "1" });
    expect(await upload(OWN)).toBe(1);
    expect(await volumes.delete(OWN, true)).toBe(true);
    expect(readFileSync(join(store.directory("models"), "a/b"), "utf8")).toBe("1");
    expect(server.requests).toEqual([]);
  });

  test.each<[string, () => void, RegExp]>([
    [
      "no credentials",
      () => {
        delete process.env.AWS_ACCESS_KEY_ID;
      },
      /^no AWS credentials to list s3:\/\/bucket\/models: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE$/,
    ],
    [
      "a secret key that does not fit",
      () => {
        process.env.AWS_SECRET_ACCESS_KEY = "planted-wrong";
      },
      /refused list: AWS_SECRET_ACCESS_KEY does not belong to AWS_ACCESS_KEY_ID/,
    ],
    [
      "a session that has expired",
      () => {
        store.fault = () => ({ status: 400, code: "ExpiredToken" });
      },
      /refused list \(ExpiredToken\): the AWS credentials have expired or are unknown there: log in again/,
    ],
    [
      "a bucket of another region",
      () => {
        store.fault = () => ({ status: 301, code: "PermanentRedirect" });
      },
      /^bucket bucket is in another region, not in us-east-1: correct the region$/,
    ],
    [
      "a policy that denies",
      () => {
        store.fault = () => ({ status: 403, code: "AccessDenied" });
      },
      /^s3:\/\/bucket\/models denied list: give the AWS credentials s3:ListBucket on it$/,
    ],
  ])("%s is an error that says what to do", async (_, spoil, message) => {
    spoil();
    const failed = volumes.missing(OWN, []);
    await expect(failed).rejects.toThrow(message);
    await expect(failed).rejects.not.toThrow(/planted/);
    expect(store.asked.length).toBeLessThanOrEqual(2);
  });
});

test("what is below a prefix: read, found, deleted; names that only begin alike are others", async () => {
  const put = (key: string) => store.client.send(new PutObjectCommand({ Bucket: "bucket", Key: key, Body: key }));
  for (const key of ["models/run/step/x", "models/run2/y", "models/file"]) await put(key);
  const prefix = new S3Prefix(async () => store.access("models"));
  expect(await prefix.read("run/step/x")).toBe("models/run/step/x");
  expect(await prefix.read("run/step")).toBeUndefined();
  const exists = (path: string) => prefix.exists(path);
  expect(await Promise.all(["", "run", "run/step", "run2", "file"].map(exists))).toEqual(Array(5).fill(true));
  expect(await Promise.all(["ru", "run/ste", "fil", "file/x"].map(exists))).toEqual(Array(4).fill(false));
  await prefix.delete(["run/step/x", "never there"]);
  expect([...(await prefix.list()).keys()]).toEqual(["file", "run2/y"]);
  expect(await new S3Prefix(async () => store.access("")).exists("models/run2")).toBe(true);
});
