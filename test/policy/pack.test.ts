/** The pack as a whole: its ids, its metadata, its documentation. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { POLICIES } from "../../policy/all.ts";
import { POLICY_IDS } from "../../policy/ids.ts";
import { TAGGED } from "../../policy/tags.ts";
import { policyDocument } from "../../tools/policy-table.ts";
import { resourcesOf } from "./support.ts";

const PROJECT = join(import.meta.dirname, "..", "..");

test("every id has a policy, in the order of the documentation", () => {
  expect(POLICIES.map(({ id }) => id)).toEqual([...POLICY_IDS]);
});

test("every policy says what must hold and what to do, in sentences without their full stop", () => {
  for (const { demands, remedy } of POLICIES) {
    for (const sentence of [demands, remedy]) expect(sentence).toMatch(/^[A-Z].*[^.\s]$/s);
  }
});

test("every policy is asked about something: types to look at, and a function that looks", () => {
  for (const { types, eachOf, stackTypes, wholeStack } of POLICIES) {
    expect([types === undefined, stackTypes === undefined]).toEqual([eachOf === undefined, wholeStack === undefined]);
    expect(eachOf ?? wholeStack).toBeDefined();
  }
});

test("docs/policies.md is what the policies say: make schemas", () => {
  expect(readFileSync(join(PROJECT, "docs", "policies.md"), "utf8")).toBe(policyDocument());
});

test("the types that take tags are those of which AWS's SDK says so", async () => {
  const resources = await resourcesOf();
  const types = new Set([...resources.map(({ type }) => type), ...TAGGED].filter((type) => type.startsWith("aws:")));
  const taggable = [...types].filter((type) => {
    const [, file] = /^aws:(.+):/.exec(type) as unknown as [string, string];
    const declared = readFileSync(join(PROJECT, "node_modules", "@pulumi", "aws", `${file}.d.ts`), "utf8");
    return /^ {4}tags\?: pulumi\.Input/m.test(declared);
  });
  expect(taggable.sort()).toEqual([...TAGGED].sort());
});
