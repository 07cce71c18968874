/**
 * A stack of one pipeline on the GPU cloud's stub, trained anew in every round: what a round left on the cloud, and whether a secret got
 * out. The waits are generous, for a machine that others work on.
 */
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { VesslApi } from "../../launcher/vessl/api.ts";
import { VesslHttp } from "../../launcher/vessl/http.ts";
import { isDuplicate } from "../../launcher/vessl/run-status.ts";
import { makeCloudStack } from "./cloud-stack.ts";
import { descendants, type EngineStack, isLive } from "./engine-stack.ts";
import type { Result } from "./pulumi-stack.ts";
import { type ShownRun, VesslCloud } from "./vessl-cloud.ts";

export const PIPELINE = "rho1";
/** For a fault of the submission. */
export const SUBMIT = { method: "POST", path: "/run/spec/create_from_yaml$" };
const WAIT_MS = 60_000;

/** An update that runs beside its test. */
export interface Started {
  readonly pid: number;
  readonly text: () => string;
  readonly ended: Promise<Result>;
}

export class CloudRounds {
  readonly cloud: VesslCloud;
  readonly stack: EngineStack;
  private readonly texts: (() => string)[] = [];
  private earlier = new Set<number>();
  private round = 0;

  private constructor(cloud: VesslCloud, stack: EngineStack) {
    this.cloud = cloud;
    this.stack = stack;
  }

  static async start(name: string): Promise<CloudRounds> {
    const cloud = await VesslCloud.start();
    return new CloudRounds(cloud, await makeRoundStack(name, cloud));
  }

  /** A run that was never there before, of so many seconds. */
  async next(seconds = 0.5): Promise<void> {
    this.round += 1;
    await this.cloud.clearFaults();
    await this.cloud.shortenCredentials({});
    this.fail(undefined);
    this.stack.configure({ [`wmtp:pipelines.${PIPELINE}`]: roundPipeline(seconds, String(this.round)) });
    this.earlier = new Set((await this.cloud.runs()).map(({ id }) => id));
  }

  up(): Result {
    const result = this.stack.up();
    this.texts.push(() => result.text);
    return result;
  }

  /** The update ends well, and what it says. */
  green(): string {
    const { code, text } = this.up();
    expect({ code, text }).toMatchObject({ code: 0 });
    expect(this.stack.runs()[PIPELINE]).toMatchObject({ status: "completed", steps: 10 });
    return text;
  }

  /** The update ends badly, and what it says. */
  red(): string {
    const { code, text } = this.up();
    expect({ code, text }).not.toMatchObject({ code: 0 });
    return text;
  }

  start(stack = this.stack): Started {
    const up = stack.startUp();
    let text = "";
    up.stdout?.on("data", (chunk) => (text += chunk));
    up.stderr?.on("data", (chunk) => (text += chunk));
    this.texts.push(() => text);
    const ended = new Promise<Result>((resolve) => up.on("close", (code) => resolve({ code, text })));
    return { pid: up.pid as number, text: () => text, ended };
  }

  /** kill -9 of pulumi and everything below it, the launcher first, as when its machine loses power. */
  async killAll({ pid, ended }: Started): Promise<void> {
    const below = descendants(pid);
    for (const one of [...below.reverse(), pid]) {
      try {
        process.kill(one, "SIGKILL");
      } catch {} // ended with its parent
    }
    await ended;
    await this.until("everything below pulumi is gone", () => !below.some(isLive));
  }

  /** Runs of this round, oldest first, those that lost a race left out. */
  async runs(): Promise<ShownRun[]> {
    const runs = (await this.cloud.runs()).filter(({ id }) => !this.earlier.has(id));
    return runs.filter((run) => run.run_spec.title.startsWith(`wmtp-${this.stack.name}-`) && !isDuplicate(run));
  }

  async statuses(): Promise<string[]> {
    return (await this.runs()).map(({ status }) => status);
  }

  /** The newest run of this round, once it is in this status. */
  async reaches(status: string): Promise<ShownRun> {
    await this.until(`a run is ${status}`, async () => (await this.runs()).at(-1)?.status === status);
    return (await this.runs()).at(-1) as ShownRun;
  }

