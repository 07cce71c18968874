/** `wmtp changed`: the stacks that a pull request may change, by the files that it changes. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { stackFileName } from "../components/stack-file.ts";
import { stackFiles } from "./experiments.ts";
import { readStackFile } from "./stack-file.ts";
import { UserError } from "./state.ts";

const run = promisify(execFile);

/** What a preview of any stack depends on. What only tests, documents or the set-up read is not there. */
const CODE = [
  /^(index\.ts|main\.js|Pulumi\.yaml|package(-lock)?\.json)$/,
  /^(components|launcher|policy)\//,
  /^tools\/(stand-ins|env$|plugins$|preview$)/,
  /^trainer\/(src|configs)\//,
  /^trainer\/(schema\.json|requirements\.lock|Dockerfile)$/,
];
const DOCUMENT = /\.md$/;

export interface ChangedOptions {
  /** A commit or branch: what happened since its last common commit counts. */
  readonly since: string;
  /** Leave out stacks on a base: without a login the base's outputs cannot be read. */
  readonly withoutBase: boolean;
}

/** @returns a stack a line, bases first. */
export async function changed({ since, withoutBase }: ChangedOptions): Promise<string> {
  const stacks = stackFiles().map((stack) => ({ stack, base: readStackFile(stack).raw["wmtp:base"] }));
  const found = changedStacks(await filesSince(since), stacks);
  return found
    .filter(({ base }) => !withoutBase || base === undefined)
    .map(({ stack }) => stack)
    .join("\n");
}

interface Stack {
  readonly stack: string;
  readonly base: string | undefined;
}

/** Stacks whose own file, base's file or code is among the files. */
export function changedStacks(files: readonly string[], stacks: readonly Stack[]): Stack[] {
  const everywhere = files.some((file) => !DOCUMENT.test(file) && CODE.some((pattern) => pattern.test(file)));
  const isChanged = (stack: string) => files.includes(stackFileName(stack));
  return stacks
    .filter(({ stack, base }) => everywhere || isChanged(stack) || (base !== undefined && isChanged(base)))
    .toSorted((a, b) => Number(a.base !== undefined) - Number(b.base !== undefined));
}

async function filesSince(since: string): Promise<string[]> {
  try {
    const { stdout } = await run("git", [
      "diff",
      "--name-only",
      "--relative",
      "--no-renames",
      "-z",
      `${since}...HEAD`,
      "--",
    ]);
    return stdout.split("\0").filter((file) => file !== "");
  } catch (error) {
    const { stderr = String(error) } = error as { stderr?: string };
    throw new UserError(`git cannot say what changed since ${since}: ${stderr.trim()}`);
  }
}
