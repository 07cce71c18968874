import { canonical, hasSecret, plain, redact, secret, secretWords } from "../../tools/stand-ins/wire.ts";

const properties = {
  open: "visible",
  password: secret("hunter-two"),
  nested: { list: [secret({ key: "line one is long\nline two is long\nshort" })] },
  pin: secret(12345),
  short: secret("abc"),
};

test("the plain properties have every secret in clear", () => {
  expect(plain(properties)).toEqual({
    open: "visible",
    password: "hunter-two",
    nested: { list: [{ key: "line one is long\nline two is long\nshort" }] },
    pin: 12345,
    short: "abc",
  });
  expect(hasSecret(properties)).toBe(true);
  expect(hasSecret(plain(properties))).toBe(false);
});

test("secret words are taken out of a text: whole, as JSON writes them, and line by line; those too short to matter stay", () => {
  const text =
    'hunter-two, 12345, {"key":"line one is long\\nline two is long\\nshort"}, > line two is long, abc, visible';
  expect(redact(text, secretWords(properties))).toBe(
    '[secret], [secret], {"key":"[secret]"}, > [secret], abc, visible',
  );
});

test("the order of keys makes no difference, the order of a list does", () => {
  expect(canonical({ a: 1, b: { d: 1, c: 2 } })).toBe(canonical({ b: { c: 2, d: 1 }, a: 1 }));
  expect(canonical([1, 2])).not.toBe(canonical([2, 1]));
});
