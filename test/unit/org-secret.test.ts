import { LauncherProvider } from "../../launcher/provider.ts";
import { OrgSecretHandler } from "../../launcher/resources/org-secret.ts";
import { secret } from "../../launcher/values.ts";
import { RecordedLog } from "../support/run-inputs.ts";

const URN = "urn:pulumi:dev::wmtp::launcher:index:OrgSecret::token";
const PLANTED = "planted-9f3c";

/** What the cloud keeps, and a way to make it fail. */
class Store {
  readonly kept = new Map<string, string>([["other", "somebody's"]]);
  readonly ids = (name: string) => `id of ${name}`;
  failure: Error | undefined;

  async upsertSecret(name: string, value: string): Promise<void> {
    if (this.failure) throw this.failure;
    this.kept.set(name, value);
  }
  async secrets() {
    return [...this.kept.keys()].map((name) => ({ id: this.ids(name), name }));
  }
  async deleteSecret(id: string): Promise<void> {
    for (const name of this.kept.keys()) if (this.ids(name) === id) this.kept.delete(name);
  }
}

function given() {
  const store = new Store();
  const log = new RecordedLog();
  const handler = new OrgSecretHandler(() => store);
  return { store, log, handler, provider: new LauncherProvider({ "launcher:index:OrgSecret": handler }, log) };
}

test("made, read, changed and deleted; to the engine its value is a secret all the way", async () => {
  const { store, log, provider } = given();
  const inputs = { name: "token", value: secret(PLANTED) };
  const checked = await provider.check(URN, {}, inputs);
  expect(checked).toEqual({ inputs, failures: [] });
  const { id, outs } = await provider.create(URN, checked.inputs);
  expect({ id, outs }).toEqual({ id: "token", outs: inputs });
  expect(store.kept.get("token")).toBe(PLANTED);

  expect(await provider.diff(id, URN, outs, inputs)).toEqual({ changes: false, replaces: [] });
  expect(await provider.read(id, URN, outs)).toEqual({ id, props: inputs });
  const changed = { name: "token", value: secret("new") };
  expect(await provider.diff(id, URN, outs, changed)).toEqual({ changes: true, replaces: [] });
  expect((await provider.update(id, URN, outs, changed)).outs).toEqual(changed);
  expect(store.kept.get("token")).toBe("new");
  expect(await provider.diff(id, URN, outs, { ...inputs, name: "x" })).toEqual({ changes: true, replaces: ["name"] });

  await provider.delete(id, URN, changed);
  expect([...store.kept]).toEqual([["other", "somebody's"]]);
  expect(await provider.read(id, URN, changed)).toEqual({ id: "", props: {} });
  await provider.delete(id, URN, changed);
  expect(log.lines).toEqual([]);
});

test("one that is there is taken over, with the new value", async () => {
  const { store, handler } = given();
  await handler.create({ name: "other", value: PLANTED });
  expect(store.kept.get("other")).toBe(PLANTED);
});

test("an empty one is refused by its name, before anything is made", async () => {
  const { handler } = given();
  const { failures } = await handler.check({ name: "token", value: "" });
  expect(failures).toEqual([{ property: "", reason: "secret token is empty: set a value" }]);
});

test("a refusal of the cloud comes through and holds no value", async () => {
  const { store, handler } = given();
  store.failure = new Error("refused; ask an owner");
  const failed = handler.create({ name: "token", value: PLANTED });
  await expect(failed).rejects.toThrow(/^refused; ask an owner$/);
  await expect(failed).rejects.not.toThrow(PLANTED);
});
