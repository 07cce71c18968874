#!/usr/bin/env node
/** `wmtp`: day-2 work on a stack. Thin: it reads the state and calls the launcher's backend; `make` targets of the same names call it. */
import { parseArgs } from "node:util";
import { suggestion } from "../components/config-problems.ts";
import { LocalBackend } from "../launcher/local/backend.ts";
import { outputs } from "./outputs.ts";
import { recover } from "./recover.ts";
import { readState, UserError } from "./state.ts";

const COMMANDS = ["outputs", "cancel", "retry", "recover"];
const HELP = `Usage: wmtp COMMAND [--stack STACK]

  outputs [--table]    what the stack trained: JSON, or a table (--since SECONDS: only if the state changed since that Unix time)
  cancel PIPELINE      stop a run; it stays stopped until retry
  retry PIPELINE       let a run that was cancelled start again at the next pulumi up
  recover              clear what a killed pulumi left behind: its lock, creates it never finished

Options:
  --stack STACK        minitest by default
  --help               this text

Examples:
  wmtp outputs --stack prod
  wmtp retry critic --stack minitest && pulumi up --stack minitest
`;

async function main(): Promise<string> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      stack: { type: "string", default: "minitest" },
      table: { type: "boolean", default: false },
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
    case "cancel":
      return cancel(values.stack, pipeline);
    case "retry": {
      const name = await runOf(values.stack, pipeline);
      const state = await new LocalBackend().findRun(values.stack, name);
      if (state?.status === "completed" || state?.status === "running")
        return `${name} is ${state.status}: nothing to retry`;
      await new LocalBackend().clearCancellation(values.stack, name);
      return `${name} may start again: pulumi up --stack ${values.stack}`;
    }
    default:
      throw new UserError(`unknown command "${command}"; ${suggestion(command, COMMANDS)}; see wmtp --help`);
  }
}

async function cancel(stack: string, pipeline: string | undefined): Promise<string> {
  const backend = new LocalBackend();
  const active = await backend.activeRuns(stack);
  const run = active.find((candidate) => candidate.pipeline === pipeline);
  if (run === undefined)
    throw new UserError(
      `no run of ${pipeline ?? "(no pipeline named)"} is active in stack ${stack}; active: ${active.map((other) => other.pipeline).join(", ") || "none"}`,
    );
  await backend.terminate(stack, run.name, "wmtp cancel", true);
  return `${run.name} is stopped and stays so; wmtp retry ${pipeline} --stack ${stack} lets it start again`;
}

/** Name of the pipeline's run in the stack's state. */
async function runOf(stack: string, pipeline: string | undefined): Promise<string> {
  const { runs } = await readState(stack);
  const run = runs.find((candidate) => candidate.pipeline === pipeline);
  if (run?.name !== undefined) return run.name;
  const known = runs.map((candidate) => candidate.pipeline).join(", ") || "none yet";
  throw new UserError(`stack ${stack} has no run of ${pipeline ?? "(no pipeline named)"}; its runs: ${known}`);
}

try {
  const text = await main();
  if (text !== "") console.log(text.trimEnd());
} catch (error) {
  const expected = error instanceof UserError || (error as { code?: string }).code?.startsWith("ERR_PARSE_ARGS");
  console.error(expected ? `wmtp: ${(error as Error).message}` : error);
  process.exitCode = 1;
}
