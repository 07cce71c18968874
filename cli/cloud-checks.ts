/** What `wmtp doctor` asks the GPU cloud; nothing is changed there. */
import type { VolumeRef } from "../launcher/backend.ts";
import { login } from "../launcher/backends.ts";
import { messageOf } from "../launcher/errors.ts";
import { ApiError, type Cluster, type Me, type VesslApi } from "../launcher/vessl/api.ts";
import { apiBase } from "../launcher/vessl/http.ts";
import { presetProblem, unknownCluster } from "../launcher/vessl/offers.ts";
import { TOKEN_REMEDY } from "../launcher/vessl/token.ts";
import { requireStorage } from "../launcher/vessl/volumes.ts";
import type { Checks } from "./checks.ts";

/** What a stack file asks of the GPU cloud. */
export interface Wanted {
  readonly organization: string;
  readonly project: string;
  readonly cluster: string;
  /** Enabled pipelines by the preset that they would use. */
  readonly presets: ReadonlyMap<string, readonly string[]>;
  readonly volumes: readonly VolumeRef[];
  /** How a volume that is missing comes; undefined: by this stack's `up`. */
  readonly volumesRemedy: string | undefined;
  /** Secrets that the runs name, or why that is not known. `remedy`: how one that is missing comes; undefined: by this stack's `up`. */
  readonly secrets:
    | { readonly names: readonly string[]; readonly remedy: string | undefined }
    | { readonly problem: string };
}

/** A person waits: a service that does not answer is given up sooner than by an update. */
const TIMING = {
  attemptMs: 15_000,
  attempts: 3,
  totalMs: 20_000,
  backoff: { firstMs: 500, factor: 2, longestMs: 2000 },
} as const;
const ON_PLACE = ["project", "cluster", "preset", "storage", "volume", "secret"] as const;
const MADE_LATER = "is not there yet: pulumi up will make it";

/** @param wanted undefined where the stack file has problems: then only the login is looked at. */
export async function checkCloud(checks: Checks, wanted: Wanted | undefined): Promise<void> {
  const api = await checkLogin(checks, wanted);
  const rest = ["organization", ...ON_PLACE];
  if (api === undefined) return checks.skip(rest, "needs a login that works");
  if (wanted === undefined) {
    const known = await api.organizations().catch(() => []);
    const yours = known.length === 0 ? "" : `; your organizations: ${known.join(", ")}`;
    return checks.skip(rest, `correct the stack file first${yours}`);
  }
  const found = await checks.look("organization", async () => {
    await api.requireOrganization();
    return wanted.organization;
  });
  if (!found) return checks.skip(ON_PLACE, "needs the organization");
  await checks.look("project", async () => {
    await api.requireProject();
    return wanted.project;
  });
  await checkCluster(checks, api, wanted);
  await checkVolumes(checks, api, wanted);
  await checkSecrets(checks, api, wanted);
}

/** Host, login and product; undefined where nothing further can be asked. */
async function checkLogin(checks: Checks, wanted: Wanted | undefined): Promise<VesslApi | undefined> {
  let host: string;
  let api: VesslApi | undefined;
  try {
    host = `${apiBase()}${process.env.VESSL_API_HOST ? " (VESSL_API_HOST)" : ""}`;
  } catch (error) {
    checks.add("host", "failed", messageOf(error));
    checks.skip(["login", "product"], "needs the host");
    return undefined;
  }
  try {
    api = login({ organization: wanted?.organization ?? "", project: wanted?.project ?? "" }, { timing: TIMING });
  } catch (error) {
    checks.add("host", "not checked", `${host}: needs a token`);
    checks.add("login", "failed", messageOf(error));
    checks.skip(["product"], "needs a token");
    return undefined;
  }
  if (api === undefined) {
    checks.add("host", "not checked", `${host}: needs a token`);
    checks.add("login", "failed", `there is no token: ${TOKEN_REMEDY}`);
    checks.skip(["product"], OTHER_PRODUCT);
    return undefined;
  }
  try {
    const me = await api.me();
    checks.add("host", "ok", host);
    checks.add("login", "ok", nameOf(me));
    checks.add("product", "ok", "VESSL (app.vessl.ai, client `vessl`): its API accepts the token");
    return api;
  } catch (error) {
    if (error instanceof ApiError) {
      checks.add("host", "ok", host);
      checks.add("login", "failed", messageOf(error));
      checks.skip(["product"], error.status === 401 ? OTHER_PRODUCT : "needs a login that works");
    } else {
      checks.add("host", "failed", messageOf(error));
      checks.skip(["login", "product"], "needs the host");
    }
    return undefined;
  }
}

