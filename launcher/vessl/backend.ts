/**
 * The GPU cloud: volumes, uploads and runs by its HTTP API, checkpoints in the stack's bucket. A preview works without a login; it
 * then warns of what it could not look at.
 */
import type {
  Backend,
  Completion,
  Findings,
  OwnedVolume,
  RunSpec,
  RunState,
  VolumeRef,
  VolumeState,
} from "../backend.ts";
import type { CloudPlace } from "../by-place.ts";
import { messageOf } from "../errors.ts";
import type { Manifest } from "../manifest.ts";
import { Once } from "../once.ts";
import { S3Prefix } from "../s3/prefix.ts";
import { UNKNOWN } from "../values.ts";
import type { VesslApi } from "./api.ts";
import { presetProblem, unknownCluster } from "./offers.ts";
import { runYaml } from "./run-yaml.ts";
import { VesslRuns } from "./runs.ts";
import { TOKEN_REMEDY } from "./token.ts";
import { storageProblem, VesslVolumes } from "./volumes.ts";

/** Of a run that trains for days: often at first, when it may fail, then four times a minute. */
const POLL = { firstMs: 1000, factor: 1.5, longestMs: 15_000 } as const;
const DEFAULT_WEB_HOST = "https://app.vessl.ai";

export interface VesslBackendOptions {
  readonly place: CloudPlace;
  /** Undefined without a token: nothing can be asked or done. */
  readonly api: VesslApi | undefined;
  /** Directory for what an interrupted upload must know to go on. */
  readonly journal: string;
  /** Directory of the hashes of local files. */
  readonly hashCache: string;
  /** Where people look at runs. @default VESSL_WEB_HOST, or the vendor's */
  readonly webHost?: string;
}

export class VesslBackend implements Backend {
  private readonly place: CloudPlace;
  private readonly maybeApi: VesslApi | undefined;
  private readonly maybeVolumes: VesslVolumes | undefined;
  private readonly maybeRuns: VesslRuns | undefined;
  /** Asked once a process: every run of the stack asks for these. */
  private readonly login = new Once(() => this.api.requireProject());
  private readonly clusters = new Once(() => this.api.clusters());
  private readonly buckets = new Map<string, S3Prefix>();
  private readonly examined = new Map<string, Once<string[]>>();
  private readonly storages = new Map<string, Once<string | undefined>>();
  private warned = false;

  constructor({ place, api, journal, hashCache, webHost }: VesslBackendOptions) {
    this.place = place;
    this.maybeApi = api;
    if (api === undefined) return;
    const web = webHost ?? process.env.VESSL_WEB_HOST ?? DEFAULT_WEB_HOST;
    this.maybeVolumes = new VesslVolumes(api, { region: place.region, journal, hashCache });
    this.maybeRuns = new VesslRuns(api, { webUrl: `${web}/${place.organization}/runs/${place.project}` });
  }

  async assertUsable(): Promise<void> {
    await this.login.get();
  }

  async examine({ cloud }: RunSpec): Promise<Findings> {
    if (cloud === undefined) return { problems: [], warnings: [] };
    if (this.maybeApi === undefined) {
      const warnings = this.warned
        ? []
        : [`whether cluster ${cloud.cluster} has preset ${cloud.preset} was not looked up: ${TOKEN_REMEDY}`];
      this.warned = true; // once a stack, not once a run
      return { problems: [], warnings };
    }
    try {
      await this.assertUsable();
      return { problems: await this.placeProblems(cloud.cluster, cloud.preset), warnings: [] };
    } catch (error) {
      return { problems: [messageOf(error)], warnings: [] };
    }
  }

  /** An outage is a warning: a volume that is not changed needs no storage to be looked up. */
  async examineVolume({ storage }: VolumeRef): Promise<Findings> {
    if (this.maybeApi === undefined) return { problems: [], warnings: [] };
    const question = this.storages.get(storage) ?? new Once(() => storageProblem(this.api, storage));
    this.storages.set(storage, question);
    try {
      const problem = await question.get();
      return { problems: problem === undefined ? [] : [problem], warnings: [] };
    } catch (error) {
      return { problems: [], warnings: [`storage ${storage} was not looked up: ${messageOf(error)}`] };
    }
  }

  /** Undefined as long as a base, whose secrets it names, is not known. */
  describe(spec: RunSpec): string | undefined {
    return (spec.cloud?.secrets as unknown) === UNKNOWN ? undefined : runYaml(spec);
  }

