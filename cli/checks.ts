/** Checks of `wmtp doctor` and how they are told: a line each, or JSON. */
import { messageOf } from "../launcher/errors.ts";

export interface Check {
  /** What was looked at. @example "cluster" */
  readonly check: string;
  readonly result: "ok" | "failed" | "not checked";
  /** What was found; of a failure the cause and what to do, of what was not checked the reason. */
  readonly detail: string;
}

const RESULT_WIDTH = "not checked".length + 2;
const CHECK_WIDTH = "organization".length + 2;

export class Checks {
  readonly all: Check[] = [];

  get failed(): boolean {
    return this.all.some(({ result }) => result === "failed");
  }

  add(check: string, result: Check["result"], detail: string): void {
    // Names come from the service as well: none may begin a line of its own, or speak to the terminal.
    this.all.push({ check, result, detail: detail.replace(/[\s\p{Cc}]+/gu, " ").trim() });
  }

  /** @param look returns what it found, and throws cause and remedy. @returns whether it was fine. */
  async look(check: string, look: () => Promise<string>): Promise<boolean> {
    try {
      this.add(check, "ok", await look());
      return true;
    } catch (error) {
      this.add(check, "failed", messageOf(error));
      return false;
    }
  }

  skip(checks: readonly string[], reason: string): void {
    for (const check of checks) this.add(check, "not checked", reason);
  }

  text(): string {
    return this.all.map(line).join("\n");
  }

  json(stack: string): string {
    return JSON.stringify({ stack, ok: !this.failed, checks: this.all }, null, 2);
  }
}

function line({ check, result, detail }: Check): string {
  const word = result === "failed" ? "FAILED" : result;
  return `${word.padEnd(RESULT_WIDTH)}${check.padEnd(CHECK_WIDTH)}${detail}`;
}