/** The vendor has two, and a login of one says nothing to the other. */
const OTHER_PRODUCT =
  "the vendor has two: runs go to VESSL (app.vessl.ai, client `vessl`). If you log in at cloud.vessl.ai, with the client `vesslctl`, " +
  "yours is VESSL Cloud, whose tokens are not known here and which this project cannot use: get an account of app.vessl.ai";

function nameOf({ username, email }: Me): string {
  return email === "" ? username : `${username} (${email})`;
}

async function checkCluster(checks: Checks, api: VesslApi, { cluster, presets: used }: Wanted): Promise<void> {
  let found: Cluster | undefined;
  await checks.look("cluster", async () => {
    const clusters = await api.clusters();
    found = clusters.find(({ name }) => name === cluster);
    if (found === undefined) throw new Error(unknownCluster(cluster, clusters));
    return found.status === "" ? cluster : `${cluster} (${found.status})`;
  });
  if (used.size === 0) return checks.skip(["preset"], "no pipeline is enabled");
  if (found === undefined) return checks.skip(["preset"], "needs the cluster");
  const presets = api.presets(found.id);
  for (const [preset, pipelines] of used) {
    await checks.look("preset", async () => {
      const problem = presetProblem(cluster, preset, await presets);
      if (problem !== undefined) throw new Error(`${problem} (for ${pipelines.join(", ")})`);
      return `${preset}, for ${pipelines.join(", ")}`;
    });
  }
}

async function checkVolumes(checks: Checks, api: VesslApi, { volumes, volumesRemedy }: Wanted): Promise<void> {
  if (volumes.length === 0) return checks.skip(["storage", "volume"], "no pipeline is enabled");
  for (const storage of new Set(volumes.map((volume) => volume.storage))) {
    const found = await checks.look("storage", async () => {
      await requireStorage(api, storage);
      return storage;
    });
    const inside = volumes.filter((volume) => volume.storage === storage);
    if (!found)
      checks.skip(
        inside.map(() => "volume"),
        `needs the storage ${storage}`,
      );
    for (const { name } of found ? inside : []) {
      await checks.look("volume", async () => {
        const volume = await api.volume(storage, name);
        if (volume !== undefined) return `${storage}/${name} is there`;
        if (volumesRemedy === undefined) return `${storage}/${name} ${MADE_LATER}`;
        throw new Error(`${storage}/${name} is not there: ${volumesRemedy}`);
      });
    }
  }
}

async function checkSecrets(checks: Checks, api: VesslApi, { secrets }: Wanted): Promise<void> {
  if ("problem" in secrets) return checks.add("secret", "failed", secrets.problem);
  if (secrets.names.length === 0) return checks.skip(["secret"], "the runs name none");
  const there = api.secrets().then((all) => new Set(all.map(({ name }) => name)));
  for (const name of secrets.names) {
    await checks.look("secret", async () => {
      if ((await there).has(name)) return `${name} is there`;
      if (secrets.remedy === undefined) return `${name} ${MADE_LATER}`;
      throw new Error(`${name} is not among the organization's secrets: ${secrets.remedy}`);
    });
  }
}
