/** Answers of the GPU cloud's API, as far as they are read. Unknown fields are ignored; one that is missing is named. */
import { z } from "zod";

/** Kept as text: real ids have 12 digits, and nobody computes with them. */
const id = z.union([z.string(), z.number().int()]).transform(String);
/** The API leaves out, or sends null for, what is empty. */
const text = z
  .string()
  .nullish()
  .transform((value) => value ?? "");
const list = <T extends z.ZodType>(of: T) =>
  z
    .array(of)
    .nullish()
    .transform((value) => value ?? []);
/** Milliseconds since 1970. The API writes ISO dates, which are UTC when they do not say. */
const date = z.string().transform((value, context) => {
  const milliseconds = Date.parse(/(Z|[+-]\d\d:?\d\d)$/i.test(value) ? value : `${value}Z`);
  if (Number.isNaN(milliseconds)) context.addIssue({ code: "custom", message: "is not a date" });
  return milliseconds;
});
const tagNames = list(z.object({ name: z.string() }).transform(({ name }) => name));

/** One page of a list. */
export const page = <T extends z.ZodType>(of: T) =>
  z.object({
    results: list(of),
    page_info: z.object({ total_count: z.number().nullish() }).nullish(),
  });

export const me = z.object({ username: z.string(), email: text });
export const named = z.object({ name: z.string() });
export const organizations = z.object({ organizations: list(named) });

export const cluster = z.object({ id, name: z.string(), status: text });
export const clusters = z.object({ clusters: list(cluster) });

export const preset = z
  .object({ id, name: z.string(), gpu_type: text, gpu_limit: z.number().nullish(), spot: z.boolean().nullish() })
  .transform(({ gpu_type, gpu_limit, spot, ...rest }) => ({
    ...rest,
    gpuType: gpu_type,
    gpuLimit: gpu_limit ?? 0,
    spot: spot ?? false,
  }));
export const presets = z.object({ results: list(preset) });

export const storage = z.object({ name: z.string(), type: text });
export const storages = z.object({
  managed: storage.nullish(),
  managed_list: list(storage),
  external: page(storage).nullish(),
});

export const volume = z.object({ id, name: z.string(), tags: tagNames });

export const federation = z
  .object({
    type: z.string(),
    bucket_name: z.string(),
    path: text,
    region: z.string().nullish(),
    endpoint: z.string().nullish(),
    force_path_style: z.boolean().nullish(),
    s3_token: z
      .object({
        access_key_id: z.string(),
        secret_access_key: z.string(),
        session_token: text,
        expiration: date.nullish(),
      })
      .nullish(),
  })
  .transform(({ type, bucket_name, path, region, endpoint, force_path_style, s3_token }) => ({
    type,
    bucket: bucket_name,
    /** Key prefix of the volume's files. */
    prefix: path,
    region: region || "ap-northeast-2",
    endpoint: endpoint || undefined,
    forcePathStyle: force_path_style ?? false,
    credentials: s3_token
      ? {
          accessKeyId: s3_token.access_key_id,
          secretAccessKey: s3_token.secret_access_key,
          sessionToken: s3_token.session_token || undefined,
        }
      : undefined,
    /** Milliseconds since 1970. */
    expiration: s3_token?.expiration ?? undefined,
  }));

export const secrets = z.object({
  secrets: list(
    z
      .object({ credentials_id: id, credentials_name: z.string() })
      .transform(({ credentials_id, credentials_name }) => ({ id: credentials_id, name: credentials_name })),
  ),
});

const history = z
  .object({ status: text, message: text, started_timestamp: z.number().nullish() })
  .transform(({ status, message, started_timestamp }) => ({
    status,
    message,
    /** Milliseconds since 1970; 0 when unknown. */
    startedAt: (started_timestamp ?? 0) * 1000,
  }));

export const run = z
  .object({
    id,
    status: z.string(),
    status_reason: text,
    message: text,
    create_dt: date,
    run_spec: z.object({ title: z.string(), description: text }),
    tags: tagNames,
    histories: list(history),
  })
  .transform(({ id, status, status_reason, message, create_dt, run_spec, tags, histories }) => ({
    id,
    title: run_spec.title,
    description: run_spec.description,
    status,
    statusReason: status_reason,
    message,
    tags,
    /** Milliseconds since 1970. */
    createdAt: create_dt,
    histories,
  }));

export const createdRun = z.object({ run_execution: z.object({ id }) });

export const logs = z.object({ logs: list(z.object({ timestamp: z.number(), message: text })) });

export type Me = z.output<typeof me>;
export type Cluster = z.output<typeof cluster>;
export type Preset = z.output<typeof preset>;
export type VolumeInfo = z.output<typeof volume>;
export type Federation = z.output<typeof federation>;
export type RunInfo = z.output<typeof run>;
export interface StorageInfo {
  readonly name: string;
  /** `s3`, `gcs`, `nfs`, ... */
  readonly type: string;
  readonly managed: boolean;
}
export interface SecretInfo {
  readonly id: string;
  readonly name: string;
}
