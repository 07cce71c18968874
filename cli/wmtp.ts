#!/usr/bin/env node
/** `wmtp`: day-2 work on a stack. Thin: it reads stack files and state and calls the launcher's backend; `make` targets of the same names call it. */
import { type ParseArgsConfig, parseArgs } from "node:util";
import { suggestion } from "../components/config-problems.ts";
import { messageOf } from "../launcher/errors.ts";
import { UserError } from "./state.ts";

const HELP = `Usage: wmtp COMMAND [--stack STACK]

  outputs [--table]    what the stack trained: JSON, or a table (--since SECONDS: only if the state changed since that Unix time)
  doctor [--json]      whether login, names and secrets on the GPU cloud are as the stack file says; a line each, 1 if any failed
  cancel PIPELINE      stop a run; it stays stopped until retry
  retry PIPELINE       let a run that was cancelled start again at the next pulumi up
  recover              clear what a killed pulumi left behind: its lock, creates it never finished

Experiments:
  experiment NAME --from BASE --set PATH=VALUE ...
                       write Pulumi.NAME.yaml: a stack on BASE that trains what differs from it. PATH is below wmtp:pipelines, VALUE is
                       YAML; --pipelines a,b enables further pipelines as they are in BASE
  sweep NAME --from BASE --grid PATH=V1,V2 ... [--set PATH=VALUE ...]
                       write an experiment for each combination of the grid's values; --yes for more than 64
  experiments [--from BASE] [--json]
                       all stacks with a base: status, loss, hours, cost so far

For CI:
  plan [--markdown FILE]
                       preview, and what it found as a comment for a pull request; exits as the preview does
  progress --events FILE
                       how an update ended, by the engine's event log: 0 done, 75 runs go on (the same update again attaches), 1 failed
  changed --since COMMIT [--without-base]
                       stacks whose file, base's file or code was changed since the common commit; a line each

Options:
  --stack STACK        minitest by default
  --from BASE          prod by default, where an experiment is written
  --help               this text

Examples:
  wmtp outputs --stack prod
  wmtp doctor --stack prod
  wmtp retry critic --stack minitest && pulumi up --stack minitest
  wmtp experiment lr-3e-5 --from prod --set verifiable.overrides.training.learning_rate=3e-5
  wmtp sweep lr --from prod --grid verifiable.overrides.training.learning_rate=1e-5,3e-5,1e-4
`;

type Options = NonNullable<ParseArgsConfig["options"]>;
type Values = Readonly<Record<string, string | boolean | readonly (string | boolean)[] | undefined>>;

interface Command {
  readonly options: Options;
  /** @param name what stands after the command. @returns what is printed. */
  run(values: Values, name: string | undefined): Promise<string> | string;
}

const STACK: Options = { stack: { type: "string", default: "minitest" } };
const JSON_OPTION: Options = { json: { type: "boolean", default: false } };
const DRAFT: Options = {
  from: { type: "string", default: "prod" },
  set: { type: "string", multiple: true, default: [] },
  pipelines: { type: "string", default: "" },
};

// What is not needed for every command is loaded where it is: it takes a while.
const COMMANDS: Readonly<Record<string, Command>> = {
  outputs: {
    options: { ...STACK, table: { type: "boolean", default: false }, since: { type: "string", default: "0" } },
    run: async ({ stack, table, since }) =>
      (await import("./outputs.ts")).outputs(String(stack), table === true, Number(since)),
  },
  doctor: {
    options: { ...STACK, ...JSON_OPTION },
    run: async ({ stack, json }) => {
      const checks = await (await import("./doctor.ts")).doctor(String(stack));
      if (checks.failed) process.exitCode = 1;
      return json ? checks.json(String(stack)) : checks.text();
    },
  },
  cancel: {
    options: STACK,
    run: async ({ stack }, pipeline) => (await import("./runs.ts")).cancel(String(stack), pipeline),
  },
  retry: {
    options: STACK,
    run: async ({ stack }, pipeline) => (await import("./runs.ts")).retry(String(stack), pipeline),
  },
  recover: {
    options: STACK,
    run: async ({ stack }) => (await (await import("./recover.ts")).recover(String(stack))).join("\n"),
  },
  experiment: {
    options: DRAFT,
    run: async (values, name) => (await import("./experiment.ts")).experiment(named(name), draftOf(values)),
  },
  sweep: {
    options: {
      ...DRAFT,
      grid: { type: "string", multiple: true, default: [] },
      yes: { type: "boolean", default: false },
    },
    run: async (values, name) => {
      const options = { ...draftOf(values), grid: texts(values.grid), yes: values.yes === true };
      return (await import("./sweep.ts")).sweep(named(name), options);
    },
  },
  experiments: {
    options: { from: { type: "string" }, ...JSON_OPTION },
    run: async ({ from, json }) =>
      (await import("./experiments.ts")).experiments(from === undefined ? undefined : String(from), json === true),
  },
  plan: {
    options: { ...STACK, markdown: { type: "string" } },
    run: async ({ stack, markdown }) => {
      const file = markdown === undefined ? undefined : String(markdown);
      process.exitCode = await (await import("./plan.ts")).plan(String(stack), file);
      return "";
    },
  },
  progress: {
    options: { ...STACK, events: { type: "string" } },
    run: async ({ stack, events }) => {
      if (events === undefined) throw new UserError("progress needs --events FILE, the event log of the update");
      const { EXIT_CODES, progress } = await import("./progress.ts");
      const { state, description } = await progress(String(stack), String(events));
      process.exitCode = EXIT_CODES[state];
      return `${state}: ${description}`;
    },
  },
  changed: {
    options: { since: { type: "string" }, "without-base": { type: "boolean", default: false } },
    run: async ({ since, "without-base": withoutBase }) => {
      if (since === undefined) throw new UserError("changed needs --since COMMIT, such as origin/main");
      return (await import("./changed-stacks.ts")).changed({ since: String(since), withoutBase: withoutBase === true });
    },
  },
};

async function main(): Promise<string> {
  const [name, ...rest] = process.argv.slice(2);
  if (name === undefined || name === "--help" || rest.includes("--help")) return HELP;
  if (name.startsWith("-"))
    throw new UserError("the command comes first: wmtp COMMAND [--stack STACK]; see wmtp --help");
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (command === undefined) {
    throw new UserError(`unknown command "${name}"; ${suggestion(name, Object.keys(COMMANDS))}; see wmtp --help`);
  }
  const { values, positionals } = parseArgs({ args: rest, allowPositionals: true, options: command.options });
  return command.run(values as Values, positionals[0]);
}

function draftOf({ from, set, pipelines }: Values) {
  const further = String(pipelines).split(",");
  return { from: String(from), set: texts(set), pipelines: further.filter((pipeline) => pipeline !== "") };
}

function texts(value: Values[string]): string[] {
  return Array.isArray(value) ? value.map(String) : [];
}

function named(name: string | undefined): string {
  if (name === undefined) throw new UserError("which name? Say for example wmtp experiment lr-3e-5 --set PATH=VALUE");
  return name;
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
