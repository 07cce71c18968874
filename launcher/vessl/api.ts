/** The calls of the GPU cloud's API that this project makes, typed and checked. */
import type { z } from "zod";
import { suggestion } from "../../components/config-problems.ts";
import { parseEvent } from "../trainer-events.ts";
import { AnswerLost, ApiError } from "./api-errors.ts";
import type { Cluster, Federation, Me, Preset, RunInfo, SecretInfo, StorageInfo, VolumeInfo } from "./api-schemas.ts";
import * as answers from "./api-schemas.ts";
import type { Call, VesslHttp } from "./http.ts";

export type { Cluster, Federation, Me, Preset, RunInfo, SecretInfo, StorageInfo, VolumeInfo };
export { AnswerLost, ApiError };

/** The API's own upper bound. */
const PAGE = 100;
/**
 * Rows asked for twice at a page's end: those that leave a list between two pages (a run that ended, one that was deleted) move the
 * rest up, past the place where the next page begins.
 */
const OVERLAP = 5;
/** A run in one of these does not come back. */
export const OVER: ReadonlySet<string> = new Set(["completed", "failed", "terminated", "stopped"]);

type Repeatable = Omit<Call, "idempotent">;

export class VesslApi {
  private readonly http: VesslHttp;
  private readonly organization: string;
  private readonly project: string;

  constructor(http: VesslHttp, organization: string, project: string) {
    this.http = http;
    this.organization = organization;
    this.project = project;
  }

  /** Requests sent so far, repeats included. */
  get callsMade(): number {
    return this.http.callsMade;
  }

  me(): Promise<Me> {
    return this.ask(answers.me, { method: "GET", path: "/accounts/me" });
  }

  /** Names of the organizations that the account belongs to. */
  async organizations(): Promise<string[]> {
    const answer = await this.ask(answers.organizations, { method: "GET", path: "/organizations" });
    return answer.organizations.map(({ name }) => name);
  }

  /** Names of the organization's projects. */
  async projects(): Promise<string[]> {
    const projects = await this.pages(answers.named, `${this.o}/projects`, {}, ({ name }) => name);
    return projects.map(({ name }) => name);
  }

  /** @throws Error that names the organizations that there are. */
  async requireOrganization(): Promise<void> {
    requireName("organization", this.organization, await this.organizations(), "wmtp:launcher.vessl.organization");
  }

  /** @throws Error that names the organizations, or the projects, that there are. */
  async requireProject(): Promise<void> {
    await this.requireOrganization();
    requireName("project", this.project, await this.projects(), "wmtp:launcher.vessl.project");
  }

  async clusters(): Promise<Cluster[]> {
    return (await this.ask(answers.clusters, { method: "GET", path: `${this.o}/clusters` })).clusters;
  }

  async presets(clusterId: string): Promise<Preset[]> {
    const path = `${this.o}/clusters/${segment(clusterId)}/resource_specs`;
    return (await this.ask(answers.presets, { method: "GET", path })).results;
  }

  async storages(): Promise<StorageInfo[]> {
    const path = `${this.o}/storages`;
    const first = await this.ask(answers.storages, { method: "GET", path, query: { limit: PAGE } });
    const own = [...(first.managed ? [first.managed] : []), ...first.managed_list];
    const external = first.external?.results ?? [];
    const total = first.external?.page_info?.total_count ?? external.length;
    for (let got = PAGE; external.length < total; got += PAGE) {
      const next = await this.ask(answers.storages, { method: "GET", path, query: { limit: PAGE, offset: got } });
      if (!next.external?.results.length) break;
      external.push(...next.external.results);
    }
    const rows = [
      ...own.map((row) => ({ ...row, managed: true })),
      ...external.map((row) => ({ ...row, managed: false })),
    ];
    return [...new Map(rows.map((row) => [row.name, row])).values()];
  }

  /** Undefined when there is no such volume. */
  volume(storage: string, name: string): Promise<VolumeInfo | undefined> {
    return orGone(this.ask(answers.volume, { method: "GET", path: this.volumePath(storage, name) }));
  }

