/** What an output holds at the end of a program, be it unknown or failed: the SDK tells both, but its types leave them out. */
import type * as pulumi from "@pulumi/pulumi";

interface Inside<T> {
  readonly isKnown: Promise<boolean>;
  promise(): Promise<T>;
}

/** The value; undefined where it is not known yet, or never will be: what failed is reported by whoever declared it. */
export async function known<T>(output: pulumi.Output<T>): Promise<T | undefined> {
  return (await isUnknown(output)) ? undefined : (output as unknown as Inside<T>).promise().catch(() => undefined);
}

/** Whether only the update finds out. @returns false of what failed */
export async function isUnknown(output: pulumi.Output<unknown>): Promise<boolean> {
  return (output as unknown as Inside<unknown>).isKnown.then(
    (is) => !is,
    () => false,
  );
}
