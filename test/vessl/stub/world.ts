/** What is there in the stub's cloud without anybody having made it. */

export const MANAGED_BUCKET = "vessl-managed";
/** The stack's own bucket. */
export const OWN_BUCKET = "wmtp";
export const REGION = "eu-north-1";
export const ROOT_KEY = { accessKeyId: "AKIASTUBROOT", secretAccessKey: "stub-root-secret" };
export const TOKEN = "stub-token";

/** Projects by organization. */
export const ORGANIZATIONS: Readonly<Record<string, readonly string[]>> = {
  acme: ["infra", "playground"],
  other: ["default"],
};

export interface Storage {
  readonly id: number;
  readonly name: string;
  readonly type: "s3" | "gcs" | "cluster-nfs";
  readonly managed: boolean;
  readonly bucket: string;
}

export const STORAGES: readonly Storage[] = [
  { id: 1, name: "vessl-storage", type: "s3", managed: true, bucket: MANAGED_BUCKET },
  { id: 2, name: "disk", type: "s3", managed: false, bucket: "acme-disk" },
  { id: 3, name: "other", type: "s3", managed: false, bucket: "acme-other" },
  { id: 4, name: "archive", type: "gcs", managed: false, bucket: "acme-archive" },
  { id: 5, name: "lab", type: "cluster-nfs", managed: false, bucket: "" },
];

export const BUCKETS = [OWN_BUCKET, ...STORAGES.filter(({ type }) => type === "s3").map(({ bucket }) => bucket)];

export interface Preset {
  readonly id: number;
  readonly name: string;
  readonly gpuType: string;
  readonly gpus: number;
  readonly spot: boolean;
}

export interface Cluster {
  readonly id: number;
  readonly name: string;
  readonly status: string;
  readonly managed: boolean;
  readonly presets: readonly Preset[];
}

export const CLUSTERS: readonly Cluster[] = [
  {
    id: 1,
    name: "vessl-gcp-oregon",
    status: "connected",
    managed: true,
    presets: [
      { id: 11, name: "cpu-small", gpuType: "Empty", gpus: 0, spot: false },
      { id: 12, name: "gpu-h100-1", gpuType: "NVIDIA-H100-80GB-HBM3", gpus: 1, spot: false },
      { id: 13, name: "gpu-h100-2", gpuType: "NVIDIA-H100-80GB-HBM3", gpus: 2, spot: false },
      { id: 14, name: "gpu-h100-4", gpuType: "NVIDIA-H100-80GB-HBM3", gpus: 4, spot: false },
      { id: 15, name: "gpu-h100-4-spot", gpuType: "NVIDIA-H100-80GB-HBM3", gpus: 4, spot: true },
      { id: 16, name: "gpu-a100-1", gpuType: "NVIDIA-A100-SXM4-80GB", gpus: 1, spot: false },
    ],
  },
  {
    id: 3,
    name: "vessl-kr-a100-80g-sxm",
    status: "connected",
    managed: true,
    presets: [
      { id: 31, name: "gpu-a100-80g-small", gpuType: "NVIDIA-A100-SXM4-80GB", gpus: 1, spot: false },
      { id: 32, name: "gpu-a100-80g-medium", gpuType: "NVIDIA-A100-SXM4-80GB", gpus: 2, spot: false },
      { id: 34, name: "gpu-a100-80g-large", gpuType: "NVIDIA-A100-SXM4-80GB", gpus: 4, spot: false },
    ],
  },
  {
    id: 2,
    name: "lab-cluster",
    status: "disconnected",
    managed: false,
    presets: [{ id: 21, name: "gpu-rtx-1", gpuType: "NVIDIA-GeForce-RTX-4090", gpus: 1, spot: false }],
  },
];