  volumes(storage: string): Promise<VolumeInfo[]> {
    return this.pages(answers.volume, this.volumesPath(storage), {}, ({ id }) => id);
  }

  /** One that is there already is adopted as it is. */
  async createVolume(storage: string, name: string, tags: readonly string[]): Promise<void> {
    const body = { volume_name: name, tags: tags.map((tag) => ({ name: tag })) };
    try {
      await this.send({ method: "POST", path: this.volumesPath(storage), body });
    } catch (error) {
      if (!isStatus(error, 409)) throw error;
    }
  }

  /** With all that is in it. One that is not there is what was wanted. */
  async deleteVolume(storage: string, name: string): Promise<void> {
    await orGone(this.send({ method: "DELETE", path: this.volumePath(storage, name) }));
  }

  async addVolumeTags(storage: string, volumeId: string, tags: readonly string[]): Promise<void> {
    const body = { tags: tags.map((name) => ({ name })), volume_v2_ids: [Number(volumeId)] };
    await this.send({ method: "POST", path: `${this.volumesPath(storage)}/tags/create`, body });
  }

  async removeVolumeTags(storage: string, volumeId: string, tags: readonly string[]): Promise<void> {
    const body = { tag_names: tags, volume_v2_ids: [Number(volumeId)] };
    await this.send({ method: "POST", path: `${this.volumesPath(storage)}/tags/delete`, body });
  }

  /** Credentials, good for some time, for the object store behind a volume. */
  federate(storage: string, name: string, use: "read" | "write"): Promise<Federation> {
    const path = `${this.volumePath(storage, name)}/federate`;
    return this.ask(answers.federation, { method: "POST", path, body: { federation_type: use } });
  }

  /** The organization's generic secrets; the API does not show their values. */
  async secrets(): Promise<SecretInfo[]> {
    const call: Repeatable = { method: "GET", path: `${this.o}/secrets`, query: { kind: "generic-secret" } };
    return (await this.ask(answers.secrets, call)).secrets;
  }

  async upsertSecret(name: string, value: string): Promise<void> {
    const body = { secret_name: name, value };
    await this.send({ method: "POST", path: `${this.o}/secrets/generic_secret`, body, confidential: true });
  }

  /** One that is not there is what was wanted. */
  async deleteSecret(id: string): Promise<void> {
    await orGone(this.send({ method: "DELETE", path: `${this.o}/secrets/by_id/v2/${segment(id)}` }));
  }

  /** Newest first. @param statuses only runs in these. */
  async runs({ statuses }: { statuses?: readonly string[] } = {}): Promise<RunInfo[]> {
    const query: Record<string, string> = statuses === undefined ? {} : { statuses: statuses.join(",") };
    const runs = await this.pages(answers.run, `${this.p}/run_executions`, query, ({ id }) => id);
    return runs.sort((a, b) => b.createdAt - a.createdAt || Number(b.id) - Number(a.id));
  }

  /** Undefined when it was deleted. */
  run(id: string): Promise<RunInfo | undefined> {
    return orGone(this.ask(answers.run, { method: "GET", path: this.runPath(id) }));
  }

  /**
   * Submits a run; every call makes one more. Returns its id.
   * @throws AnswerLost when a run may have been made all the same: look for it before submitting again.
   */
  async createRun(yaml: string): Promise<string> {
    const call: Call = {
      method: "POST",
      path: `${this.p}/run/spec/create_from_yaml`,
      body: { yaml_spec: yaml },
      idempotent: false,
    };
    const answer = answers.createdRun.safeParse(await this.http.request(call));
    if (!answer.success) throw new AnswerLost(`POST ${call.path}`, "it names no run_execution.id");
    return answer.data.run_execution.id;
  }

  /** Sets the text that the web console shows beside a run. */
  async setRunMessage(id: string, message: string): Promise<void> {
    await this.send({ method: "PATCH", path: this.runPath(id), body: { message } });
  }

  /** Asks for the end of a run, and does not wait for it. One that is over, or gone, is what was wanted. */
  async terminateRun(id: string): Promise<void> {
    try {
      await this.send({ method: "POST", path: `${this.runPath(id)}/terminate` });
    } catch (error) {
      if (!isStatus(error, 400, 404, 409)) throw error;
      const run = await this.run(id);
      if (run !== undefined && !OVER.has(run.status)) throw error;
    }
  }

