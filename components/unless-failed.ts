import * as pulumi from "@pulumi/pulumi";

/** Members of an output that the SDK's types leave out; nothing else tells that a resource failed. */
interface Inside {
  readonly isKnown: Promise<boolean>;
  promise(): Promise<unknown>;
}

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
  const output = value as unknown as Inside;
  try {
    return !(await output.isKnown) || (await output.promise()) !== undefined;
  } catch {
    return false;
  }
}
