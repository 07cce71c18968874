/**
 * The shape of a stack file (`Pulumi.<stack>.yaml`): every key, its bounds and its default. Nothing else in the stack knows a
 * default; the trainer's own live in its pydantic config. The JSON Schema for editors is made from this (`make schemas`).
 */
import { z } from "zod";
import { POLICY_IDS, type PolicyId } from "../policy/ids.ts";
import { GPU_COUNTS, PIPELINE_NAMES } from "./pipelines.ts";
import { DURATION_FORM, parseDuration } from "./units.ts";

/** For editors, which do not run our code. */
const DURATION_PATTERN = "^\\d+(\\.\\d+)?(s|m|h|d)$";
const WAIT_ERROR = `is neither "completion" nor ${DURATION_FORM}`;
const duration = z
  .string({ error: `is not a duration: write ${DURATION_FORM}` })
  .refine((text) => parseDuration(text) !== undefined, { error: `is not a duration: write ${DURATION_FORM}` })
  .meta({ pattern: DURATION_PATTERN });
const name = z.string().min(1);
/** Names of directories and of things in the cloud: no separators, so that no key can climb out of its prefix. */
const slug = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/, {
  error: 'may hold only letters, digits, ".", "_" and "-", and starts with a letter or digit',
});
const id = (kind: string) =>
  z.string().regex(new RegExp(`^${kind}-[0-9a-f]{8,17}$`), { error: `is not an id such as ${kind}-0123456789abcdef0` });
/** The engine's YAML reads an unquoted date as a point in time. */
const date = z.preprocess(
  (value) => (typeof value === "string" ? value.replace(/ 00:00:00 \+0000 UTC$/, "") : value),
  z.iso.date({ error: "is not a date such as 2026-12-31" }),
);
/** Host names by RFC 1123; the last label begins with a letter, or it would be an address. */
const DNS_NAME = /^(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])$/;
/** Path of an image in its registry, by the grammar of Docker's references. */
const IMAGE_PATH = "[a-z0-9]+((\\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\\.|_|__|-+)[a-z0-9]+)*)*";
const REGISTRY = "[a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?(:[0-9]+)?";
/** EC2 allows 60 rules in and out of a group. */
const MOST_CIDRS = 50;
/** The bucket's access logs go to one of its name and this. */
export const LOG_BUCKET_SUFFIX = "-access-logs";
const scalar = z.union([z.string(), z.number(), z.boolean(), z.null(), z.array(z.union([z.string(), z.number()]))], {
  error: "is not a value; write the whole key with dots, for example training.batch_size: 8",
});

/** `{ "training.batch_size": 8 }`: keys of the trainer's config, checked against its exported schema. */
const overrides = z
  .record(z.string(), scalar)
  .default({})
  .describe("trainer config keys and their values, for example training.batch_size: 8");

const launcher = z
  .strictObject({
    target: z
      .enum(["vessl", "local"])
      .default("vessl")
      .describe("where runs go: the GPU cloud, or processes of this machine"),
    maxParallel: z.int().min(1).max(64).default(1).describe("runs at a time"),
    wait: z
      .string({ error: WAIT_ERROR })
      .refine((text) => text === "completion" || parseDuration(text) !== undefined, { error: WAIT_ERROR })
      .meta({ pattern: `^completion$|${DURATION_PATTERN}` })
      .optional()
      .describe('how long `pulumi up` waits for a run before it detaches; "completion" by default, 30m when CI is set'),
    retries: z
      .int()
      .min(0)
      .max(10)
      .default(2)
      .describe("automatic resumes after preemption or infrastructure failure, within one `up`"),
    vessl: z
      .strictObject({
        organization: name.optional().describe("required for target vessl"),
        project: name.default("wmtp"),
        cluster: name.default("vessl-kr-a100-80g-sxm"),
        presets: z
          .strictObject({ "1": name, "2": name, "4": name })
          .default({ "1": "gpu-a100-80g-small", "2": "gpu-a100-80g-medium", "4": "gpu-a100-80g-large" }),
      })
      .prefault({}),
  })
  .prefault({});

const storage = z
  .strictObject({
    bucket: z
      .string()
      .regex(/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/, { error: "is not a bucket name (3-63 of a-z, 0-9, ., -)" })
      .refine(
        (text) => !/\.\.|^\d+(\.\d+){3}$|^(xn--|sthree-|amzn-s3-demo-)|(-s3alias|--ol-s3|--x-s3|\.mrap)$/.test(text),
        {
          error: "is a name that S3 keeps for itself or refuses (two dots in a row, an address, xn--, -s3alias, ...)",
        },
      )
      .refine((text) => text.length <= 63 - LOG_BUCKET_SUFFIX.length, {
        error: `is too long: its access logs go to <bucket>${LOG_BUCKET_SUFFIX}, and S3 allows 63 characters`,
      })
      .default("wmtp"),
    adopt: z.boolean().default(false).describe("use a bucket that exists already, as it is"),
    transferAcceleration: z.boolean().default(false),
    kmsKeyArn: z
      .string()
      .regex(/^arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key\/[A-Za-z0-9-]+$/, {
        error: "is not the ARN of a KMS key (arn:aws:kms:<region>:<account>:key/<id>)",
      })
      .optional()
      .describe("encrypts the bucket with this key; S3's own keys by default"),
    accessKeys: z
      .array(slug)
      .min(1, { error: "needs one name at least: the access key of the training runs" })
      .max(2, { error: "holds more than two names, and IAM allows a user two keys: take the oldest out first" })
      .default(["1"])
      .describe(
        "access keys of the training runs by name; the last is in use. To rotate, add one, later drop the first",
      ),
  })
  .prefault({});

