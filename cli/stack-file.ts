/** The stack file of a command, with errors as the command line says them. */
import { readStackFile as read, type StackFile, StackFileError } from "../components/stack-file.ts";
import { UserError } from "./state.ts";

export type { StackFile };

/** @throws UserError where there is no such file in the current folder, or it is not YAML. */
export function readStackFile(stack: string): StackFile {
  try {
    return read(stack);
  } catch (error) {
    throw error instanceof StackFileError ? new UserError(error.message) : error;
  }
}