  /** The last `limit` lines, oldest first. A message may hold several. */
  async runLogs(id: string, limit: number): Promise<string[]> {
    const call: Repeatable = { method: "GET", path: `${this.runPath(id)}/logs`, query: { log_limit: limit } };
    const { logs } = await this.ask(answers.logs, call);
    const lines = logs.sort((a, b) => a.timestamp - b.timestamp).flatMap(({ message }) => linesOf(message));
    return limit > 0 ? lines.slice(-limit) : [];
  }

  /** Every row of a list, whatever the size of the server's pages, and each once: rows that are new move the rest down. */
  private async pages<T extends z.ZodType>(
    row: T,
    path: string,
    query: Readonly<Record<string, string>>,
    key: (row: z.output<T>) => string,
  ): Promise<z.output<T>[]> {
    const found = new Map<string, z.output<T>>();
    const schema = answers.page(row);
    for (let offset = 0; ; ) {
      const answer = await this.ask(schema, { method: "GET", path, query: { ...query, limit: PAGE, offset } });
      const rows = answer.results as z.output<T>[];
      const before = found.size;
      for (const one of rows) found.set(key(one), one);
      const total = answer.page_info?.total_count ?? undefined;
      // Without a count the end is a page that brings nothing new: also of a server that knows no offset.
      const ended = total === undefined ? found.size === before : offset + rows.length >= total;
      if (rows.length === 0 || ended) return [...found.values()];
      offset += Math.max(1, rows.length - OVERLAP);
    }
  }

  private async ask<T extends z.ZodType>(schema: T, call: Repeatable): Promise<z.output<T>> {
    const answer = schema.safeParse(await this.send(call));
    if (answer.success) return answer.data;
    const issue = answer.error.issues[0] as z.core.$ZodIssue;
    const field = issue.path.length === 0 ? "a JSON object" : issue.path.join(".");
    throw new Error(
      `the GPU cloud's answer to ${call.method} ${call.path} is not as expected (${field}: ${issue.message}): its API may have changed, see whether there is a newer version of this project`,
    );
  }

  private send(call: Repeatable): Promise<unknown> {
    return this.http.request({ ...call, idempotent: true });
  }

  private get o(): string {
    return `/organizations/${segment(this.organization)}`;
  }

  private get p(): string {
    return `${this.o}/projects/${segment(this.project)}`;
  }

  private volumesPath(storage: string): string {
    return `${this.o}/storages/${segment(storage)}/volumes`;
  }

  private volumePath(storage: string, name: string): string {
    return `${this.volumesPath(storage)}/${segment(name)}`;
  }

  private runPath(id: string): string {
    return `${this.p}/run_executions/${segment(id)}`;
  }
}

/** The cloud writes some line ends as a backslash and an n; in an event of the trainer's that is a part of its JSON. */
function linesOf(message: string): string[] {
  return message
    .replace(/(\r?\n|\\n)$/, "")
    .split(/\r?\n/)
    .flatMap((line) => (parseEvent(line) === undefined ? line.split("\\n") : [line]));
}

function requireName(kind: string, name: string, known: readonly string[], key: string): void {
  if (known.includes(name)) return;
  const near = suggestion(name, known);
  const among = known.length === 0 ? "you have none" : known.join(", ");
  throw new Error(
    `${kind} "${name}" is not among yours: ${among}; ${near.startsWith("did you mean") ? near : `set ${key}`}`,
  );
}

/** One part of a path, whatever the name holds: none leads to another endpoint. */
function segment(name: string): string {
  if (name === "" || name === "." || name === "..") throw new Error(`${JSON.stringify(name)} is no name: correct it`);
  return encodeURIComponent(name);
}

function isStatus(error: unknown, ...statuses: readonly number[]): boolean {
  return error instanceof ApiError && statuses.includes(error.status);
}

async function orGone<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (isStatus(error, 404)) return undefined;
    throw error;
  }
}
