/** A stack of one test on the GPU cloud's stub: minitest-vessl, on a base that has a bucket, a tracker and secrets. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { secretName } from "../../components/run-access.ts";
import { VesslApi } from "../../launcher/vessl/api.ts";
import { VesslHttp } from "../../launcher/vessl/http.ts";
import { EngineStack, type EngineStackOptions } from "./engine-stack.ts";
import type { VesslCloud } from "./vessl-cloud.ts";

const BASE = "prod";
export const CLOUD_IMAGE = `ghcr.io/my-org/wmtp@sha256:${"a".repeat(64)}`;

export interface CloudStackOptions extends Omit<EngineStackOptions, "from"> {
  /** Where runs log to. @default an address where nobody answers */
  readonly trackerUrl?: string;
}

export async function makeCloudStack(
  name: string,
  cloud: VesslCloud,
  { trackerUrl = "http://127.0.0.1:1", config, env, ...options }: CloudStackOptions = {},
): Promise<EngineStack> {
  const stack = new EngineStack(name, {
    from: "minitest-vessl",
    config: {
      "wmtp:launcher.vessl": { organization: cloud.organization, project: cloud.project },
      "wmtp:launcher.maxParallel": 5,
      ...config,
    },
    env: { ...cloud.env, ...env },
    ...options,
  });
  makeBase(stack, trackerUrl);
  await putSecrets(cloud);
  return stack;
}

/** What the base would export. Its infrastructure has tests of its own (test/host). */
function makeBase(stack: EngineStack, trackerUrl: string): void {
  const outputs = {
    region: "eu-north-1",
    bucket: "wmtp",
    trackerUrl,
    trackerCaCertificate: "",
    image: CLOUD_IMAGE,
    runSecrets: ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"],
  };
  stack.onStack(BASE, "stack", "init");
  importOutputs(stack, BASE, outputs);
}

/** Makes these the outputs of another stack of the same state. */
export function importOutputs(beside: EngineStack, stack: string, outputs: Readonly<Record<string, unknown>>): void {
  const urn = `urn:pulumi:${stack}::wmtp::pulumi:pulumi:Stack::wmtp-${stack}`;
  const file = join(beside.root, `${stack}.json`);
  const resource = { urn, custom: false, type: "pulumi:pulumi:Stack", outputs };
  const manifest = { time: "2026-01-01T00:00:00Z", magic: "", version: "" };
  writeFileSync(file, JSON.stringify({ version: 3, deployment: { manifest, resources: [resource] } }));
  beside.onStack(stack, "stack", "import", "--file", file);
}

/** The base's secrets, which its own update would have put there. */
export async function putSecrets(cloud: VesslCloud): Promise<void> {
  const http = new VesslHttp(cloud.token, { base: cloud.url });
  const api = new VesslApi(http, cloud.organization, cloud.project);
  for (const variable of ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] as const) {
    await api.upsertSecret(secretName(BASE, variable), cloud.env[variable] as string);
  }
}
