/**
 * node tools/github/comment-plans.ts FOLDER COMMIT: posts the plans in FOLDER, a comment for each stack, edited in place. FOLDER comes
 * from a job that ran a stranger's code: its content is text, and the pull request that it names must be the one of COMMIT.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { accessOf, complain, GitHub } from "./api.ts";

interface PullRequest {
  readonly head: { readonly sha: string };
}

interface Comment {
  readonly id: number;
  readonly body?: string;
  readonly user: { readonly type: string } | null;
}

const MARKER = /^<!-- wmtp:plan:([A-Za-z0-9._-]{1,100}) -->\n/;
/** GitHub takes 65536. */
const MOST_CHARACTERS = 65_000;

/** @returns what was done, a line each. */
export async function commentPlans(github: GitHub, folder: string, commit: string): Promise<string[]> {
  const number = /^([1-9]\d{0,9})\n?$/.exec(readFileSync(join(folder, "pull-request"), "utf8"))?.[1];
  if (number === undefined) throw new Error("the plans name no pull request");
  const { head } = await github.send<PullRequest>("GET", `pulls/${number}`);
  if (head.sha !== commit) return [`pull request ${number} is not at ${commit} any more: its next preview will say`];
  const plans = new Map<string, string>();
  for (const file of readdirSync(folder).filter((name) => name.endsWith(".md"))) {
    const text = readFileSync(join(folder, file), "utf8");
    const stack = MARKER.exec(text)?.[1];
    if (stack !== undefined && text.length <= MOST_CHARACTERS)
      plans.set(stack, `${text.trimEnd()}\n\n<sub>Preview of ${commit}.</sub>`);
  }
  const ours = new Map<string, Comment>();
  for (const comment of await github.list<Comment>(`issues/${number}/comments`)) {
    const stack = MARKER.exec(comment.body ?? "")?.[1];
    if (stack !== undefined && comment.user?.type === "Bot" && !ours.has(stack)) ours.set(stack, comment);
  }
  const done: string[] = [];
  for (const [stack, body] of plans) {
    const { id } = ours.get(stack) ?? {};
    if (id === undefined) await github.send("POST", `issues/${number}/comments`, { body });
    else await github.send("PATCH", `issues/comments/${id}`, { body });
    done.push(`${id === undefined ? "posted" : "edited"} the plan of ${stack}`);
  }
  for (const [stack, { id }] of ours) {
    if (plans.has(stack)) continue;
    const body = `<!-- wmtp:plan:${stack} -->\nThis pull request does not change \`${stack}\` any more, or its preview could not be made (${commit}).`;
    await github.send("PATCH", `issues/comments/${id}`, { body });
    done.push(`took back the plan of ${stack}`);
  }
  return done;
}

async function main([folder = "", commit = ""]: string[]): Promise<void> {
  for (const line of await commentPlans(new GitHub(accessOf(process.env)), folder, commit)) console.log(line);
}

if (import.meta.main) main(process.argv.slice(2)).catch(complain);
