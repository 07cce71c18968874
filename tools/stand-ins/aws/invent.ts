/** How identifiers and outputs are made up: from the resource's URN, so that they are the same every time. */
import { createHash } from "node:crypto";
import type { ResourceContext, ResourceType } from "../package.ts";
import type { Properties } from "../wire.ts";
import { account } from "./account.ts";

type Derive = (id: string, inputs: Properties) => Properties;
interface Rules extends Partial<ResourceType> {
  /** Properties whose change needs a new resource; `region` is one for every type of ours that has it. */
  readonly replaces: readonly string[];
}

/** `digits` hexadecimal digits that follow from `text`. */
export function hash(text: string, digits: number): string {
  return createHash("sha256").update(text).digest("hex").slice(0, digits);
}

/** Resources whose id AWS invents: `vpc-0123456789abcdef0`. */
export function numbered(prefix: string, rules: Rules, derive: Derive = () => ({})): ResourceType {
  return regional(rules, derive, (_, context) => `${prefix}-${context.suffix(prefix, 17)}`);
}

/** Resources whose id is their name, given or made up from the logical name; AWS has one of a name in an account. */
export function named(property: string, rules: Rules, derive: Derive = () => ({})): ResourceType {
  const type = regional({ autoName: property, ...rules }, derive, (inputs) => inputs[property] as string);
  return onceOnly(type, property);
}

/** Settings of another resource, whose id they have, or made of the `properties` that tell them apart. */
export function attached(properties: readonly string[], rules: Rules, derive: Derive = () => ({})): ResourceType {
  return regional(rules, derive, (inputs) => properties.map((property) => inputs[property]).join(":"));
}

/** Types that exist once for all regions and so have no `region`. */
export function withoutRegion(type: ResourceType): ResourceType {
  return {
    ...type,
    derive: (id, inputs) => {
      const { region: _, ...outputs } = type.derive?.(id, inputs) ?? {};
      return outputs;
    },
  };
}

function regional(
  rules: Rules,
  derive: Derive,
  makeId: (inputs: Properties, context: ResourceContext) => string,
): ResourceType {
  return {
    create: async (inputs, context) => ({ id: makeId(inputs, context), outputs: {} }),
    ...rules,
    replaces: [...rules.replaces, "region"],
    derive: (id, inputs) => ({ region: inputs.region ?? account.region, ...derive(id, inputs) }),
  };
}

/** A second create of the same name fails, as far as this update can know of the first. */
function onceOnly(type: ResourceType, property: string): ResourceType {
  const taken = new Set<unknown>();
  return {
    ...type,
    seen: (old) => taken.add(old[property]),
    create: async (inputs, context) => {
      const name = inputs[property];
      if (taken.has(name)) throw new Error(`${context.type} ${name} exists already: choose another name, or import it`);
      const created = await type.create(inputs, context);
      taken.add(name);
      return created;
    },
    delete: async (id, old, context) => {
      await type.delete?.(id, old, context);
      taken.delete(old[property]);
    },
  };
}
