/** `wmtp plan`: a preview, and what it found as Markdown. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { readEvents } from "./engine-events.ts";
import { planComment } from "./plan-comment.ts";
import { readStackFile } from "./stack-file.ts";

const PREVIEW = resolve(import.meta.dirname, "..", "tools", "preview");
const STAND_INS = "Made without a login: AWS was not asked, and everything is shown as if it were new.";

/**
 * The terminal shows the preview as ever.
 * @param markdown file for the comment; none by default
 * @returns the exit code of the preview
 */
export async function plan(stack: string, markdown: string | undefined): Promise<number> {
  readStackFile(stack); // a wrong name is told before anything is started
  const folder = mkdtempSync(join(tmpdir(), "wmtp-plan-"));
  const log = join(folder, "events.jsonl");
  try {
    const child = spawn(PREVIEW, [stack], {
      stdio: "inherit",
      // The engine writes its events only where its commands for debugging are on.
      env: { ...process.env, PULUMI_DEBUG_COMMANDS: "1", PULUMI_OPTION_EVENT_LOG: log },
    });
    const [code] = (await once(child, "exit")) as [number | null];
    const note = process.env.WMTP_STAND_INS === "1" ? STAND_INS : undefined;
    if (markdown !== undefined) writeFileSync(markdown, planComment(stack, readEvents(log), note));
    return code ?? 1;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
