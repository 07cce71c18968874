import { UNKNOWN } from "../../launcher/values.ts";
import type { ResourceType } from "../../tools/stand-ins/package.ts";
import { Resources } from "../../tools/stand-ins/resources.ts";
import { secret } from "../../tools/stand-ins/wire.ts";

const silent = { status: () => undefined, info: () => undefined, warn: () => undefined };
const URN = "urn:pulumi:test::project::test:index:Thing::one";

const thing: ResourceType = {
  replaces: ["fixed"],
  autoName: "name",
  secretOutputs: ["password"],
  derivedOutputs: ["stdout"],
  create: async (inputs, context) => ({
    id: context.suffix("id", 8),
    outputs: { password: "made up", stdout: "said", echo: `from ${inputs.given}` },
  }),
  derive: (id, inputs) => ({ arn: `arn:${id}:${inputs.label}` }),
};

function resources(type: Partial<ResourceType> = {}): Resources {
  const types = { "test:index:Thing": { ...thing, ...type } };
  return new Resources({ name: "test", version: "1.0.0", types, functions: {} }, silent, new AbortController().signal);
}

test("a name that is left out is made up once and kept; one that was given and is left out is made up anew", () => {
  const first = resources().check(URN, {}, {});
  expect(first.name).toMatch(/^one-[0-9a-f]{7}$/);
  expect(resources().check(URN, {}, {})).toEqual(first); // the same in the preview and in the update after it
  expect(resources().check(URN, first, { label: "x" }).name).toBe(first.name);
  const { name } = resources().check(URN, { name: "given", __defaults: [] }, {});
  expect(name).toMatch(/^one-/);
  expect(resources().check(URN, {}, { namePrefix: "p" })).not.toHaveProperty("name");
});

test("a replacement is no twin of what it replaces", async () => {
  const { id } = await resources().create(URN, {}, false);
  const later = resources();
  const old = later.check(URN, {}, {});
  later.check(URN, old, { fixed: "new" });
  expect(later.check(URN, {}, { fixed: "new" }).name).not.toBe(old.name);
  expect((await later.create(URN, {}, false)).id).not.toBe(id);
});

test("outputs are secret where the type says so, where an input is, and where a secret got into them", async () => {
  const open = await resources().create(URN, { label: "x" }, false);
  expect(open.outputs).toEqual({
    label: "x",
    password: secret("made up"),
    stdout: "said",
    echo: "from undefined",
    arn: `arn:${open.id}:x`,
  });
  const { outputs } = await resources().create(URN, { given: secret("planted"), __defaults: [] }, false);
  expect(outputs).toMatchObject({ given: secret("planted"), stdout: secret("said"), echo: secret("from planted") });
});

test("a preview of a create knows the inputs alone; one of an update also what stays", async () => {
  expect(await resources().create(URN, { label: "x" }, true)).toEqual({ id: "", outputs: { label: "x" } });
  const change = {
    id: "id",
    olds: { label: "x", gone: 1, password: secret("made up"), arn: "arn:id:x" },
    oldInputs: { label: "x", gone: 1 },
    news: { label: "y" },
  };
  const known = { label: "y", password: secret("made up"), arn: "arn:id:y" };
  expect(await resources().update(URN, change, true)).toEqual(known);
  expect(await resources().update(URN, change, false)).toEqual(known);
  const unknown = await resources().update(URN, { ...change, news: { label: UNKNOWN } }, true);
  expect(unknown).toEqual({ label: UNKNOWN, password: secret("made up") });
  const updates = resources({ update: async () => ({}) });
  expect(await updates.update(URN, change, true)).toEqual({ label: "y", arn: "arn:id:y" });
});

test("differences are told by property; the old one goes first only if both would have one given name", () => {
  const diff = (oldInputs: object, news: object) =>
    resources().diff(URN, { id: "id", olds: {}, oldInputs: { ...oldInputs }, news: { ...news } });
  expect(diff({ a: { b: secret("x") }, gone: 1 }, { a: { b: "x" }, come: 1 })).toEqual({
    changed: new Map([
      ["gone", "DELETE"],
      ["come", "ADD"],
    ]),
    replaces: [],
    deleteFirst: false,
  });
  const named = { name: "given", __defaults: [] };
  expect(diff({ ...named, fixed: 1 }, { ...named, fixed: 2 })).toMatchObject({
    replaces: ["fixed"],
    deleteFirst: true,
  });
  const unnamed = { name: "one-1234567", __defaults: ["name"] };
  expect(diff({ ...unnamed, fixed: 1 }, { ...unnamed, fixed: 2 })).toMatchObject({ deleteFirst: false });
});

test("a resource that is adopted by its id gets made-up outputs, one in the state keeps its own", () => {
  const adopting = resources({ adopt: (id) => ({ label: id }) });
  expect(adopting.read(URN, "there", {})).toEqual({ label: "there", arn: "arn:there:there" });
  expect(adopting.read(URN, "there", { label: "x" })).toEqual({ label: "x" });
});

test("a type that is missing is named", () => {
  expect(() => resources().check("urn:pulumi:s::p::a:b:C$test:index:Other::x", {}, {})).toThrow(
    "the stand-in for test has no test:index:Other",
  );
});
