/** Ids of all policies: what `wmtp:policies.levels` and `wmtp:waivers` name. Plain data, because the stack file's schema needs no more. */
export const POLICY_IDS = [
  // storage
  "bucket-public-access-blocked",
  "bucket-acls-off",
  "bucket-tls-only",
  "bucket-encrypted",
  "bucket-versioned",
  "bucket-lifecycle",
  "bucket-access-logged",
  "disk-encrypted",
  "data-snapshots",
  "data-protected",
  // network
  "ssh-open-to-internet",
  "postgres-open-to-internet",
  "mlflow-open-to-internet",
  "port-open-to-internet",
  "tracker-open-to-internet",
  "security-group-described",
  "egress-limited",
  "default-security-group-closed",
  "public-address-on-purpose",
  // identity
  "instance-metadata-by-token",
  "host-role-no-keys",
  "host-monitored",
  "iam-action-wildcard",
  "iam-resource-wildcard",
  "iam-condition-missing",
  "iam-principal-narrow",
  "iam-managed-policy",
  // secrets
  "secret-in-user-data",
  "secret-in-run",
  "secret-in-input",
  "secret-recoverable",
  "password-strength",
  "key-strength",
  "certificate-bounded",
  // image
  "image-tag-literal",
  "image-platform-workdir",
  "image-pushed",
  "image-by-digest",
  "registry-scanned-immutable",
  // training
  "run-gpus",
  "run-preset",
  "run-one-gpu",
  "run-bounded",
  "run-needs-critic",
  "run-after-tracker",
  "run-after-data",
  "run-safetensors",
  // cost
  "cost-budget",
  "cost-price-known",
  "cost-gpus-per-run",
  "cost-gpus-per-stack",
  "cost-presets",
  "cost-host",
  // tags
  "tags-project-stack",
] as const;

export type PolicyId = (typeof POLICY_IDS)[number];
