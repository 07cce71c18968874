import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { hashManifest, hashSubtrees, type Manifest, manifestOf, totalBytes } from "../../launcher/manifest.ts";

let root: string;
let cache: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "wmtp-manifest-"));
  cache = join(root, "cache");
  mkdirSync(join(root, "tree"));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const tree = () => join(root, "tree");
const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");
const write = (path: string, text: string) => {
  mkdirSync(dirname(join(tree(), path)), { recursive: true });
  writeFileSync(join(tree(), path), text);
};
const read = () => manifestOf(tree(), cache);

test("every file with path, size and content hash, sorted by path", async () => {
  write("b/deep/er.txt", "three");
  write("a.txt", "one");
  write("b/two #1? ü.txt", "two");
  write("empty", "");
  expect(await read()).toEqual([
    { path: "a.txt", size: 3, sha256: sha256("one") },
    { path: "b/deep/er.txt", size: 5, sha256: sha256("three") },
    { path: "b/two #1? ü.txt", size: 3, sha256: sha256("two") },
    { path: "empty", size: 0, sha256: sha256("") },
  ]);
});

test("hidden files and directories are not content", async () => {
  write("a", "one");
  write(".DS_Store", "x");
  write("b/.cache/x", "x");
  expect((await read()).map(({ path }) => path)).toEqual(["a"]);
});

test("a link counts as what it leads to; one that leads nowhere is an error", async () => {
  writeFileSync(join(root, "outside"), "one");
  symlinkSync(join(root, "outside"), join(tree(), "link"));
  expect(await read()).toEqual([{ path: "link", size: 3, sha256: sha256("one") }]);
  symlinkSync(join(root, "nowhere"), join(tree(), "torn"));
  await expect(read()).rejects.toThrow("ENOENT");
});

test("a thing that is neither file nor directory is refused by its path", async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(join(tree(), "socket"), resolve));
  await expect(read()).rejects.toThrow(
    `${join(tree(), "socket")} is neither a file nor a directory: move it out of the tree`,
  );
  await new Promise((resolve) => server.close(resolve));
});

test("no directory is an empty manifest, a file in its place an error", async () => {
  expect(await manifestOf(join(root, "absent"), cache)).toEqual([]);
  writeFileSync(join(root, "file"), "x");
  await expect(manifestOf(join(root, "file"), cache)).rejects.toThrow("ENOTDIR");
});

describe("the cache", () => {
  test("a file of the same size and time is not read again", async () => {
    write("a", "one");
    const before = await read();
    const when = new Date(Date.now() - 60_000);
    utimesSync(join(tree(), "a"), when, when);
    await read();
    write("a", "two");
    utimesSync(join(tree(), "a"), when, when);
    expect(await read()).toEqual(before); // the limit of any such cache, and the proof that it is one
  });

  test("a file of another time, or of another size, is", async () => {
    write("a", "one");
    const when = new Date(Date.now() - 60_000);
    utimesSync(join(tree(), "a"), when, when);
    await read();
    write("a", "two");
    expect((await read())[0]?.sha256).toBe(sha256("two"));
    utimesSync(join(tree(), "a"), when, when);
    await read();
    write("a", "four");
    utimesSync(join(tree(), "a"), when, when);
    expect((await read())[0]?.sha256).toBe(sha256("four"));
  });

  test("a torn cache is only slower", async () => {
    write("a", "one");
    const before = await read();
    for (const file of readdirSync(cache)) writeFileSync(join(cache, file), '{"a":');
    expect(await read()).toEqual(before);
  });

  test("trees hashed side by side neither fail nor mix", async () => {
    for (const name of ["x", "y", "z"]) {
      mkdirSync(join(root, name));
      for (let file = 0; file < 5; file += 1) writeFileSync(join(root, name, `f${file}`), name);
    }
    for (let round = 0; round < 10; round += 1) {
      const all = await Promise.all(
        ["x", "y", "z", "x"].map((name) => manifestOf(join(root, name), join(root, `cache${round}`))),
      );
      expect(all.map((manifest) => new Set(manifest.map((file) => file.sha256)))).toEqual(
        ["x", "y", "z", "x"].map((name) => new Set([sha256(name)])),
      );
    }
  });

  test("leaves no drafts behind", async () => {
    write("a", "one");
    await Promise.all([read(), read(), read()]);
    expect(readdirSync(cache)).toHaveLength(1);
    expect(JSON.parse(readFileSync(join(cache, readdirSync(cache)[0] as string), "utf8"))).toMatchObject({
      a: { size: 3, sha256: sha256("one") },
    });
  });

  test("is not written when nothing was hashed", async () => {
    await read();
    expect(existsSync(cache)).toBe(false);
  });
});

describe("hashes", () => {
  const file = (path: string, text: string) => ({ path, size: text.length, sha256: sha256(text) });
  const manifest: Manifest = [file("a/x", "1"), file("a/y", "2"), file("b/x", "1"), file("loose", "3")];

  test("of a whole tree: any change of path, size or content is another", () => {
    const hash = hashManifest(manifest);
    expect(hash).toMatch(/^[0-9a-f]{64}$/);
    const others = [
      manifest.slice(1),
      [...manifest, file("z", "")],
      [file("a/X", "1"), ...manifest.slice(1)],
      [file("a/x", "9"), ...manifest.slice(1)],
      [],
    ];
    expect(new Set([hash, ...others.map(hashManifest)]).size).toBe(6);
  });

  test("of each top-level directory: what lies beside it or loose does not matter, nor what it is called", () => {
    const hashes = hashSubtrees(manifest);
    expect(hashes).toEqual({
      a: hashManifest([file("x", "1"), file("y", "2")]),
      b: hashManifest([file("x", "1")]),
    });
    expect(hashSubtrees(manifest.slice(0, 2)).a).toBe(hashes.a);
    expect(hashSubtrees([file("renamed/x", "1")]).renamed).toBe(hashes.b);
  });

  test("a directory may be called like what every object has", () => {
    expect(hashSubtrees([file("constructor/x", "1")])).toEqual({ constructor: hashManifest([file("x", "1")]) });
  });

  test("the size of all", () => {
    expect(totalBytes(manifest)).toBe(4);
    expect(totalBytes([])).toBe(0);
  });
});
