/**
 * A deployment of GitHub's for each update of a stack, so that everybody sees how it stands and a later job can go on with it:
 *
 *   deployment.ts start STACK               id=... of a new one
 *   deployment.ts settle ID STACK EVENTS    says how the update ended, by the engine's event log; fails where it failed
 *   deployment.ts attach ID STACK EVENTS    fails, and the deployment with it, where a preview, by its log, would start a training
 *   deployment.ts unfinished                unfinished=[{stack, sha, id}], those whose runs went on
 */
import { appendFileSync } from "node:fs";
import { readEvents } from "../../cli/engine-events.ts";
import { attachOf, type Progress, progress } from "../../cli/progress.ts";
import { accessOf, complain, GitHub } from "./api.ts";

interface Deployment {
  readonly id: number;
  readonly sha: string;
  readonly environment: string;
}

interface Status {
  readonly state: string;
}

export interface Unfinished {
  readonly stack: string;
  /** The commit that was approved. */
  readonly sha: string;
  readonly id: number;
}

/** So that these are not the environments that jobs run in. */
const PREFIX = "stack/";
/** A run that goes on is pending, and no failure. */
const STATES: Readonly<Record<Progress["state"], string>> = {
  done: "success",
  running: "in_progress",
  failed: "failure",
};
const UNFINISHED = "in_progress";
/** GitHub takes 140. */
const MOST_CHARACTERS = 140;

/** What an earlier one of the stack had left to do is this one's now. @returns its id. */
export async function start(github: GitHub, stack: string, commit: string): Promise<number> {
  for (const { id } of (await unfinished(github)).filter((earlier) => earlier.stack === stack)) {
    await github.send("POST", `deployments/${id}/statuses`, {
      state: "inactive",
      description: "a later one took over",
    });
  }
  const { id } = await github.send<{ id: number }>("POST", "deployments", {
    ref: commit,
    environment: `${PREFIX}${stack}`,
    auto_merge: false,
    required_contexts: [],
  });
  return id;
}

/** @param log address of the job. */
export async function settle(github: GitHub, id: number, { state, description }: Progress, log: string): Promise<void> {
  const short = description.length <= MOST_CHARACTERS ? description : `${description.slice(0, MOST_CHARACTERS - 3)}...`;
  const status = { state: STATES[state], description: short, log_url: log, auto_inactive: true };
  await github.send("POST", `deployments/${id}/statuses`, status);
}

/** The newest deployment of each stack, where its runs went on. */
export async function unfinished(github: GitHub): Promise<Unfinished[]> {
  const newest = new Map<string, Deployment>();
  for (const deployment of await github.list<Deployment>("deployments")) {
    const { environment, id } = deployment;
    if (!environment.startsWith(PREFIX)) continue;
    if (id > (newest.get(environment)?.id ?? 0)) newest.set(environment, deployment);
  }
  const found: Unfinished[] = [];
  for (const { environment, sha, id } of newest.values()) {
    const [latest] = await github.send<Status[]>("GET", `deployments/${id}/statuses?per_page=1`);
    if (latest?.state === UNFINISHED) found.push({ stack: environment.slice(PREFIX.length), sha, id });
  }
  return found;
}

async function main([command, ...words]: string[]): Promise<string> {
  const { GITHUB_SHA = "", GITHUB_SERVER_URL, GITHUB_REPOSITORY, GITHUB_RUN_ID, GITHUB_STEP_SUMMARY } = process.env;
  const github = new GitHub(accessOf(process.env));
  const [first = "", stack = "", events = ""] = words;
  const tell = async (ended: Progress) => {
    const log = `${GITHUB_SERVER_URL}/${GITHUB_REPOSITORY}/actions/runs/${GITHUB_RUN_ID}`;
    await settle(github, Number(first), ended, log);
    const line = `${ended.state}: ${ended.description}`;
    if (GITHUB_STEP_SUMMARY) appendFileSync(GITHUB_STEP_SUMMARY, `**${stack}**: ${line}\n`);
    if (ended.state === "failed") process.exitCode = 1;
    return line;
  };
  switch (command) {
    case "start":
      return `id=${await start(github, first, GITHUB_SHA)}`;
    case "unfinished":
      return `unfinished=${JSON.stringify(await unfinished(github))}`;
    case "attach": {
      const preview = attachOf(readEvents(events));
      return preview.state === "failed" ? tell(preview) : preview.description;
    }
    case "settle":
      return tell(await progress(stack, events));
    default:
      throw new Error(`no command ${command}: start, settle, attach, unfinished`);
  }
}

if (import.meta.main) main(process.argv.slice(2)).then(console.log, complain);
