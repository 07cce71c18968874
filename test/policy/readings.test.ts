/** What the SDK hands to a policy, as plain values: known, unknown, and read no oftener than needed. */
import { type ResourceValidationArgs, unknownCheckingProxy } from "@pulumi/policy";
import { Readings } from "../../policy/readings.ts";
import { plain } from "../../policy/sdk-values.ts";
import { at, hasUnknown, UNKNOWN } from "../../policy/values.ts";

/** How the engine writes a text that it does not know. */
const UNKNOWN_TEXT = "04da6b54-80e4-46f7-96ec-b56ff0331ba9";
const proxied = (props: Record<string, unknown>) => unknownCheckingProxy(props as never);

test("what is not known is marked, wherever it is, and the rest stays what it is", () => {
  const value = plain(proxied({ a: UNKNOWN_TEXT, b: { c: [1, UNKNOWN_TEXT, null], d: true }, e: "text" }));
  expect(value).toEqual({ a: UNKNOWN, b: { c: [1, UNKNOWN, null], d: true }, e: "text" });
  expect([at(value, "a.deeper"), at(value, "b.c.1"), at(value, "b.x"), at(value, "e.x")]).toEqual([
    UNKNOWN,
    UNKNOWN,
    undefined,
    undefined,
  ]);
  expect([hasUnknown(at(value, "b")), hasUnknown(at(value, "e"))]).toEqual([true, false]);
});

test("a resource is read once for all policies, and anew when it is registered again", () => {
  const readings = new Readings();
  const args = (value: number) =>
    ({
      type: "t",
      name: "n",
      urn: "urn",
      props: { value },
      opts: { protect: true },
    }) as unknown as ResourceValidationArgs;
  const first = readings.resource("run-gpus", args(1));
  expect(readings.resource("run-preset", args(1))).toBe(first);
  expect(readings.resource("run-gpus", args(2)).props).toEqual({ value: 2 });
  expect(readings.resource("run-preset", args(2)).props).toEqual({ value: 2 });
});
