import * as pulumi from "@pulumi/pulumi";
import { isUnknown, known } from "./known.ts";

/**
 * Outputs of a stack without those of what failed: one that failed would take all others along, and with them whatever other stacks
 * need of this one. What a preview does not know yet stays.
 */
export async function unlessFailed(outputs: Readonly<Record<string, unknown>>): Promise<Record<string, unknown>> {
  const there = await Promise.all(Object.values(outputs).map((value) => isThere(value)));
  return Object.fromEntries(Object.entries(outputs).filter((_, index) => there[index]));
}

async function isThere(value: unknown): Promise<boolean> {
  if (!pulumi.Output.isInstance(value)) return value !== undefined;
  return (await isUnknown(value)) || (await known(value)) !== undefined;
}
