/** The GPU cloud's backend on a stub of the cloud that executes runs, with a real S3 server behind it. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { RunSpec } from "../../launcher/backend.ts";
import { VesslApi } from "../../launcher/vessl/api.ts";
import { VesslBackend } from "../../launcher/vessl/backend.ts";
import { VesslHttp } from "../../launcher/vessl/http.ts";
import type { BackendUnderTest } from "../contract/backend-contract.ts";
import { VesslCloud } from "../support/vessl-cloud.ts";

const DATASETS = { storage: "disk", name: "datasets" };

export async function makeVessl(): Promise<BackendUnderTest> {
  const cloud = await VesslCloud.start();
  const home = mkdtempSync(join(tmpdir(), "wmtp-vessl-home-"));
  const outer = { ...process.env };
  Object.assign(process.env, cloud.env);
  const { place } = cloud;
  const api = new VesslApi(new VesslHttp(cloud.token), place.organization, place.project);
  const options = { journal: join(home, "uploads"), hashCache: join(home, "hashes"), webHost: cloud.url };
  const backend = new VesslBackend({ place, api, ...options });
  await backend.ensureVolume({ ...DATASETS, tags: [] });
  for (const variable of ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] as const) {
    await api.upsertSecret(variable, cloud.env[variable] as string);
  }
  return {
    backend,
    files: async ({ storage, name }) => cloud.volumeFiles(storage, name),
    takes: (spec, seconds) => onCloud(spec, seconds),
    async failWith(_stack, pipeline, text) {
      const file = join(cloud.standIn, `${pipeline}.fail`);
      if (text === undefined) rmSync(file);
      else writeFileSync(file, text);
    },
    async dispose() {
      await cloud.dispose();
      rmSync(home, { recursive: true, force: true });
      process.env = outer;
    },
  };
}

/** What a run on the stub takes, on top of what the contract says. */
export function onCloud(spec: RunSpec, seconds: number): RunSpec {
  return {
    ...spec,
    trainerConfig: { ...spec.trainerConfig, training: { seed: seconds * 10 } },
    volumes: { models: DATASETS, datasets: DATASETS },
    image: `ghcr.io/my-org/wmtp@sha256:${"a".repeat(64)}`,
    cloud: {
      cluster: "vessl-kr-a100-80g-sxm",
      preset: "gpu-a100-80g-small",
      delivery: "volume",
      env: { AWS_DEFAULT_REGION: "eu-north-1" },
      secrets: { AWS_ACCESS_KEY_ID: "AWS_ACCESS_KEY_ID", AWS_SECRET_ACCESS_KEY: "AWS_SECRET_ACCESS_KEY" },
    },
  };
}
