/** The provider's edge: what the engine's wire format hides in plain JSON, taken apart in one place. */

/** An input whose value is not known yet arrives as this string and must be passed on as it is, never hashed. */
export const UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9";
const SIGNATURE = "4dabf18193072939515e22adb298388d";
const SECRET_SIGNATURE = "1b47061264138c4ac30d75fd1eb44270";

/** Whether `value` is, or holds, something that is not known yet. */
export function hasUnknown(value: unknown): boolean {
  if (value === UNKNOWN) return true;
  if (Array.isArray(value)) return value.some(hasUnknown);
  if (value !== null && typeof value === "object") return Object.values(value).some(hasUnknown);
  return false;
}

/** The plain value without secret wrappers. What it returns must not be logged, nor returned to the engine as it is. */
export function unwrap(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(unwrap);
  if (value === null || typeof value !== "object") return value;
  const record = value as Record<string, unknown>;
  if (record[SIGNATURE] === SECRET_SIGNATURE) return unwrap(record.value);
  return Object.fromEntries(Object.entries(record).map(([key, inner]) => [key, unwrap(inner)]));
}

/** `value` as the engine must get it, or it would be stored and shown in clear. */
export function secret(value: unknown): unknown {
  return { [SIGNATURE]: SECRET_SIGNATURE, value };
}

/** Paths of the properties that are secret; none of our resources but `OrgSecret` takes one. */
export function secretPaths(value: unknown, path = ""): string[] {
  if (value === null || typeof value !== "object") return [];
  const record = value as Record<string, unknown>;
  if (record[SIGNATURE] === SECRET_SIGNATURE) return [path];
  return Object.entries(record).flatMap(([key, inner]) => secretPaths(inner, path === "" ? key : `${path}.${key}`));
}