  pollMs(looks: number): number {
    return Math.min(POLL.firstMs * POLL.factor ** looks, POLL.longestMs);
  }

  checkpointUri(stack: string, pipeline: string, fingerprint: string): string {
    return `s3://${this.place.bucket}/${this.place.checkpoints}${stack}/${pipeline}/${fingerprint}`;
  }

  readVolume(volume: VolumeRef): Promise<VolumeState | undefined> {
    return this.volumes.read(volume);
  }

  ensureVolume(volume: VolumeState): Promise<void> {
    return this.volumes.ensure(volume);
  }

  deleteVolume(volume: OwnedVolume, force = false): Promise<boolean> {
    return this.volumes.delete(volume, force);
  }

  missingFiles(volume: VolumeRef, manifest: Manifest): Promise<string[]> {
    return this.volumes.missing(volume, manifest);
  }

  upload(volume: VolumeRef, source: string, manifest: Manifest, progress: (bytes: number) => void): Promise<void> {
    return this.volumes.upload(volume, source, manifest, progress);
  }

  findRun(stack: string, name: string): Promise<RunState | undefined> {
    return this.runs.find(stack, name);
  }

  activeRuns(stack: string): Promise<RunState[]> {
    return this.runs.active(stack);
  }

  submit(spec: RunSpec): Promise<RunState> {
    return this.runs.submit(spec);
  }

  terminate(stack: string, name: string, reason: string, byHand = false): Promise<void> {
    return this.runs.terminate(stack, name, reason, byHand);
  }

  logTail(stack: string, name: string, lines: number): Promise<string[]> {
    return this.runs.logTail(stack, name, lines);
  }

  clearCancellation(stack: string, name: string): Promise<void> {
    return this.runs.clearCancellation(stack, name);
  }

  async readCompletion(uri: string): Promise<Completion | undefined> {
    const { bucket, key } = parseUri(uri);
    const text = await this.bucketOf(bucket).read(`${key}/COMPLETED.json`);
    try {
      return text === undefined ? undefined : JSON.parse(text);
    } catch {
      return undefined; // torn, and as good as not written
    }
  }

  /** A critic named by a path is in a volume whose upload knows its content; only those in a bucket are looked for. */
  async hasCheckpoint(uri: string): Promise<boolean> {
    if (!uri.startsWith("s3://")) return true;
    const { bucket, key } = parseUri(uri);
    return this.bucketOf(bucket).exists(key);
  }

  /** Asked once for each preset: all runs of a stack are on one cluster. */
  private placeProblems(cluster: string, preset: string): Promise<string[]> {
    const key = JSON.stringify([cluster, preset]);
    const question = this.examined.get(key) ?? new Once(() => this.findPlaceProblems(cluster, preset));
    this.examined.set(key, question);
    return question.get();
  }

  private async findPlaceProblems(cluster: string, preset: string): Promise<string[]> {
    const clusters = await this.clusters.get();
    const found = clusters.find(({ name }) => name === cluster);
    if (found === undefined) return [unknownCluster(cluster, clusters)];
    const problem = presetProblem(cluster, preset, await this.api.presets(found.id));
    return problem === undefined ? [] : [problem];
  }

  /** One for each bucket, whose connections all runs share. */
  private bucketOf(bucket: string): S3Prefix {
    const { region } = this.place;
    const known = this.buckets.get(bucket) ?? new S3Prefix(async () => ({ bucket, prefix: "", region }));
    this.buckets.set(bucket, known);
    return known;
  }

  /** @throws Error without a token. */
  get api(): VesslApi {
    return this.maybeApi ?? withoutToken();
  }

  private get volumes(): VesslVolumes {
    return this.maybeVolumes ?? withoutToken();
  }

  private get runs(): VesslRuns {
    return this.maybeRuns ?? withoutToken();
  }
}

function withoutToken(): never {
  throw new Error(`there is no login for the GPU cloud: ${TOKEN_REMEDY}`);
}

function parseUri(uri: string): { bucket: string; key: string } {
  const [, bucket, key] = /^s3:\/\/([^/]+)\/(.+)$/.exec(uri) ?? [];
  if (bucket === undefined || uri.includes(UNKNOWN)) throw new Error(`${uri} is not of the form s3://bucket/key`);
  return { bucket, key: key as string };
}
