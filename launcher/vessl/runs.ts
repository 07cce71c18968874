/**
 * Training runs on the GPU cloud. A run of ours is found by its name and fingerprint over the whole list, never by an id that somebody
 * remembers: so it is found from another machine, and after an answer that got lost. Each attempt is a run of the cloud's of its own.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { RunSpec, RunState } from "../backend.ts";
import { parseRunName } from "../identity.ts";
import { AnswerLost, type RunInfo, type VesslApi } from "./api.ts";
import { isDuplicate, isOver, MESSAGES, progressOf, usedSecondsOf, verdictOf } from "./run-status.ts";
import { fingerprintTag, runYaml } from "./run-yaml.ts";

/** The list serves everybody who asks within this time: a hundred runs that wait are one question. */
const FRESH_MS = 1000;
/** Lines searched for the cause of a failure. */
const DIAGNOSIS_LINES = 200;
/** What a terminated run may take to be gone: its trainer saves a checkpoint first. */
const STOP_MS = 180_000;
const STOP_POLL_MS = 1000;
/** Looks for a run whose submission was not answered, and the time between two. */
const LOOKS_FOR_LOST = 4;
const LOST_POLL_MS = 2000;
const SUBMISSIONS = 3;
/** Submissions within this time share one look for others of their name: a stack's hundred runs are not a hundred lists. */
const SETTLE_MS = 500;

export interface VesslRunsOptions {
  /** For links that people open. @example "https://app.vessl.ai/my-org/runs/wmtp" */
  readonly webUrl: string;
}

export class VesslRuns {
  private readonly api: VesslApi;
  private readonly webUrl: string;
  private listed: { readonly at: number; readonly runs: Promise<RunInfo[]> } | undefined;
  /** Latest run of each name that was seen by this process: one that is gone was deleted by somebody. */
  private readonly seen = new Map<string, RunInfo>();
  /** Names that this process has submitted. */
  private readonly submitted = new Set<string>();
  /** How runs ended, by id and message: that does not change, and asking for their logs costs a call. */
  private readonly verdicts = new Map<string, ReturnType<typeof verdictOf>>();

  constructor(api: VesslApi, { webUrl }: VesslRunsOptions) {
    this.api = api;
    this.webUrl = webUrl;
  }

  async find(stack: string, name: string): Promise<RunState | undefined> {
    const attempts = await this.attempts(stack, name);
    const latest = latestOf(attempts);
    if (latest === undefined) return this.deleted(stack, name);
    // One that came late, after the look that follows a submission. A preview, which submits nothing, ends nothing.
    if (this.submitted.has(name)) await this.endDuplicates(attempts);
    this.seen.set(name, latest);
    return this.stateOf(latest, attempts);
  }

  /** Ends those that lost a race and still run: whoever marked them was killed, or refused, before he could end them. */
  async active(stack: string): Promise<RunState[]> {
    const running = (await this.list()).filter((run) => belongsTo(run, stack) && !isOver(run));
    for (const { id } of running.filter(isDuplicate)) await this.api.terminateRun(id);
    const names = new Set(running.filter((run) => !isDuplicate(run)).map(({ title }) => title));
    const states = await Promise.all([...names].map((name) => this.find(stack, name)));
    return states.filter((state): state is RunState => state?.status === "running");
  }

  /**
   * Starts a run unless it is running. Whoever starts the same one at the same moment is found by looking again: the younger of two
   * is terminated, by both.
   */
  async submit(spec: RunSpec): Promise<RunState> {
    const active = await this.find(spec.stack, spec.name);
    if (active?.status === "running") return active;
    const known = new Set((await this.attempts(spec.stack, spec.name)).map(({ id }) => id));
    const id = await this.create(spec, known);
    const submitted = Date.now();
    this.submitted.add(spec.name);
    await sleep(SETTLE_MS);
    await this.endDuplicates(await this.attempts(spec.stack, spec.name, submitted));
    return (await this.find(spec.stack, spec.name)) ?? this.unfindable(spec, id);
  }

  /** A run that nobody would find again must not go on: the next update would start one more. */
  private async unfindable({ name }: RunSpec, id: string | undefined): Promise<never> {
    if (id !== undefined) await this.api.terminateRun(id);
    throw new Error(
      `${name} was submitted${id === undefined ? "" : ` as ${id}, and ended again`}: the cloud's list of runs does not show it by its ` +
        `name and tags, so that it would not be found again; see "What to check first" in docs/gpu-cloud.md`,
    );
  }

  async terminate(stack: string, name: string, reason: string, byHand: boolean): Promise<void> {
    const running = (await this.named(stack, name)).filter((run) => !isOver(run));
    const mark = byHand ? MESSAGES.cancelled : MESSAGES.stopped;
    for (const run of running) await this.end(run.id, isDuplicate(run) ? run.message : mark + reason);
    const deadline = Date.now() + STOP_MS;
    for (const { id } of running) {
      for (let run = await this.api.run(id); run !== undefined && !isOver(run); run = await this.api.run(id)) {
        if (Date.now() > deadline)
          throw new Error(`${name} (${id}) was told to stop and still runs: see ${this.urlOf(id)}`);
        await sleep(STOP_POLL_MS);
      }
    }
    this.forget();
  }

  async logTail(stack: string, name: string, lines: number): Promise<string[]> {
    const latest = latestOf(await this.attempts(stack, name));
    return latest === undefined ? [] : this.api.runLogs(latest.id, lines);
  }

