/**
 * A base on the GPU cloud's stub, for experiments on it: models in the bucket, data in a volume, the outputs that its `up` would leave
 * in the state, and its stack file. Its infrastructure has tests of its own (test/host).
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import { hashSubtrees, manifestOf } from "../../launcher/manifest.ts";
import { VesslApi } from "../../launcher/vessl/api.ts";
import { VesslBackend } from "../../launcher/vessl/backend.ts";
import { VesslHttp } from "../../launcher/vessl/http.ts";
import { CLOUD_IMAGE, importOutputs, putSecrets } from "./cloud-stack.ts";
import { EngineStack } from "./engine-stack.ts";
import { stackFile } from "./stack-config.ts";
import type { VesslCloud } from "./vessl-cloud.ts";

const BASE = "prod";
const DATASETS = { storage: "vessl-storage", name: "weighted-mtp-datasets" };
const MODELS = { storage: "s3://wmtp", name: "models" };

export class CloudBase {
  /** Owner of the project that experiments are made beside; never deployed itself. */
  readonly holder: EngineStack;
  /** What the base exports now. */
  outputs: Record<string, unknown> = {};

  private constructor(holder: EngineStack) {
    this.holder = holder;
  }

  static async make(cloud: VesslCloud): Promise<CloudBase> {
    const holder = new EngineStack("holder", { from: "minitest-vessl", env: cloud.env });
    const base = new CloudBase(holder);
    const prod = stackFile("prod").config;
    base.writeFile({
      ...prod,
      "wmtp:launcher": { vessl: { organization: cloud.organization, project: cloud.project } },
      "wmtp:models": { base: "tiny-mtp", reference: "tiny-reference" },
      "wmtp:overrides": {
        "data.train": "humaneval/processed/train.jsonl",
        "data.valid": "humaneval/processed/valid.jsonl",
        "training.seed": 2, // a fifth of a second of the stand-in trainer
      },
    });
    holder.onStack(BASE, "stack", "init");
    base.export({
      region: "eu-north-1",
      bucket: "wmtp",
      trackerUrl: "http://127.0.0.1:1",
      trackerCaCertificate: "",
      image: CLOUD_IMAGE,
      runSecrets: ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"],
      modelsVolume: MODELS,
      datasetsVolume: DATASETS,
      modelsDelivery: "s3",
      ...(await fill(cloud, holder)),
    });
    await putSecrets(cloud);
    return base;
  }

  writeFile(config: Readonly<Record<string, unknown>>): void {
    writeFileSync(join(this.holder.project, `Pulumi.${BASE}.yaml`), stringify({ config }));
  }

  /** Deploys the base with these outputs on top of those that it has; undefined takes one away. */
  export(outputs: Readonly<Record<string, unknown>>): void {
    this.outputs = Object.fromEntries(
      Object.entries({ ...this.outputs, ...outputs }).filter(([, value]) => value !== undefined),
    );
    importOutputs(this.holder, BASE, this.outputs);
  }

  dispose(): void {
    this.holder.dispose();
  }
}

/** Brings models and data to where the base's `up` would, and says their hashes. */
async function fill(cloud: VesslCloud, { root }: EngineStack): Promise<{ models: unknown; datasets: unknown }> {
  const http = new VesslHttp(cloud.token, { base: cloud.url });
  const options = { journal: join(root, "uploads"), hashCache: join(root, "hashes") };
  const api = new VesslApi(http, cloud.organization, cloud.project);
  const backend = new VesslBackend({ place: cloud.place, api, ...options });
  const outer = { ...process.env };
  Object.assign(process.env, cloud.env);
  try {
    await backend.ensureVolume({ ...DATASETS, tags: [], owner: BASE });
    const hashes: Record<string, unknown> = {};
    for (const [kind, volume] of Object.entries({ models: MODELS, datasets: DATASETS })) {
      const source = join(root, "sources", kind);
      const manifest = await manifestOf(source, options.hashCache);
      await backend.upload(volume, source, manifest, () => undefined);
      hashes[kind] = hashSubtrees(manifest);
    }
    return { models: hashes.models, datasets: hashes.datasets };
  } finally {
    process.env = outer;
  }
}
