/** The compiled policy pack in a project of one test. Engine stacks go without one unless they ask for it. */
import { cpSync, existsSync, symlinkSync } from "node:fs";
import { join, resolve } from "node:path";

const PROJECT = resolve(import.meta.dirname, "..", "..");

/**
 * Puts the pack, and links to what it was compiled from, into the project.
 * @returns the variable with which every preview and update there is held to it
 */
export function installPolicyPack(project: string): { readonly PULUMI_OPTION_POLICY_PACK: string } {
  const pack = join(project, ".tools", "policy");
  cpSync(join(PROJECT, ".tools", "policy"), pack, { recursive: true });
  for (const sources of ["policy", "components"]) {
    if (!existsSync(join(project, sources))) symlinkSync(join(PROJECT, sources), join(project, sources));
  }
  return { PULUMI_OPTION_POLICY_PACK: pack };
}
