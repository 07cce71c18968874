/** Storages, their volumes, the volumes' tags, and temporary credentials for what is in them. */
import { z } from "zod";
import { projectsOf } from "./accounts.ts";
import { exists, invalid, notFound, page } from "./answers.ts";
import { parseBody } from "./body.ts";
import type { Routes } from "./routes.ts";
import type { Sessions } from "./sessions.ts";
import type { Store, VolumeRecord } from "./state.ts";
import { REGION, STORAGES, type Storage } from "./world.ts";

const MADE = "2025-01-02T03:04:05.000000Z";
const TAGS = z.array(z.object({ name: z.string().min(1) }));
const CREATE = z.object({ volume_name: z.string().regex(/^[a-z0-9][a-z0-9._-]{0,62}$/i), tags: TAGS.default([]) });
const FEDERATE = z.object({ federation_type: z.enum(["read", "write"]) });
const IDS = z.array(z.number().int()).min(1);
const ADD_TAGS = z.object({ tags: TAGS.min(1), volume_v2_ids: IDS });
const REMOVE_TAGS = z.object({ tag_names: z.array(z.string()).min(1), volume_v2_ids: IDS });

const O = "/organizations/{organization}";
const VOLUMES = `${O}/storages/{storage}/volumes`;

/** @param s3Url where the storages of type s3 are. */
export function storageRoutes(routes: Routes, store: Store, sessions: Sessions, s3Url: () => string): void {
  const { state } = store;
  type Path = Readonly<Record<string, string>>;
  const volumesOf = (path: Path) => {
    const { name } = requireStorage(path);
    return state.volumes.filter(({ organization, storage }) => organization === path.organization && storage === name);
  };
  const requireVolume = (path: Path): VolumeRecord => {
    const volume = volumesOf(path).find(({ name }) => name === path.volume);
    if (volume === undefined) throw notFound("volume");
    return volume;
  };
  const requireVolumes = (path: Path, ids: readonly number[]) => {
    const found = volumesOf(path).filter(({ id }) => ids.includes(id));
    if (found.length !== new Set(ids).size) throw notFound("volume");
    return found;
  };

  routes
    .on("GET", `${O}/storages`, ({ path, query }) => {
      projectsOf(path);
      const { results, page_info } = page(
        STORAGES.filter(({ managed }) => !managed),
        query,
      );
      const managed = STORAGES.filter(({ managed }) => managed).map(storageOf);
      return { managed: managed[0], managedList: managed, external: { results: results.map(storageOf), page_info } };
    })
    .on("GET", VOLUMES, ({ path, query }) => {
      const keyword = query.get("keyword") ?? "";
      const newestFirst = volumesOf(path).reverse();
      const { results, page_info } = page(
        newestFirst.filter(({ name }) => name.includes(keyword)),
        query,
      );
      return { results: results.map(volumeOf), page_info };
    })
    .on("POST", VOLUMES, ({ path, body }) => {
      const { volume_name: name, tags } = parseBody(CREATE, body);
      if (volumesOf(path).some((volume) => volume.name === name)) throw exists(`volume ${name}`);
      const id = store.newId();
      const volume: VolumeRecord = {
        id,
        organization: path.organization as string,
        storage: path.storage as string,
        name,
        prefix: `volumes/${id}`,
        tags: [...new Set(tags.map((tag) => tag.name))],
        createdAt: new Date().toISOString(),
      };
      state.volumes.push(volume);
      store.save();
      return volumeOf(volume);
    })
    .on("POST", `${VOLUMES}/tags/create`, ({ path, body }) => {
      const { tags, volume_v2_ids } = parseBody(ADD_TAGS, body);
      for (const volume of requireVolumes(path, volume_v2_ids))
        volume.tags = [...new Set([...volume.tags, ...tags.map(({ name }) => name)])];
      store.save();
      return {};
    })
    .on("POST", `${VOLUMES}/tags/delete`, ({ path, body }) => {
      const { tag_names, volume_v2_ids } = parseBody(REMOVE_TAGS, body);
      for (const volume of requireVolumes(path, volume_v2_ids))
        volume.tags = volume.tags.filter((tag) => !tag_names.includes(tag));
      store.save();
      return {};
    })
    .on("GET", `${VOLUMES}/{volume}`, ({ path }) => volumeOf(requireVolume(path)))
    .on("DELETE", `${VOLUMES}/{volume}`, ({ path }) => {
      const gone = requireVolume(path);
      state.volumes = state.volumes.filter((volume) => volume !== gone);
      store.save();
      return {};
    })
    .on("POST", `${VOLUMES}/{volume}/federate`, ({ path, body }) => {
      const { federation_type } = parseBody(FEDERATE, body);
      const storage = requireStorage(path);
      const volume = requireVolume(path);
      if (storage.type === "cluster-nfs") throw invalid("unsupported storage type cluster-nfs");
      const common = { type: storage.type, bucket_name: storage.bucket, path: volume.prefix };
      if (storage.type === "gcs") return { ...common, gcs_token: { base64_credentials: btoa("{}") } };
      const session = sessions.issue({
        bucket: storage.bucket,
        prefix: volume.prefix,
        write: federation_type === "write",
      });
      return {
        ...common,
        region: REGION,
        endpoint: s3Url(),
        force_path_style: true,
        s3_token: {
          access_key_id: session.accessKeyId,
          secret_access_key: session.secretAccessKey,
          session_token: session.token,
          expiration: new Date(session.expiresAt).toISOString(),
        },
      };
    });
}

function requireStorage(path: Readonly<Record<string, string>>): Storage {
  projectsOf(path);
  const storage = STORAGES.find(({ name }) => name === path.storage);
  if (storage === undefined) throw notFound("storage");
  return storage;
}

const storageOf = ({ id, name, type, managed, bucket }: Storage) => ({
  id,
  name,
  type,
  is_vessl_managed: managed,
  config: {
    s3_config: type === "s3" ? { bucket_name: bucket, base_path: "/" } : null,
    gcs_config: type === "gcs" ? { bucket_name: bucket, base_path: "/" } : null,
    cluster_nfs_config: type === "cluster-nfs" ? { host: "10.0.0.9", base_path: "/exports" } : null,
  },
  created_dt: MADE,
  updated_dt: MADE,
});

const volumeOf = ({ id, name, tags, createdAt }: VolumeRecord) => ({
  id,
  name,
  tags: tags.map((tag, index) => ({ id: id * 1000 + index, name: tag, color: "#888888" })),
  read_only: false,
  is_auto_created: false,
  created_by_username: "stub",
  sub_path: "",
  created_dt: createdAt,
  updated_dt: createdAt,
});
