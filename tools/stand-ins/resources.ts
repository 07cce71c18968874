/** What holds for every resource of every stand-in: names, differences, secrets, previews. The types say the rest. */
import { createHash, randomUUID } from "node:crypto";
import type { ResourceLog } from "../../launcher/engine-log.ts";
import { UNKNOWN } from "../../launcher/values.ts";
import { runHook } from "./hook.ts";
import type { Package, ResourceContext, ResourceType } from "./package.ts";
import { canonical, hasSecret, isSecret, type Properties, plain, secret, secretWords } from "./wire.ts";

/** As the real providers do: which inputs the provider filled in, so that they stay when the program still leaves them out. */
const DEFAULTS = "__defaults";
const SUFFIX_DIGITS = 7;
/** The computed output that tells why a certificate is made anew. */
export const RENEWAL = "readyForRenewal";

export interface Difference {
  readonly changed: ReadonlyMap<string, "ADD" | "UPDATE" | "DELETE">;
  readonly replaces: readonly string[];
  readonly deleteFirst: boolean;
}

export interface Change {
  readonly id: string;
  readonly olds: Properties;
  readonly oldInputs: Properties;
  readonly news: Properties;
}

export class Resources {
  private readonly pack: Package;
  private readonly log: ResourceLog;
  private readonly signal: AbortSignal;
  /** URNs that have a resource already: the next one made under such a URN replaces it and must not be its twin. */
  private readonly existing = new Map<string, string>();

  constructor(pack: Package, log: ResourceLog, signal: AbortSignal) {
    this.pack = pack;
    this.log = log;
    this.signal = signal;
  }

  check(urn: string, olds: Properties, news: Properties): Properties {
    const type = this.type(urn);
    if (Object.keys(olds).length > 0 && !this.existing.has(urn)) this.existing.set(urn, randomUUID());
    const filled = type.check === undefined ? {} : added(type.check(plain(news)), news);
    const name = type.autoName;
    if (name !== undefined && news[name] === undefined && news[`${name}Prefix`] === undefined) {
      const kept = (olds[DEFAULTS] as string[] | undefined)?.includes(name) ? olds[name] : undefined;
      const context = this.context(urn);
      filled[name] = kept ?? `${context.name}-${context.suffix("name", SUFFIX_DIGITS)}`;
    }
    return { ...news, ...filled, [DEFAULTS]: Object.keys(filled).sort() };
  }

  diff(urn: string, { olds, oldInputs, news }: Change): Difference {
    const type = this.type(urn);
    type.seen?.(plain(olds));
    const compared = (inputs: Properties) => type.compared?.(plain(inputs)) ?? plain(inputs);
    const [before, after] = [compared(oldInputs), compared(news)];
    const changed = new Map<string, "ADD" | "UPDATE" | "DELETE">();
    for (const property of new Set([...Object.keys(before), ...Object.keys(after)])) {
      if (property === DEFAULTS || canonical(before[property]) === canonical(after[property])) continue;
      changed.set(
        property,
        before[property] === undefined ? "ADD" : after[property] === undefined ? "DELETE" : "UPDATE",
      );
    }
    const names = [...changed.keys()];
    const fixed =
      type.mustReplace?.(names, after) ??
      (type.replaces === "all" ? names : names.filter((property) => type.replaces.includes(property)));
    const due = type.isDue?.(plain(olds), after) ? [RENEWAL] : [];
    for (const property of due) changed.set(property, "UPDATE");
    const name = type.autoName;
    const isNamed = name !== undefined && !(news[DEFAULTS] as string[] | undefined)?.includes(name);
    const sameName = isNamed && after[name] !== undefined && after[name] === before[name];
    return { changed, replaces: [...fixed, ...due], deleteFirst: type.deleteFirst ?? sameName };
  }

