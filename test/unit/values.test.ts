import { hasUnknown, secret, secretPaths, UNKNOWN, unwrap } from "../../launcher/values.ts";

const SIGNATURE = "4dabf18193072939515e22adb298388d";

test("a secret is wrapped as the engine's wire format wants it", () => {
  expect(secret("x")).toEqual({ [SIGNATURE]: "1b47061264138c4ac30d75fd1eb44270", value: "x" });
});

test("an unknown is found at any depth, and only there", () => {
  for (const value of [UNKNOWN, [UNKNOWN], { a: { b: [1, { c: UNKNOWN }] } }]) expect(hasUnknown(value)).toBe(true);
  for (const value of [null, undefined, "", 0, [], {}, `${UNKNOWN}x`, { [UNKNOWN]: 1 }, [null, { a: null }]])
    expect(hasUnknown(value)).toBe(false);
});

test("unwrap takes secret wrappers off at any depth and changes nothing else", () => {
  expect(unwrap(secret({ a: [secret("x"), 1, null] }))).toEqual({ a: ["x", 1, null] });
  expect(unwrap({ a: secret(secret("x")), b: [true, "s"], c: { d: UNKNOWN } })).toEqual({
    a: "x",
    b: [true, "s"],
    c: { d: UNKNOWN },
  });
  const asset = { [SIGNATURE]: "0def7320c3a5731c473e5ecbe6d01bc7", path: "x" };
  expect(unwrap(asset)).toEqual(asset);
});

test("unwrap does not touch its argument", () => {
  const value = { a: secret({ b: secret(1) }) };
  const before = structuredClone(value);
  unwrap(value);
  expect(value).toEqual(before);
});

test("secrets are named by their path, never by what they hold", () => {
  expect(secretPaths({ a: secret("hunter2"), b: { c: [0, secret({ d: "hunter2" })] }, e: 1, f: null })).toEqual([
    "a",
    "b.c.1",
  ]);
  expect(secretPaths({ a: { b: [1, "x", null] } })).toEqual([]);
  expect(secretPaths("text")).toEqual([]);
});