const tracking = z
  .strictObject({
    experiment: z
      .string()
      .regex(/^[^/\s]+(\/[^/\s]+)*$/, { error: 'is not a path such as "weighted-mtp/production"' })
      .optional()
      .describe("MLflow experiment path; weighted-mtp/<stack> by default"),
    allowedCidrs: z
      .array(z.cidrv4({ error: "is not a CIDR block such as 203.0.113.0/24" }))
      .max(MOST_CIDRS, { error: `holds more than ${MOST_CIDRS} blocks, and a security group takes no more` })
      .default([])
      .describe("who may reach the tracker, by HTTPS; required on AWS"),
    domain: z
      .string()
      .regex(DNS_NAME, { error: "is not a host name such as mlflow.example.org" })
      .optional()
      .describe("host name, with a certificate of Let's Encrypt; without it: the address, and a CA of the stack's own"),
    hostedZone: z
      .string()
      .regex(DNS_NAME, { error: "is not the name of a zone such as example.org" })
      .optional()
      .describe("Route 53 zone of the domain; the domain without its first label by default"),
    instanceType: z
      .string()
      .regex(/^(t3a?|[cmr][5-9][adinz]*(-flex)?)\.(small|medium|\d*x?large)$/, {
        error:
          "is not a current x86-64 type of 2 GB or more, such as t3.small (t3, t3a, c5-c9, m5-m9, r5-r9; no Graviton)",
      })
      .default("t3.small"),
    dataVolumeGiB: z.int().min(8).max(16_384).default(50),
    network: z
      .strictObject({ vpcId: id("vpc"), subnetId: id("subnet") })
      .optional()
      .describe("a VPC and a public subnet that exist already; a small VPC of the stack's own by default"),
  })
  .prefault({});

const image = z
  .strictObject({
    repository: z
      .string()
      .regex(new RegExp(`^(${REGISTRY}/)?${IMAGE_PATH}$`), {
        error: "is not a repository such as ghcr.io/<owner>/wmtp (lower case, without tag or digest)",
      })
      .optional()
      .describe("for example ghcr.io/<owner>/wmtp; with ecr: true its name there, wmtp by default"),
    ecr: z.boolean().default(false).describe("keep the image in an ECR repository of the stack's own"),
    registryUser: name.optional().describe("user of wmtp:registryToken; without a token, Docker's own login counts"),
    pullCredential: name.optional(),
    baseImage: z
      .string()
      .regex(new RegExp(`^(${REGISTRY}/)?${IMAGE_PATH}(:[\\w][\\w.-]{0,127})?@sha256:[0-9a-f]{64}$`), {
        error: "is not pinned: write name@sha256:<digest>, so that it cannot change under a run",
      })
      .optional()
      .describe("what the image is built on, by digest; the Dockerfile's own by default"),
  })
  .prefault({});

const volumes = z
  .strictObject({
    storage: slug.default("vessl-storage"),
    names: z
      .strictObject({
        models: slug.default("weighted-mtp-models"),
        datasets: slug.default("weighted-mtp-datasets"),
        checkpoints: slug.default("weighted-mtp-checkpoints"),
      })
      .prefault({}),
    sources: z
      .strictObject({
        models: name.default("storage/models"),
        datasets: name.default("storage/datasets"),
        checkpoints: name.default("storage/checkpoints"),
      })
      .prefault({})
      .describe("local directories, below the project, that fill the volumes"),
    forceDelete: z
      .boolean({ error: "is not true or false" })
      .default(false)
      .describe("`destroy` deletes volumes with what they hold; without, those that hold something are kept"),
  })
  .prefault({});

const models = z
  .strictObject({
    delivery: z
      .enum(["s3", "volume"])
      .default("s3")
      .describe("how models get into a run's container: fetched from the bucket, or copied in from a volume"),
    base: slug.default("llama-7b-mtp"),
    reference: slug.default("sheared-llama-2.7b"),
    criticTrunk: slug.optional().describe("the base model by default"),
    cache: z
      .strictObject({
        path: z
          .string()
          .regex(/^\/cache(\/[A-Za-z0-9._-]*[A-Za-z0-9_-])+$/, { error: "is not a directory below /cache" })
          .default("/cache/models"),
        sizeGiB: z.int().min(1).default(100),
        mount: z.string().regex(/^(nfs|hostpath):\/\/\S+$|^volume:\/\/[^/\s]+\/[^/\s]+$/, {
          error: "is not a live mount such as nfs://server/path, hostpath:///path or volume://<storage>/<name>",
        }),
      })
      .optional()
      .describe("a file system of the cluster that keeps fetched models from run to run"),
  })
  .prefault({});

