/** What becomes of a run: executed by a node, over at once with its results in place, or as a test has written it down. */
import { spawn } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cleanEnvironment, signalGroup } from "../../../launcher/local/process.ts";
import { writeResults } from "./instant.ts";
import type { Assignment } from "./node.ts";
import { RunFiles } from "./run-files.ts";
import { specOf } from "./run-shape.ts";
import { environmentOf, parseRunYaml, type RunYaml, stepsOf, volumeOf } from "./run-spec.ts";
import type { RunRecord, Script, Store } from "./state.ts";
import { STORAGES } from "./world.ts";

const NODE = join(import.meta.dirname, "node.ts");
/** Between the statuses on the way to `running`. */
const PACE_MS = 50;

export class RunFates {
  private readonly store: Store;
  private readonly s3Url: string;
  /** Directories of runs whose node we have started; it says so itself a moment later. */
  private readonly starting = new Set<string>();

  constructor(store: Store, s3Url: string) {
    this.store = store;
    this.s3Url = s3Url;
  }

  begin(run: RunRecord, yaml: RunYaml): void {
    const files = this.filesOf(run);
    files.create();
    files.happened("queued");
    const script = this.takeScript(yaml.name);
    if (script !== undefined) this.follow(files, script);
    else if (this.store.state.mode === "instant") void this.finish(run, yaml, files);
    else this.execute(run, yaml, files);
  }

  /** Starts the nodes of runs that were created just before we were killed. */
  resume(): void {
    for (const run of this.store.state.runs) {
      const files = this.filesOf(run);
      const waits = files.history(Infinity).length === 1 && files.node() === undefined;
      if (waits) this.execute(run, yamlOf(run), files);
    }
  }

  /** The newest run with this id or title. @throws when there is none. */
  find(idOrTitle: string): RunRecord {
    const run = this.store.state.runs.findLast(
      (one) => String(one.id) === idOrTitle || this.titleOf(one) === idOrTitle,
    );
    if (run === undefined) throw new Error(`no run ${idOrTitle}`);
    return run;
  }

  statusOf(run: RunRecord): { status: string; reason: string; since: number } {
    const files = this.filesOf(run);
    this.noticeLostNode(files);
    const { status, reason = "", at } = files.history().at(-1) ?? { status: "queued", at: Date.parse(run.createdAt) };
    return { status, reason, since: at };
  }

  titleOf(run: RunRecord): string {
    return yamlOf(run).name;
  }

  /** As the API answers. */
  shown(run: RunRecord) {
    const { status, reason, since } = this.statusOf(run);
    const history = this.filesOf(run).history();
    return {
      id: run.id,
      status,
      status_reason: reason,
      status_last_updated: new Date(since).toISOString(),
      create_dt: run.createdAt,
      message: run.message,
      tags: run.tags.map((name, index) => ({ id: index + 1, name, color: "#888888" })),
      histories: history.map((event, index) => ({
        status: event.status,
        message: event.reason ?? "",
        started_timestamp: event.at / 1000,
        ended_timestamp: index + 1 < history.length ? history[index + 1]!.at / 1000 : null,
      })),
      created_by: { username: "stub" },
      run_spec: specOf(run, yamlOf(run)),
    };
  }

  /** Returns at once, as the cloud does; a run that is over stays what it is. */
  terminate(run: RunRecord): void {
    const files = this.filesOf(run);
    if (files.isOver) return;
    files.forgetFuture();
    const executed = files.node() !== undefined || this.starting.has(files.directory);
    files.happened(executed ? "stopping" : "terminated", "Terminated by user");
    if (executed) writeFileSync(files.terminateFile, "");
  }

  /** The machine below a run is taken away without a word to it. */
  preempt(run: RunRecord, status: string, reason: string): void {
    const files = this.filesOf(run);
    files.forgetFuture();
    const node = files.node();
    if (node?.alive) signalGroup(node.identity.pid, "SIGKILL");
    files.happened(status, reason);
  }

  forget(run: RunRecord): void {
    const { state } = this.store;
    state.runs = state.runs.filter((one) => one !== run);
    this.store.save();
    const node = this.filesOf(run).node();
    if (node?.alive) signalGroup(node.identity.pid, "SIGKILL");
    rmSync(this.filesOf(run).directory, { recursive: true, force: true });
  }

  private filesOf({ id }: RunRecord): RunFiles {
    return new RunFiles(this.store.directory, id);
  }

  private takeScript(title: string): Script | undefined {
    const { scripts } = this.store.state;
    const script = scripts.find((one) => one.times !== 0 && new RegExp(one.title).test(title));
    if (script?.times !== undefined) script.times -= 1;
    this.store.save();
    return script;
  }

  private follow(files: RunFiles, { timeline, log }: Script): void {
    let at = Date.now();
    for (const { status, reason, after = 0 } of timeline) {
      at += after;
      files.happened(status, reason, at);
    }
    for (const line of log ?? []) files.say(line);
  }

  private async finish(run: RunRecord, yaml: RunYaml, files: RunFiles): Promise<void> {
    for (const status of ["pending", "initializing", "running"]) files.happened(status);
    const environment = environmentOf(yaml, run.organization, this.store.state);
    for (const line of await writeResults(this.s3Url, stepsOf(yaml), environment)) files.say(line);
    files.happened("completed");
  }

  private execute(run: RunRecord, yaml: RunYaml, files: RunFiles): void {
    const { state, directory } = this.store;
    const imports = Object.entries(yaml.import).map(([path, place]) => {
      const volume = volumeOf(place);
      const record = state.volumes.find((one) => one.storage === volume?.storage && one.name === volume.name);
      const storage = STORAGES.find(({ name }) => name === volume?.storage);
      return { path, place: JSON.stringify(place), bucket: storage?.bucket, prefix: record?.prefix };
    });
    const assignment: Assignment = {
      state: directory,
      run: run.id,
      s3Url: this.s3Url,
      paceMs: PACE_MS,
      imports,
      steps: stepsOf(yaml),
      environment: environmentOf(yaml, run.organization, state),
    };
    const node = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", NODE], {
      detached: true,
      stdio: ["pipe", "ignore", "inherit"],
      env: cleanEnvironment({}),
    });
    // Secrets go through the pipe: nothing of them is in a file or on a command line.
    node.stdin?.end(JSON.stringify(assignment));
    node.unref();
    this.starting.add(files.directory);
  }

  private noticeLostNode(files: RunFiles): void {
    const node = files.node();
    if (node !== undefined && !node.alive && !files.isOver) files.happened("failed", "Node is lost");
  }
}

const parsed = new WeakMap<RunRecord, RunYaml>();
function yamlOf(run: RunRecord): RunYaml {
  const known = parsed.get(run) ?? parseRunYaml(run.yaml);
  parsed.set(run, known);
  return known;
}