  async create(urn: string, inputs: Properties, preview: boolean): Promise<{ id: string; outputs: Properties }> {
    const type = this.type(urn);
    if (preview) return { id: "", outputs: inputs };
    const context = this.context(urn);
    const given = plain(inputs);
    const { id, outputs } = await type.create(given, context);
    const computed = { ...outputs, ...type.derive?.(id, given) };
    const told = await runHook("create", context, { id, inputs: given, outputs: { ...given, ...computed } });
    return { id, outputs: finish(type, inputs, { ...computed, ...told }) };
  }

  async update(urn: string, change: Change, preview: boolean): Promise<Properties> {
    const type = this.type(urn);
    const { id, olds, oldInputs, news } = change;
    // An input that the program no longer gives must not stay; what was computed must.
    const isKept = ([key]: [string, unknown]) => oldInputs[key] === undefined && news[key] === undefined;
    const kept = Object.fromEntries(Object.entries(olds).filter(isKept));
    const inputs = plain(news);
    const derived = type.derive?.(id, inputs) ?? {};
    // A preview knows what an update leaves as it is, and must not promise what it computes.
    if (preview) return finish(type, news, known(type.update === undefined ? { ...kept, ...derived } : derived));
    const updated = await type.update?.(id, plain(olds), inputs, this.context(urn));
    const computed = { ...kept, ...updated, ...derived };
    const told = await runHook("update", this.context(urn), { id, inputs, outputs: plain({ ...inputs, ...computed }) });
    return finish(type, news, { ...computed, ...told });
  }

  read(urn: string, id: string, outputs: Properties): Properties {
    const type = this.type(urn);
    type.seen?.(plain(outputs));
    if (Object.keys(outputs).length > 0 || type.adopt === undefined) return outputs;
    const inputs = type.adopt(id);
    return finish(type, inputs, type.derive?.(id, inputs) ?? {});
  }

  async delete(urn: string, id: string, olds: Properties): Promise<void> {
    const type = this.type(urn);
    const old = plain(olds);
    const told = await runHook("delete", this.context(urn), { id, inputs: old, outputs: old });
    await type.delete?.(id, { ...old, ...told }, this.context(urn));
  }

  private context(urn: string): ResourceContext {
    const [, , types = "", name = ""] = urn.split("::");
    const generation = this.existing.get(urn) ?? "";
    return {
      type: types.split("$").at(-1) as string,
      name,
      urn,
      suffix: (salt, digits) =>
        createHash("sha256").update(`${urn}\n${generation}\n${salt}`).digest("hex").slice(0, digits),
      signal: this.signal,
      status: (message) => this.log.status(urn, message),
    };
  }

  private type(urn: string): ResourceType {
    const { type } = this.context(urn);
    const found = this.pack.types[type];
    if (found === undefined) {
      throw new Error(
        `the stand-in for ${this.pack.name} has no ${type}: add it to tools/stand-ins/, or use the real provider`,
      );
    }
    return found;
  }
}

/** Inputs as they came, secrets wrapped, and the computed outputs with theirs: also where a type has passed a secret on. */
function finish(type: ResourceType, inputs: Properties, computed: Properties): Properties {
  const words = secretWords(inputs);
  const fromSecrets = hasSecret(inputs) ? (type.derivedOutputs ?? []) : [];
  const hidden = new Set([...(type.secretOutputs ?? []), ...fromSecrets]);
  const isHidden = (key: string, value: unknown) =>
    hidden.has(key) || isSecret(inputs[key]) || words.some((word) => JSON.stringify(value).includes(word));
  const outputs = Object.entries(computed)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => [key, !isSecret(value) && isHidden(key, value) ? secret(value) : value]);
  const { [DEFAULTS]: _, ...given } = inputs;
  return { ...given, ...Object.fromEntries(outputs) };
}

/** `check` passes secrets on as they came; only what it filled in or changed is taken from the plain inputs. */
function added(checked: Properties, news: Properties): Record<string, unknown> {
  return Object.fromEntries(Object.entries(checked).filter(([key]) => news[key] === undefined));
}

/** Leaves out what was made from a value that is not known yet. */
function known(outputs: Properties): Properties {
  return Object.fromEntries(
    Object.entries(outputs).filter(([, value]) => !JSON.stringify(value ?? null).includes(UNKNOWN)),
  );
}
