/** The engine's wire format: properties as plain JSON in which secrets are wrapped and unknown values are a word. */
import { specialSecretSig, specialSigKey } from "@pulumi/pulumi/runtime/rpc.js";
import { unwrap } from "../../launcher/values.ts";

export type Properties = Readonly<Record<string, unknown>>;

/** The value, marked for the engine as one that must never be shown nor stored in clear. */
export function secret(value: unknown): unknown {
  return { [specialSigKey]: specialSecretSig, value };
}

export function isSecret(value: unknown): boolean {
  return value !== null && typeof value === "object" && (value as Properties)[specialSigKey] === specialSecretSig;
}

/** Whether `value` is, or holds, a secret. */
export function hasSecret(value: unknown): boolean {
  if (value === null || typeof value !== "object") return false;
  return isSecret(value) || Object.values(value).some(hasSecret);
}

/** The properties without their secret wrappers: neither to be logged nor to be given back to the engine as they are. */
export function plain(properties: Properties): Properties {
  return unwrap(properties) as Properties;
}

/** Every word that is secret in `value`, longest first, so that none is cut in two by a shorter one. */
export function secretWords(value: unknown): string[] {
  const words: string[] = [];
  const collect = (inner: unknown, inSecret: boolean): void => {
    if (inner !== null && typeof inner === "object") {
      for (const each of Object.values(inner)) collect(each, inSecret || isSecret(inner));
    } else if (inSecret && String(inner).length >= SHORTEST_WORD) {
      const text = String(inner);
      words.push(text, JSON.stringify(text).slice(1, -1), ...text.split("\n").filter((l) => l.length >= SHORTEST_LINE));
    }
  };
  collect(value, false);
  return [...new Set(words)].sort((a, b) => b.length - a.length);
}
/** A shorter word is not taken out of texts: they would become unreadable and it would still be guessed. */
const SHORTEST_WORD = 4;
/** Lines of a key or certificate; shorter ones are `{` and the like. */
const SHORTEST_LINE = 12;

export function redact(text: string, words: readonly string[]): string {
  return words.reduce((left, word) => left.replaceAll(word, "[secret]"), text);
}

/** JSON that does not depend on the order of keys; for comparing and hashing. */
export function canonical(value: unknown): string {
  return JSON.stringify(value, (_, inner) =>
    inner !== null && typeof inner === "object" && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}
