import { Detached, ResourceIncomplete } from "../../launcher/errors.ts";
import { LauncherProvider } from "../../launcher/provider.ts";
import type { ResourceHandler } from "../../launcher/resource-handler.ts";
import { RunHandler } from "../../launcher/resources/run.ts";
import { RunConductor } from "../../launcher/resources/run-conductor.ts";
import { Slots } from "../../launcher/slots.ts";
import { UNKNOWN } from "../../launcher/values.ts";
import { eventually } from "../support/eventually.ts";
import { FakeBackend } from "../support/fake-backend.ts";
import { RecordedLog, runInputs } from "../support/run-inputs.ts";

const SIGNATURE = "4dabf18193072939515e22adb298388d";
const secret = (value: unknown) => ({ [SIGNATURE]: "1b47061264138c4ac30d75fd1eb44270", value });
const URN = "urn:pulumi:dev::wmtp::wmtp:index:Parent$launcher:index:Thing::name";
const never = () => new Promise<never>(() => undefined);

type Thing = Record<string, unknown>;
/** Records what reaches it, and does what its test says. */
class ThingHandler implements ResourceHandler<Thing, Thing> {
  readonly calls: unknown[][] = [];
  private readonly behaviour: Partial<ResourceHandler<Thing, Thing>>;
  constructor(behaviour: Partial<ResourceHandler<Thing, Thing>> = {}) {
    this.behaviour = behaviour;
  }
  async check(inputs: Thing, previous: Thing | undefined) {
    this.calls.push(["check", inputs, previous]);
    return { inputs: { ...inputs, filled: true }, failures: [] };
  }
  async diff(id: string, before: Thing, inputs: Thing) {
    this.calls.push(["diff", id, before, inputs]);
    return { changes: true };
  }
  create: ResourceHandler<Thing, Thing>["create"] = (inputs, context) =>
    this.behaviour.create?.(inputs, context) ?? Promise.resolve({ id: "id", outputs: inputs });
  update: ResourceHandler<Thing, Thing>["update"] = (id, before, inputs, context) =>
    this.behaviour.update?.(id, before, inputs, context) ?? Promise.resolve(inputs);
  read: ResourceHandler<Thing, Thing>["read"] = (id, before) =>
    this.behaviour.read?.(id, before) ?? Promise.resolve(before);
  delete: ResourceHandler<Thing, Thing>["delete"] = (id, before, context) =>
    this.behaviour.delete?.(id, before, context) ?? Promise.resolve();
}

const providerOf = (handler: ThingHandler) =>
  new LauncherProvider({ "launcher:index:Thing": handler }, new RecordedLog());

afterEach(() => jest.useRealTimers());

describe("what reaches a handler", () => {
  test("secret inputs are refused by path, never echoed, and the handler does not see them", async () => {
    const handler = new ThingHandler();
    const news = { token: secret("hunter2"), nested: { list: ["x", secret("hunter2")] }, fine: 1 };
    const { failures } = await providerOf(handler).check(URN, {}, news);
    expect(failures).toEqual([
      { property: "token", reason: "must not be a secret: pass secrets by reference" },
      { property: "nested.list.1", reason: "must not be a secret: pass secrets by reference" },
    ]);
    expect(JSON.stringify(failures)).not.toContain("hunter2");
    expect(handler.calls).toEqual([]);
  });

  test("secret wrappers of old values are taken off", async () => {
    const handler = new ThingHandler();
    const provider = providerOf(handler);
    await provider.check(URN, { a: secret("x") }, { a: "y" });
    await provider.diff("id", URN, { a: secret("x") }, { a: "y" });
    expect(handler.calls).toEqual([
      ["check", { a: "y" }, { a: "x" }],
      ["diff", "id", { a: "x" }, { a: "y" }],
    ]);
  });

  test("an unknown is passed on as it is", async () => {
    const handler = new ThingHandler();
    const { inputs, failures } = await providerOf(handler).check(URN, undefined, { a: UNKNOWN, b: [UNKNOWN] });
    expect({ inputs, failures }).toEqual({ inputs: { a: UNKNOWN, b: [UNKNOWN], filled: true }, failures: [] });
  });

  test.each([[undefined], [null], [{}]])("old inputs of %j are none", async (olds) => {
    const handler = new ThingHandler();
    await providerOf(handler).check(URN, olds, { a: 1 });
    expect(handler.calls).toEqual([["check", { a: 1 }, undefined]]);
  });

  test("create, update and read answer in the engine's words", async () => {
    const provider = providerOf(new ThingHandler());
    expect(await provider.create(URN, { a: 1 })).toEqual({ id: "id", outs: { a: 1 } });
    expect(await provider.update("id", URN, { a: 1 }, { a: 2 })).toEqual({ outs: { a: 2 } });
    expect(await provider.read("id", URN, { a: 1 })).toEqual({ id: "id", props: { a: 1 } });
  });

  test("what is gone is read as an empty id, which the engine takes for gone", async () => {
    const provider = providerOf(new ThingHandler({ read: async () => undefined }));
    expect(await provider.read("id", URN, { a: 1 })).toEqual({ id: "", props: {} });
  });

  test.each(["launcher:index:Other", "launcher:index:toString", "aws:s3:Bucket"])(
    "%s is not a resource of the launcher",
    async (type) => {
      const urn = `urn:pulumi:dev::wmtp::${type}::name`;
      await expect(providerOf(new ThingHandler()).create(urn, {})).rejects.toThrow(
        `the launcher has no resource ${type}`,
      );
    },
  );

  test("the type is the last of the chain of parents, whatever the name looks like", async () => {
    const urn = "urn:pulumi:dev::wmtp::a:b:C$launcher:index:Thing::x$launcher:index:Other";
    expect(await providerOf(new ThingHandler()).create(urn, {})).toEqual({ id: "id", outs: {} });
  });
});

