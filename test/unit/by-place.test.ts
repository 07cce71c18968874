/** A resource is handled where it is; one that is elsewhere now is made anew. */
import { ByPlace, type CloudPlace, type Place } from "../../launcher/by-place.ts";
import type { ResourceHandler } from "../../launcher/resource-handler.ts";
import { callContext } from "../support/run-inputs.ts";

interface Thing {
  readonly place?: Place;
}
const LOCAL: Place = { target: "local" };
const CLOUD: CloudPlace = {
  target: "vessl",
  organization: "acme",
  project: "wmtp",
  bucket: "wmtp",
  region: "eu-north-1",
  checkpoints: "checkpoints/",
};
const { context } = callContext();

function handler() {
  const calls: string[] = [];
  const places: Place[] = [];
  const by = new ByPlace<Thing, Thing>(
    (place) => {
      places.push(place);
      const tell = (call: string) => calls.push(`${call} ${place.target}`);
      const made: ResourceHandler<Thing, Thing> = {
        check: async (inputs) => ({ inputs, failures: tell("check") > 0 ? [] : [] }),
        diff: async () => ({ changes: tell("diff") < 0 }),
        create: async (outputs) => ({ id: String(tell("create")), outputs }),
        update: async (_id, _before, inputs) => (tell("update") > 0 ? inputs : {}),
        read: async (_id, before) => (tell("read") > 0 ? before : undefined),
        delete: async () => void tell("delete"),
      };
      return made;
    },
    ["organization", "bucket"],
  );
  return { by, calls, places };
}

test("each call goes to the place of what it is about, whose handler is made once", async () => {
  const { by, calls, places } = handler();
  await by.check({ place: CLOUD }, undefined, context);
  await by.create({ place: LOCAL }, context);
  await by.update("id", { place: LOCAL }, { place: LOCAL }, context);
  await by.read("id", { place: CLOUD });
  await by.delete("id", { place: CLOUD }, context);
  expect(calls).toEqual(["check vessl", "create local", "update local", "read vessl", "delete vessl"]);
  expect(places).toEqual([CLOUD, LOCAL]);
});

test("what a state says nothing of is on this machine", async () => {
  const { by, calls } = handler();
  expect(await by.diff("id", {}, { place: LOCAL }, context)).toEqual({ changes: false });
  await by.read("id", {});
  expect(calls).toEqual(["diff local", "read local"]);
});

test("another place, or another owner there, needs another resource, made when the old one is gone", async () => {
  const { by, calls } = handler();
  for (const before of [{}, { place: LOCAL }, { place: { ...CLOUD, bucket: "other" } }]) {
    expect(await by.diff("id", before, { place: CLOUD }, context)).toEqual({
      changes: true,
      replaces: ["place"],
      deleteBeforeReplace: true,
    });
  }
  expect(calls).toEqual([]);
});

test("what does not belong to a part of its place is updated where that changes", async () => {
  const { by, calls } = handler();
  const before = { place: { ...CLOUD, project: "another" } };
  expect(await by.diff("id", before, { place: CLOUD }, context)).toEqual({ changes: true });
  expect(calls).toEqual(["diff vessl"]);
});
