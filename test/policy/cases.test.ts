/** Each policy fails on something and passes on something, asked directly. Prod passes them all; cases/ has what it takes to fail. */
import { POLICIES } from "../../policy/all.ts";
import { POLICY_IDS } from "../../policy/ids.ts";
import { type Cases, config } from "./cases/breaking.ts";
import { cost } from "./cases/cost.ts";
import { identity } from "./cases/identity.ts";
import { image } from "./cases/image.ts";
import { network } from "./cases/network.ts";
import { secrets } from "./cases/secrets.ts";
import { storage } from "./cases/storage.ts";
import { tags } from "./cases/tags.ts";
import { training } from "./cases/training.ts";
import { type Changeable, judge, resourcesOf } from "./support.ts";

const CASES: Required<Cases> = {
  ...storage,
  ...network,
  ...identity,
  ...secrets,
  ...image,
  ...training,
  ...cost,
  ...tags,
};

let resources: Changeable[];
beforeAll(async () => {
  resources = await resourcesOf(config);
});

describe.each(POLICY_IDS)("%s", (id) => {
  test("passes on prod, where there is something to look at", () => {
    const policy = POLICIES.find((one) => one.id === id);
    const types = [
      ...(policy?.types === "every" ? ["launcher:index:Run"] : (policy?.types ?? [])),
      ...(policy?.stackTypes ?? []),
    ];
    const seen = resources.some(({ type }) => types.includes(type));
    // Prod has nothing that is managed elsewhere; that it has none is what passes.
    expect(seen).toBe(true);
    expect(judge(resources, config).violations).toEqual([]);
  });

  test.each(CASES[id])("fails on %s", (_, change, violations, says) => {
    const copies = resources.map((one) => ({ ...one }));
    const twin = new Map(resources.map((one, index) => [one, copies[index] as Changeable]));
    for (const copy of copies) {
      copy.parent = copy.parent && twin.get(copy.parent as Changeable);
      copy.dependencies = copy.dependencies.map((one) => twin.get(one as Changeable) as Changeable);
      copy.propertyDependencies = Object.fromEntries(
        Object.entries(copy.propertyDependencies).map(([key, ones]) => [
          key,
          ones.map((one) => twin.get(one as Changeable)!),
        ]),
      );
    }
    const find = (type: string, name?: string) => {
      const found = copies.find((one) => one.type === type && (name === undefined || one.name === name));
      if (found === undefined) throw new Error(`no ${type} ${name ?? ""}`);
      return found;
    };
    const broken = change(find);
    const extra = Array.isArray(broken) ? broken : [];
    const told = broken === undefined || Array.isArray(broken) ? config : broken;
    const found = judge([...copies, ...extra], told);
    expect([...found.violations].sort()).toEqual([...violations].sort());
    expect(found.violations.some((violation) => violation.startsWith(`${id}: `))).toBe(true);
    expect(found.messages.join("\n")).toContain(says);
  });
});
