import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LocalBackend } from "../../launcher/local/backend.ts";
import { Layout } from "../../launcher/local/layout.ts";
import { UploadHandler, type UploadInputs } from "../../launcher/resources/upload.ts";
import { UNKNOWN } from "../../launcher/values.ts";
import { callContext } from "../support/run-inputs.ts";

const INPUTS: UploadInputs = { storage: "disk", volumeName: "models", source: "models" };
const WEIGHTS = [{ path: "tiny/weights", size: 1, sha256: "of no matter" }];
let root: string;
let backend: LocalBackend;
let handler: UploadHandler;

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), "wmtp-upload-"));
  const layout = new Layout(join(root, "home"));
  backend = new LocalBackend(layout);
  handler = new UploadHandler(backend, root, layout.hashCache);
  await backend.ensureVolume({ storage: "disk", name: "models", tags: [] });
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

function write(path: string, text: string): void {
  mkdirSync(join(root, "models", path, ".."), { recursive: true });
  writeFileSync(join(root, "models", path), text);
}

test("a source that is not there is refused, by its name", async () => {
  const { failures } = await handler.check(INPUTS, undefined);
  expect(failures).toEqual([
    {
      property: "",
      reason: "models does not exist: put the files there, or name another directory in wmtp:volumes.sources",
    },
  ]);
});

test("a source that is not there keeps what the state says of it, but not of another source", async () => {
  const before = { ...INPUTS, contentHash: "hash", subtrees: { tiny: "hash" } };
  expect(await handler.check(INPUTS, before)).toEqual({ inputs: before, failures: [] });
  expect((await handler.check({ ...INPUTS, source: "elsewhere" }, before)).failures).toHaveLength(1);
});

test("a source without files keeps it too, in an update as well; there, nothing is deleted from the volume", async () => {
  write("tiny/weights", "1");
  const { inputs } = await handler.check(INPUTS, undefined);
  const { id, outputs } = await handler.create(inputs, callContext().context);
  rmSync(join(root, "models", "tiny"), { recursive: true });
  write(".gitkeep", "");
  expect(await handler.check(INPUTS, outputs)).toEqual({ inputs, failures: [] });
  expect(await handler.read(id, outputs)).toEqual(outputs);
  const renamed = { ...inputs, optional: true };
  expect(await handler.update(id, outputs, renamed, callContext().context)).toEqual({ ...outputs, optional: true });
  expect(await backend.missingFiles({ storage: "disk", name: "models" }, WEIGHTS)).toEqual([]);
  await expect(handler.create(inputs, callContext().context)).rejects.toThrow(
    /^models holds no files, and the volume needs those it was filled with: put them there, or name another directory/,
  );
});

test("a source without files is an empty one at first, and so it stays", async () => {
  write(".gitkeep", "");
  const { inputs } = await handler.check(INPUTS, undefined);
  expect(inputs.subtrees).toEqual({});
  const { outputs } = await handler.create(inputs, callContext().context);
  expect(outputs).toMatchObject({ files: 0, bytes: 0 });
  expect((await handler.check(INPUTS, outputs)).inputs).toEqual(inputs);
  write("tiny/weights", "1");
  expect((await handler.check(INPUTS, outputs)).inputs.contentHash).not.toBe(inputs.contentHash);
});

test("on a machine that only previews, a missing source is unknown", async () => {
  const previewing = new UploadHandler(backend, root, join(root, "hashes"), true);
  expect(await previewing.check(INPUTS, undefined)).toEqual({
    inputs: { ...INPUTS, contentHash: UNKNOWN, subtrees: UNKNOWN, subtreeBytes: UNKNOWN },
    failures: [],
  });
});

test("the bytes of each directory are counted, and kept where the source is not here", async () => {
  write("tiny/weights", "1");
  write("tiny/deeper/tokenizer", "22");
  write("other/weights", "333");
  write("README", "of no directory");
  const { inputs } = await handler.check(INPUTS, undefined);
  expect(inputs.subtreeBytes).toEqual({ tiny: 3, other: 3 });
  rmSync(join(root, "models"), { recursive: true });
  expect((await handler.check(INPUTS, inputs)).inputs.subtreeBytes).toEqual({ tiny: 3, other: 3 });
});

test("a state of before the bytes were counted gets them, and nothing is moved", async () => {
  write("tiny/weights", "1");
  const { inputs } = await handler.check(INPUTS, undefined);
  const { id, outputs } = await handler.create(inputs, callContext().context);
  expect(await handler.diff(id, outputs, inputs)).toEqual({ changes: false, replaces: [] });
  const { subtreeBytes: _, ...old } = outputs;
  expect(await handler.diff(id, old, inputs)).toEqual({ changes: true, replaces: [] });
  expect((await handler.diff(id, old, { ...inputs, subtreeBytes: UNKNOWN })).changes).toBe(false);
  const { subtreeBytes: __, ...uncounted } = inputs;
  expect((await handler.diff(id, old, uncounted)).changes).toBe(false);
  const { context, log } = callContext();
  const moved: number[] = [];
  const upload = backend.upload.bind(backend);
  backend.upload = (volume, source, manifest) => upload(volume, source, manifest, (bytes) => moved.push(bytes));
  expect(await handler.update(id, old, inputs, context)).toEqual(outputs);
  expect({ moved, lines: log.lines }).toEqual({ moved: [], lines: [] });
});

test("check hashes, create uploads, read sees what is missing", async () => {
  write("tiny/weights", "1");
  write("other/weights", "2");
  const { inputs } = await handler.check(INPUTS, undefined);
  expect(Object.keys(inputs.subtrees as object).sort()).toEqual(["other", "tiny"]);
  const { id, outputs } = await handler.create(inputs, callContext().context);
  expect(id).toBe("disk/models");
  expect(outputs).toEqual({ ...inputs, files: 2, bytes: 2 });
  expect(await handler.read(id, outputs)).toEqual(outputs);
  rmSync(join(root, "home", "local", "volumes", "disk", "models", "tiny", "weights"));
  expect(await handler.read(id, outputs)).toBeUndefined();
});

test("a source that changes between preview and upload is not uploaded under the old hash", async () => {
  write("tiny/weights", "1");
  const { inputs } = await handler.check(INPUTS, undefined);
  write("tiny/weights", "changed");
  await expect(handler.create(inputs, callContext().context)).rejects.toThrow(
    "models changed between preview and upload: run pulumi up again",
  );
});