  async clearCancellation(stack: string, name: string): Promise<void> {
    const latest = latestOf(await this.attempts(stack, name));
    if (latest === undefined || !isOver(latest)) return;
    await this.api.setRunMessage(latest.id, `${MESSAGES.retried}wmtp retry`);
    this.forget();
  }

  /** Its id; undefined when the answer was lost and the run was found all the same. */
  private async create(spec: RunSpec, known: ReadonlySet<string>): Promise<string | undefined> {
    const yaml = runYaml(spec);
    for (let submission = 1; ; submission += 1) {
      try {
        return await this.api.createRun(yaml);
      } catch (error) {
        if (!(error instanceof AnswerLost)) throw error;
        if (await this.arrived(spec, known)) return undefined;
        if (submission === SUBMISSIONS) throw error;
      }
    }
  }

  /** Whether a submission that was not answered made a run all the same. */
  private async arrived(spec: RunSpec, known: ReadonlySet<string>): Promise<boolean> {
    for (let look = 0; look < LOOKS_FOR_LOST; look += 1) {
      await sleep(LOST_POLL_MS);
      this.forget();
      if ((await this.attempts(spec.stack, spec.name)).some(({ id }) => !known.has(id))) return true;
    }
    return false;
  }

  /** @param attempts of one name, oldest first */
  private async endDuplicates(attempts: readonly RunInfo[]): Promise<void> {
    const [oldest, ...younger] = attempts.filter((run) => !isOver(run));
    if (younger.length === 0) return;
    try {
      for (const { id } of younger) await this.end(id, `${MESSAGES.duplicate}${oldest?.id}`);
    } finally {
      this.forget(); // also when one cannot be ended: what was listed does not show its mark
    }
  }

  /** The reason first: once a run is over, nobody can tell who ended it. */
  private async end(id: string, message: string): Promise<void> {
    const said = await this.api.setRunMessage(id, message).then(
      () => true,
      () => false, // whatever it was, the run must end
    );
    await this.api.terminateRun(id);
    if (!said) await this.api.setRunMessage(id, message);
  }

  /** @param attempts all of its name, `run` among them */
  private async stateOf(run: RunInfo, attempts: readonly RunInfo[]): Promise<RunState> {
    const now = Date.now();
    const known = {
      name: run.title,
      pipeline: parseRunName(run.title)?.pipeline as string,
      attempts: attempts.length,
      usedSeconds: attempts.reduce((sum, attempt) => sum + usedSecondsOf(attempt, now), 0),
      runId: run.id,
      runUrl: this.urlOf(run.id),
      retryable: false,
      cancelled: false,
    };
    if (!isOver(run)) return { ...known, ...progressOf(run, now) };
    const key = `${run.id} ${run.message}`;
    const verdict = this.verdicts.get(key) ?? verdictOf(run, await this.lastLines(run));
    this.verdicts.set(key, verdict);
    return { ...known, ...verdict };
  }

  private async lastLines(run: RunInfo): Promise<string[]> {
    // Without its log the cause is not known, but how it ended is.
    return run.status === "failed" ? this.api.runLogs(run.id, DIAGNOSIS_LINES).catch(() => []) : [];
  }

  /** Oldest first, those that lost a race left out. */
  private async attempts(stack: string, name: string, since?: number): Promise<RunInfo[]> {
    return (await this.named(stack, name, since)).filter((run) => !isDuplicate(run));
  }

  /** Oldest first. */
  private async named(stack: string, name: string, since?: number): Promise<RunInfo[]> {
    return (await this.list(since))
      .filter((run) => run.title === name && belongsTo(run, stack))
      .sort((a, b) => a.createdAt - b.createdAt || Number(a.id) - Number(b.id));
  }

  /** A page may lack what was moved by a new run: that one run is looked at by itself before it is given up. */
  private async deleted(stack: string, name: string): Promise<RunState | undefined> {
    const last = this.seen.get(name);
    if (last === undefined || !belongsTo(last, stack)) return undefined;
    const now = await this.api.run(last.id);
    if (now !== undefined) return this.stateOf(now, [now]);
    this.seen.delete(name);
    const reason = "it was deleted on the cloud, not by pulumi; run pulumi up again to start it anew";
    return {
      ...(await this.stateOf({ ...last, status: "terminated" }, [last])),
      retryable: false,
      cancelled: false,
      reason,
    };
  }

  /** @param since the list must have been asked for after this moment */
  private list(since = Date.now() - FRESH_MS): Promise<RunInfo[]> {
    if (this.listed === undefined || this.listed.at < since) {
      const runs = this.api.runs();
      this.listed = { at: Date.now(), runs };
      runs.catch(() => this.forget());
    }
    return this.listed.runs;
  }

  private forget(): void {
    this.listed = undefined;
  }

  private urlOf(id: string): string {
    return `${this.webUrl}/${id}`;
  }
}

/** A running one counts before a newer one that is over: the newer one lost a race, or was ended by hand. */
function latestOf(attempts: readonly RunInfo[]): RunInfo | undefined {
  return attempts.find((run) => !isOver(run)) ?? attempts.at(-1);
}

/** By its name and by the tag of its content: a run that somebody gave such a name to is none of ours. */
function belongsTo({ title, tags }: RunInfo, stack: string): boolean {
  const { stack: owner, fingerprint } = parseRunName(title) ?? {};
  return owner === stack && tags.some((tag) => tag.startsWith(fingerprintTag(fingerprint as string)));
}
