/** What a volume resource asks of its place, and what it says when the volume stays. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Findings, OwnedVolume, VolumeState } from "../../launcher/backend.ts";
import { HERE, type Place } from "../../launcher/by-place.ts";
import { LocalBackend } from "../../launcher/local/backend.ts";
import { Layout } from "../../launcher/local/layout.ts";
import { VolumeHandler, type VolumeInputs } from "../../launcher/resources/volume.ts";
import { FakeBackend } from "../support/fake-backend.ts";
import { callContext } from "../support/run-inputs.ts";

const INPUTS: VolumeInputs = { storage: "disk", volumeName: "models", tags: ["a"], owner: "dev" };
const REF = { storage: "disk", name: "models" };
const ID = "disk/models";

/** One volume that is kept, whoever deletes it. */
class OneVolume extends FakeBackend {
  state: VolumeState | undefined = { ...REF, tags: ["a"], owner: "dev" };
  kept = true;
  readonly ensured: VolumeState[] = [];
  readonly deleted: [OwnedVolume, boolean | undefined][] = [];

  override async readVolume(): Promise<VolumeState | undefined> {
    return this.state;
  }
  override async ensureVolume(volume: VolumeState): Promise<void> {
    this.ensured.push(volume);
  }
  override async deleteVolume(volume: OwnedVolume, force?: boolean): Promise<boolean> {
    this.deleted.push([volume, force]);
    return !this.kept;
  }
}

let backend: OneVolume;
let handler: VolumeHandler;
beforeEach(() => {
  backend = new OneVolume();
  handler = new VolumeHandler(backend);
});

async function checked(findings: Findings) {
  backend.findings = findings;
  const { context, log } = callContext();
  return { ...(await handler.check(INPUTS, undefined, context)), lines: log.lines };
}

async function saidAtDelete(before: VolumeInputs): Promise<string[]> {
  const { context, log } = callContext();
  await handler.delete(ID, before, context);
  return log.lines;
}

test("what its place finds wrong with the storage is a failure; what it could not look up, a warning", async () => {
  expect(await checked({ problems: ["no such storage"], warnings: ["not looked up"] })).toEqual({
    inputs: INPUTS,
    failures: [{ property: "storage", reason: "no such storage" }],
    lines: ["warn: not looked up"],
  });
  expect(await checked({ problems: [], warnings: [] })).toEqual({ inputs: INPUTS, failures: [], lines: [] });
});

test("is made, and brought up to date, in the name of its stack; without one, in nobody's", async () => {
  const { owner: _, ...nobodys } = INPUTS;
  await handler.create(INPUTS);
  await handler.update(ID, INPUTS, nobodys);
  expect(backend.ensured).toEqual([
    { ...REF, tags: ["a"], owner: "dev" },
    { ...REF, tags: ["a"] },
  ]);
});

test("an owner that a state does not know of yet is a change, and no other volume", async () => {
  const { owner: _, ...older } = INPUTS;
  expect(await handler.diff(ID, older, INPUTS)).toEqual({ changes: true, replaces: [] });
  expect(await handler.diff(ID, INPUTS, INPUTS)).toEqual({ changes: false, replaces: [] });
});

test.each<[string, Partial<VolumeState>, VolumeInputs, string | undefined]>([
  ["still ours", {}, INPUTS, "dev"],
  ["another's by now", { owner: "prod" }, INPUTS, undefined],
  ["nobody's by now", { owner: undefined as never }, INPUTS, undefined],
  ["claimed by none, and another's", { owner: "prod" }, { ...INPUTS, owner: undefined as never }, undefined],
])("read, when it is %s", async (_, change, before, owner) => {
  backend.state = { ...(backend.state as VolumeState), ...change };
  expect((await handler.read(ID, before))?.owner).toBe(owner);
});

test("read, when it is gone", async () => {
  backend.state = undefined;
  expect(await handler.read(ID, INPUTS)).toBeUndefined();
});

const CLOUD: Place = {
  ...{ target: "vessl", organization: "acme", project: "infra", bucket: "wmtp", region: "eu-north-1" },
  checkpoints: "checkpoints/",
};

describe("deleted", () => {
  test("in the name of its stack, without a word", async () => {
    backend.kept = false;
    expect(await saidAtDelete({ ...INPUTS, forceDelete: true })).toEqual([]);
    expect(backend.deleted).toEqual([[{ ...REF, owner: "dev" }, true]]);
  });

  test.each([
    ["on the GPU cloud: a warning that names the cost and the way", CLOUD, ", and still billed"],
    ["on this machine: nothing to pay", HERE, ""],
  ] as const)("and kept because it holds files, %s", async (_, place, billed) => {
    expect(await saidAtDelete({ ...INPUTS, place })).toEqual([
      `warn: volume disk/models holds files: it is kept${billed}; a later up adopts it. To have it taken along, set wmtp:volumes.forceDelete: true and run pulumi up before pulumi destroy`,
    ]);
  });

  test("and kept because it is another stack's: the warning names that stack", async () => {
    backend.state = { ...REF, tags: [], owner: "prod" };
    expect(await saidAtDelete(INPUTS)).toEqual([
      "warn: volume disk/models belongs to stack prod and is kept: it goes with that stack",
    ]);
  });

  test("and kept although it was forced: the warning does not ask for that again", async () => {
    expect(await saidAtDelete({ ...INPUTS, forceDelete: true })).toEqual([
      expect.stringMatching(/^warn: volume disk\/models is kept, and still billed: .* in the web console/),
    ]);
  });
});

test("on this machine a volume knows its stack, so that a refresh finds no change", async () => {
  const home = mkdtempSync(join(tmpdir(), "wmtp-volume-"));
  try {
    const local = new LocalBackend(new Layout(home));
    const { id, outputs } = await new VolumeHandler(local).create(INPUTS);
    expect(await new VolumeHandler(local).read(id, outputs)).toEqual(INPUTS);
    await local.ensureVolume({ ...REF, tags: ["b"] });
    expect(await local.readVolume(REF)).toEqual({ ...REF, tags: ["b"], owner: "dev" });
  } finally {
    rmSync(home, { recursive: true });
  }
});