  /** The newest run of this round, once it has done some steps. */
  async trains(): Promise<ShownRun> {
    const run = await this.reaches("running");
    await this.until("it makes progress", async () =>
      (await this.cloud.runLog(String(run.id))).some((line) => line.includes('"progress"')),
    );
    return run;
  }

  async until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
    const deadline = Date.now() + WAIT_MS;
    while (!(await condition())) {
      if (Date.now() > deadline) throw new Error(`waited ${WAIT_MS} ms in vain: ${what}\n${this.texts.at(-1)?.()}`);
      await sleep(20);
    }
  }

  /** Makes the trainer fail in its middle with this text; undefined: no more. */
  fail(text: string | undefined): void {
    const file = join(this.cloud.standIn, `${PIPELINE}.fail`);
    if (text === undefined) rmSync(file, { force: true });
    else writeFileSync(file, text);
  }

  /** How often the list of runs was asked for. */
  lists(): number {
    return this.cloud.requests().filter(({ path }) => path.endsWith("/run_executions")).length;
  }

  /** As somebody else would. */
  async submit(yaml: string): Promise<void> {
    await this.api.createRun(yaml);
  }

  /** Runs of somebody else's, in the same project. */
  async submitOthers(title: string, count: number): Promise<void> {
    for (let run = 0; run < count; run += 1) {
      await this.api.createRun(
        JSON.stringify({ name: `${title}-${run}`, resources: { preset: "cpu-small" }, image: "busybox" }),
      );
    }
  }

  /** Source of the volume of datasets. */
  get datasets(): string {
    return join(this.stack.root, "sources", "datasets");
  }

  private get api(): VesslApi {
    const http = new VesslHttp(this.cloud.token, { base: this.cloud.url });
    return new VesslApi(http, this.cloud.organization, this.cloud.project);
  }

  /** Where a secret was found that must not be there: one line each. */
  async leaks(): Promise<string[]> {
    const secrets = this.secrets();
    const places: [string, string][] = [
      ...this.texts.map((text, index): [string, string] => [`output ${index}`, text()]),
      ["the state", JSON.stringify(this.stack.state())],
      ...filesBelow(this.stack.root).map((file): [string, string] => [file, readFileSync(file, "latin1")]),
    ];
    for (const { method, path, query, body } of this.cloud.requests()) {
      if (!path.includes("/secrets")) places.push([`${method} ${path}`, query + JSON.stringify(body)]);
    }
    for (const { id } of await this.runs())
      places.push([`log of ${id}`, (await this.cloud.runLog(String(id))).join("\n")]);
    return places.flatMap(([place, text]) => (secrets.some((secret) => text.includes(secret)) ? [place] : []));
  }

  async dispose(): Promise<void> {
    this.stack.dispose();
    await this.cloud.dispose();
  }

  /** The token, the organization's secrets, and every credential that the cloud has lent. */
  private secrets(): string[] {
    const lent: { token: string; secretAccessKey: string }[] = JSON.parse(
      readFileSync(join(this.cloud.root, "state", "sessions.json"), "utf8"),
    );
    return [
      this.cloud.token,
      this.cloud.env.AWS_SECRET_ACCESS_KEY as string,
      this.cloud.env.AWS_ACCESS_KEY_ID as string,
      ...lent.flatMap(({ token, secretAccessKey }) => [token, secretAccessKey]),
    ];
  }
}

export function makeRoundStack(name: string, cloud: VesslCloud, seconds = 0.5): Promise<EngineStack> {
  const names = { models: `${name}-models`, datasets: `${name}-datasets`, checkpoints: `${name}-checkpoints` };
  return makeCloudStack(name, cloud, {
    config: { "wmtp:pipelines": { [PIPELINE]: roundPipeline(seconds, "0") }, "wmtp:volumes.names": names },
  });
}

function roundPipeline(seconds: number, rerun: string) {
  return { gpus: 4, maxDuration: "30m", rerun, overrides: { "training.seed": seconds * 10 } };
}

function filesBelow(directory: string): string[] {
  return readdirSync(directory, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name));
}