describe("abandon", () => {
  test.each(["create", "update", "delete"] as const)(
    "ends a hanging %s after the grace, with its reason",
    async (call) => {
      jest.useFakeTimers();
      const provider = providerOf(new ThingHandler({ [call]: never }));
      const settled = jest.fn();
      const work = {
        create: () => provider.create(URN, {}),
        update: () => provider.update("id", URN, {}, {}),
        delete: () => provider.delete("id", URN, {}),
      }[call]();
      const ended = work.then(
        () => settled("resolved"),
        (error: Error) => settled(error.message),
      );
      await jest.advanceTimersByTimeAsync(3_600_000);
      expect(settled).not.toHaveBeenCalled();
      provider.abandon(new Error("a stray rejection"));
      await jest.advanceTimersByTimeAsync(4_999);
      expect(settled).not.toHaveBeenCalled();
      await jest.advanceTimersByTimeAsync(1);
      await ended;
      expect(settled.mock.calls).toEqual([["a stray rejection"]]);
    },
  );

  test("a handler that ends by itself within the grace keeps the word: id and properties reach the engine", async () => {
    const incomplete = new ResourceIncomplete("id", { status: "running" }, "still running");
    const create: ResourceHandler<Thing, Thing>["create"] = (_, { stopped }) =>
      stopped.catch(() => Promise.reject(incomplete));
    const provider = providerOf(new ThingHandler({ create }));
    const work = provider.create(URN, {});
    provider.abandon(new Error("x"));
    await expect(work).rejects.toBe(incomplete);
  });

  test("work that starts after it is stopped too; the first reason stays", async () => {
    const reasons: unknown[] = [];
    const create: ResourceHandler<Thing, Thing>["create"] = (_, { stopped }) =>
      stopped.catch((reason) => {
        reasons.push(reason);
        throw reason;
      });
    const provider = providerOf(new ThingHandler({ create }));
    provider.abandon(new Error("first"));
    provider.abandon(new Error("second"));
    await expect(provider.create(URN, {})).rejects.toThrow("first");
    expect(reasons).toEqual([new Error("first")]);
  });

  test("nobody waiting is no unhandled rejection", async () => {
    const unhandled = jest.fn();
    process.on("unhandledRejection", unhandled);
    const provider = providerOf(new ThingHandler());
    await provider.create(URN, {});
    provider.abandon(new Error("x"));
    await new Promise(setImmediate);
    await new Promise(setImmediate);
    process.off("unhandledRejection", unhandled);
    expect(unhandled).not.toHaveBeenCalled();
  });
});

test("cancel detaches from a run that hangs: the engine gets its id and properties, and the run goes on", async () => {
  const backend = new FakeBackend();
  backend.ends.baseline = ["hangs"];
  const provider = new LauncherProvider(
    { "launcher:index:Run": new RunHandler(backend, new RunConductor(backend, new Slots())) },
    new RecordedLog(),
  );
  const inputs = runInputs();
  const work = provider.create("urn:pulumi:dev::wmtp::launcher:index:Run::baseline", inputs).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  await eventually(() => backend.submissions.length > 0);
  await provider.cancel();
  const error = (await work) as ResourceIncomplete;
  expect(error).toBeInstanceOf(ResourceIncomplete);
  expect(error).not.toBeInstanceOf(Detached);
  expect(error.id).toBe(inputs.name);
  expect(error.properties).toMatchObject({ ...inputs, status: "running", attempts: 1, reason: null });
  expect(error.reasons).toEqual(["cancelled: baseline is still running; run pulumi up again to attach"]);
  expect(backend.terminated).toEqual([]);
});
