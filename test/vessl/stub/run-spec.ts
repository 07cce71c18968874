/** A run's YAML as the server reads it: what it is made of, and what is refused. */
import { parse } from "yaml";
import { z } from "zod";
import { type Field, invalid, notFound } from "./answers.ts";
import type { State } from "./state.ts";
import { CLUSTERS, STORAGES } from "./world.ts";

const TEXT = z.string();
/** `volume://STORAGE/VOLUME`, `git://...`, or the same in a mapping with the scheme as its key. */
const PLACE = z.union([TEXT, z.record(TEXT, z.unknown())]);
const ENV = z.union([
  TEXT,
  z.strictObject({ source: z.literal("text").optional(), value: TEXT }),
  z.strictObject({ source: z.literal("secret").optional(), secret: TEXT }),
]);
const STEP = z.union([
  z.strictObject({ command: TEXT, workdir: TEXT.optional() }),
  z.strictObject({ wait: z.string().regex(/^\d+(s|m|h)$/) }),
]);
const PORT = z.union([
  z.number().int(),
  z.strictObject({ name: TEXT, type: z.enum(["http", "tcp", "udp"]), port: z.number().int() }),
]);
const RUN = z.strictObject({
  name: z.string().min(1),
  description: TEXT.optional(),
  tags: z.array(TEXT).default([]),
  resources: z.strictObject({
    cluster: TEXT.optional(),
    preset: TEXT.optional(),
    node_names: z.array(TEXT).optional(),
    requests: z.record(TEXT, z.unknown()).optional(),
    spot: z.boolean().optional(),
  }),
  image: z.union([TEXT, z.strictObject({ url: TEXT, credential_name: TEXT.optional() })]),
  import: z.record(TEXT, PLACE).default({}),
  mount: z.record(TEXT, PLACE).default({}),
  export: z.record(TEXT, PLACE).default({}),
  env: z.record(TEXT, ENV).default({}),
  run: z.union([TEXT, z.array(STEP)]).default([]),
  ports: z.array(PORT).default([]),
  interactive: z.record(TEXT, z.unknown()).optional(),
  service_account_name: TEXT.default(""),
  termination_protection: z.boolean().default(false),
});

export type RunYaml = z.infer<typeof RUN>;

/** @throws 400 for what the server does not take, 404 for a volume that is not there. */
export function readRunYaml(text: string, organization: string, state: State): RunYaml {
  const run = parseRunYaml(text);
  checkResources(run.resources);
  for (const [path, place] of Object.entries(run.mount)) {
    const volume = volumeOf(place);
    if (volume !== undefined && STORAGES.find(({ name }) => name === volume.storage)?.type !== "cluster-nfs")
      throw invalid("Invalid parameters", { name: `mount.${path}`, value: volume.name, message: "not mountable" });
  }
  for (const place of Object.values(run.import)) {
    const volume = volumeOf(place);
    const known = state.volumes.some(
      (one) => one.organization === organization && one.storage === volume?.storage && one.name === volume.name,
    );
    if (volume !== undefined && !known) throw notFound(`volume ${volume.storage}/${volume.name}`);
  }
  for (const [name, value] of Object.entries(run.env)) {
    if (typeof value === "string" || !("secret" in value)) continue;
    if (!state.secrets.some((one) => one.organization === organization && one.name === value.secret))
      throw invalid("Invalid parameters", { name: `env.${name}`, value: value.secret, message: "no such secret" });
  }
  return run;
}

/** @throws 400 for what is no run, whatever there is around it. */
export function parseRunYaml(text: string): RunYaml {
  let content: unknown;
  try {
    content = parse(text);
  } catch (error) {
    throw invalid(`yaml: ${String(error)}`);
  }
  const parsed = RUN.safeParse(content);
  if (parsed.success) return parsed.data;
  const fields: Field[] = parsed.error.issues.map(({ path, message }) => ({
    name: path.join("."),
    value: "",
    message,
  }));
  throw invalid("Invalid parameters", ...fields);
}

/** The cluster and the preset that a run gets; the first of each when it names none. */
export function placeOf({ cluster, preset }: RunYaml["resources"]) {
  const chosen = CLUSTERS.find(({ name }) => cluster === undefined || name === cluster);
  return { cluster: chosen, preset: chosen?.presets.find(({ name }) => name === preset) };
}

function checkResources(resources: RunYaml["resources"]): void {
  const { cluster, preset } = placeOf(resources);
  const refuse = (name: "cluster" | "preset") =>
    invalid("Invalid parameters", {
      name: `resources.${name}`,
      value: resources[name] ?? "",
      message: `no such ${name}`,
    });
  if (cluster === undefined) throw refuse("cluster");
  if (preset === undefined && (resources.preset !== undefined || resources.requests === undefined))
    throw refuse("preset");
}

/** The volume that `import`, `mount` or `export` speaks of; undefined when it speaks of something else. */
export function volumeOf(place: RunYaml["import"][string]): { storage: string; name: string } | undefined {
  if (typeof place === "string") {
    const match = /^volume:\/\/([^/]+)\/([^/]+)$/.exec(place);
    return match === null ? undefined : { storage: match[1] as string, name: match[2] as string };
  }
  if (!("volume" in place)) return undefined;
  const { storage_name, volume_name } = place.volume as { storage_name: string; volume_name: string };
  return { storage: storage_name, name: volume_name };
}

export function stepsOf({ run }: RunYaml): { command?: string; workdir?: string; wait?: string }[] {
  return typeof run === "string" ? [{ command: run }] : run;
}

/** The container's environment. A secret that is gone meanwhile is empty. */
export function environmentOf(run: RunYaml, organization: string, state: State): Record<string, string> {
  const secret = (name: string) =>
    state.secrets.find((one) => one.organization === organization && one.name === name)?.value ?? "";
  return Object.fromEntries(
    Object.entries(run.env).map(([name, value]) => [
      name,
      typeof value === "string" ? value : "secret" in value ? secret(value.secret) : value.value,
    ]),
  );
}
