/**
 * What a test does beside the stand-in: WMTP_STAND_IN_HOOK names an executable that is run as
 * `HOOK create|update|delete TYPE NAME` after a create's outputs are made up, on an update and before a delete.
 */
import { execute } from "./execute.ts";
import type { ResourceContext } from "./package.ts";
import type { Properties } from "./wire.ts";

export interface HookInput {
  readonly id: string;
  readonly inputs: Properties;
  readonly outputs: Properties;
}

/**
 * Gives the hook `input` as JSON on its stdin, secrets in clear.
 * @returns what it prints, JSON to be merged into the outputs; nothing without a hook.
 * @throws Error with the hook's stderr if it fails.
 */
export async function runHook(
  action: "create" | "update" | "delete",
  of: ResourceContext,
  input: HookInput,
): Promise<Properties> {
  const hook = process.env.WMTP_STAND_IN_HOOK;
  if (hook === undefined || hook === "") return {};
  const stdin = JSON.stringify(input);
  const { code, stdout, stderr } = await execute([hook, action, of.type, of.name], { stdin, signal: of.signal });
  if (code !== 0) throw new Error(stderr.trim() || `${hook} ${action} ${of.type} ${of.name} exited with ${code}`);
  return stdout.trim() === "" ? {} : JSON.parse(stdout);
}
