/** What a run may still use: `maxDuration` and `retries` bound all attempts from when somebody asked for it until it ends well or badly. */
import type { RunState } from "../backend.ts";

/** As the state of the stack keeps it while the run goes on. */
export interface AllowanceFacts {
  /** `usedSeconds` of the run when this began; less than nothing where a record with some of them vanished since. */
  readonly usedAtStart: number;
  readonly resumes: number;
}

/** As the state of the stack was before. */
export interface Before {
  readonly usedSeconds: number | null;
  readonly allowance?: AllowanceFacts | null;
}

export class Allowance {
  private began: AllowanceFacts | undefined;
  /** As they were last seen. */
  private usedSeconds: number;

  /** @param before with facts of an allowance where this is to carry on with it */
  constructor(before: Before | undefined) {
    this.began = before?.allowance ?? undefined;
    this.usedSeconds = before?.usedSeconds ?? 0;
  }

  get facts(): AllowanceFacts | null {
    return this.began ?? null;
  }

  get resumes(): number {
    return this.began?.resumes ?? 0;
  }

  /** From here on, whatever was used before; an attempt that still runs counts whole. */
  begin(state: RunState | undefined): void {
    this.began = { usedAtStart: state === undefined ? 0 : usedBefore(state), resumes: 0 };
    this.usedSeconds = state?.usedSeconds ?? 0;
  }

  /** A record that vanished gives nothing back. */
  saw({ usedSeconds }: RunState): void {
    const vanished = Math.max(0, this.usedSeconds - usedSeconds);
    if (this.began !== undefined) this.began = { ...this.began, usedAtStart: this.began.usedAtStart - vanished };
    this.usedSeconds = usedSeconds;
  }

  resumed(state: RunState): void {
    this.saw(state);
    if (this.began !== undefined) this.began = { ...this.began, resumes: this.began.resumes + 1 };
  }

  /** Seconds that are left of `limit` for an attempt that runs, from its start, or for the next one where none does. */
  left(limit: number, state: RunState): number {
    return limit - (usedBefore(state) - (this.began?.usedAtStart ?? 0));
  }
}

/** Seconds of the attempts before the one that runs; of all, where none does. */
function usedBefore({ status, usedSeconds, runningSeconds = 0 }: RunState): number {
  return status === "running" ? usedSeconds - runningSeconds : usedSeconds;
}
