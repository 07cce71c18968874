#!/usr/bin/env node
/** `wmtp`: day-2 work on a stack. Thin: it reads the state and calls the launcher's backend; `make` targets of the same names call it. */
import { parseArgs } from "node:util";
import { suggestion } from "../components/config-problems.ts";
import { messageOf } from "../launcher/errors.ts";
import { outputs } from "./outputs.ts";
import { recover } from "./recover.ts";
import { UserError } from "./state.ts";

const COMMANDS = ["outputs", "doctor", "cancel", "retry", "recover"];
const HELP = `Usage: wmtp COMMAND [--stack STACK]

  outputs [--table]    what the stack trained: JSON, or a table (--since SECONDS: only if the state changed since that Unix time)
  doctor [--json]      whether login, names and secrets on the GPU cloud are as the stack file says; a line each, 1 if any failed
  cancel PIPELINE      stop a run; it stays stopped until retry
  retry PIPELINE       let a run that was cancelled start again at the next pulumi up
  recover              clear what a killed pulumi left behind: its lock, creates it never finished

Options:
  --stack STACK        minitest by default
  --help               this text

Examples:
  wmtp outputs --stack prod
  wmtp doctor --stack prod
  wmtp retry critic --stack minitest && pulumi up --stack minitest
`;

async function main(): Promise<string> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      stack: { type: "string", default: "minitest" },
      table: { type: "boolean", default: false },
      json: { type: "boolean", default: false },
      since: { type: "string", default: "0" },
      help: { type: "boolean", default: false },
    },
  });
  const [command, pipeline] = positionals;
  if (values.help || command === undefined) return HELP;
  switch (command) {
    case "outputs":
      return outputs(values.stack, values.table, Number(values.since));
    case "recover":
      return (await recover(values.stack)).join("\n");
    // The launcher is loaded where it is needed only: it takes a while.
    case "cancel":
      return (await import("./runs.ts")).cancel(values.stack, pipeline);
    case "retry":
      return (await import("./runs.ts")).retry(values.stack, pipeline);
    case "doctor": {
      const checks = await (await import("./doctor.ts")).doctor(values.stack);
      if (checks.failed) process.exitCode = 1;
      return values.json ? checks.json(values.stack) : checks.text();
    }
    default:
      throw new UserError(`unknown command "${command}"; ${suggestion(command, COMMANDS)}; see wmtp --help`);
  }
}

/** What the language throws of itself, but for a wrong option; everything else was written for people. */
function isBug(error: unknown): boolean {
  const { code = "" } = error as { code?: string };
  return (
    !(error instanceof Error) ||
    (!code.startsWith("ERR_PARSE_ARGS") &&
      [TypeError, RangeError, ReferenceError, SyntaxError].some((kind) => error instanceof kind))
  );
}

try {
  const text = await main();
  if (text !== "") console.log(text.trimEnd());
} catch (error) {
  console.error(isBug(error) ? error : `wmtp: ${messageOf(error)}`);
  process.exitCode = 1;
}