const run = {
  gpus: z
    .union(GPU_COUNTS.map((gpus) => z.literal(gpus)))
    .optional()
    .describe("worker processes on the local target"),
  maxDuration: duration
    .default("48h")
    .describe("the run is ended after this long, resumptions within one `up` included"),
  effectiveBatch: z.int().min(1).optional().describe("sequences per optimizer step; sets the accumulation steps"),
  overrides,
  after: z.array(z.enum(PIPELINE_NAMES)).default([]).describe("starts after these, without reading anything of them"),
  rerun: z
    .union([z.string(), z.number()], { error: 'is not a token such as 2 or "again"' })
    .transform(String)
    .optional()
    .describe("any new token trains again"),
};
const rewards = z.enum(["tests", "model"]).default("tests");
/** `critic:` with nothing after it is a pipeline with all defaults. */
const orEmpty = <Shape extends z.ZodType>(shape: Shape) => z.preprocess((value) => value ?? {}, shape).optional();

const pipelines = z
  .strictObject({
    critic: orEmpty(z.strictObject({ ...run, rewards })),
    verifiable: orEmpty(
      z.strictObject({
        ...run,
        rewards,
        criticCheckpoint: name
          .optional()
          .describe(
            "the critic of another stack, by its name; or the directory of a trained critic's checkpoint_best: a path, below volumes.sources.checkpoints on the GPU cloud, or an s3:// URI in the bucket there",
          ),
      }),
    ),
    baseline: orEmpty(z.strictObject(run)),
    rho1: orEmpty(z.strictObject(run)),
    ntp: orEmpty(z.strictObject(run)),
  })
  .default({});

const cost = z
  .strictObject({
    currency: z
      .string()
      .regex(/^[A-Z]{3}$/, { error: "is not a currency code such as USD" })
      .default("USD"),
    perHour: z.record(z.string(), z.number().nonnegative()).default({}).describe("price of a preset per hour"),
    egressPerGb: z
      .number()
      .nonnegative()
      .default(0.09)
      .describe("price of a GB that leaves the bucket for the GPU cloud"),
    awsPerMonth: z
      .number()
      .nonnegative()
      .default(31)
      .describe("price of the infrastructure on AWS a month, without what the bucket holds"),
    budget: z.number().positive().optional().describe("most that all runs of the stack may cost together"),
    presets: z.array(name).optional().describe("presets that runs may use; any by default"),
    maxGpusPerRun: z.union(GPU_COUNTS.map((gpus) => z.literal(gpus))).default(4),
    maxGpus: z.int().min(1).default(4).describe("GPUs of the stack at a time"),
  })
  .prefault({});

const waivers = z
  .array(z.strictObject({ policy: name, resource: name, reason: z.string().trim().min(10), expires: date }))
  .default([]);

const level = z
  .enum(["mandatory", "advisory", "disabled"])
  .optional()
  .describe("a mandatory policy stops previews and updates, an advisory one warns");
const policies = z
  .strictObject({
    levels: z
      .strictObject(Object.fromEntries(POLICY_IDS.map((id) => [id, level])) as Record<PolicyId, typeof level>)
      .prefault({})
      .describe("enforcement of a policy by its id, where it is not to be that of docs/policies.md"),
  })
  .prefault({});

/** Sections of the stack file, without their `wmtp:` prefix. */
export const SECTIONS = {
  base: slug
    .optional()
    .describe(
      "the stack this one builds on. Without volumes of its own it is an experiment: its file says what differs from the base's",
    ),
  launcher,
  storage,
  tracking,
  image,
  volumes,
  models,
  overrides: overrides.describe("trainer config keys for every pipeline of this stack; a pipeline's own win"),
  pipelines,
  cost,
  policies,
  waivers,
  ephemeral: z
    .boolean({ error: "is not true or false" })
    .default(false)
    .describe("a stack for a test: nothing is protected, `destroy` takes its data along"),
} as const;
export type SectionName = keyof typeof SECTIONS;
export type Section<Name extends SectionName> = z.output<(typeof SECTIONS)[Name]>;
/** A section is absent when it failed to parse. */
export type Sections = { [Name in SectionName]?: Section<Name> };

/** Keys set with `pulumi config set --secret`; read where they are used, never together with the rest. */
export const SECRET_KEYS = ["hfToken", "mlflowAdminPassword", "registryToken"] as const;
export type SecretKey = (typeof SECRET_KEYS)[number];

/** How long `up` waits when the stack file does not say: hosted jobs and their tokens expire, a terminal does not. */
export const DEFAULT_WAIT = { terminal: "completion", ci: "30m" } as const;
