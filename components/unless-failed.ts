import * as pulumi from "@pulumi/pulumi";
import { isUnknown, known } from "./known.ts";

/**
 * Outputs of a stack, null in place of what failed: one that failed would take all others along, and with them whatever other stacks
 * need of this one. Null, because the engine keeps the last value of an output that is left out of a failed update, and that would be
 * content which is there no more. What a preview does not know yet stays.
 */
export async function unlessFailed(outputs: Readonly<Record<string, unknown>>): Promise<Record<string, unknown>> {
  const values = Object.entries(outputs).map(async ([name, value]) => [name, await orNull(value)] as const);
  return Object.fromEntries(await Promise.all(values));
}

async function orNull(value: unknown): Promise<unknown> {
  if (!pulumi.Output.isInstance(value)) return value ?? null;
  return (await isUnknown(value)) || (await known(value)) !== undefined ? value : null;
}
