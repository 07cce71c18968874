/**
 * The MLflow on EC2 that tutorials make, rebuilt: everything open, passwords in the script, a public bucket. What a policy pack is for.
 * Nothing here is the text of any of them; the keys are AWS's own examples.
 */
import type { Properties } from "../../policy/values.ts";

const EVERYBODY = ["0.0.0.0/0"];
const ports = [22, 5000, 5432];

export const SETUP = `#!/bin/bash
apt-get update && apt-get install -y postgresql python3-pip awscli
sudo -u postgres psql -c "CREATE USER mlflow WITH PASSWORD 'mlflow';"
sudo -u postgres createdb --owner=mlflow mlflow
echo "listen_addresses = '*'" >> /etc/postgresql/15/main/postgresql.conf
echo "host all all 0.0.0.0/0 md5" >> /etc/postgresql/15/main/pg_hba.conf
aws configure set aws_access_key_id AKIAIOSFODNN7EXAMPLE
aws configure set aws_secret_access_key wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY
pip install mlflow psycopg2-binary
mlflow server --host 0.0.0.0 --backend-store-uri postgresql://mlflow:mlflow@localhost/mlflow --default-artifact-root s3://mlflow-lab
`;

/** Inputs by type and name: what the program of the lab declares. */
export const LAB: readonly (readonly [type: string, name: string, props: Properties])[] = [
  [
    "aws:ec2/securityGroup:SecurityGroup",
    "mlflow",
    {
      ingress: ports.map((port) => ({ protocol: "tcp", fromPort: port, toPort: port, cidrBlocks: EVERYBODY })),
      egress: [{ protocol: "-1", fromPort: 0, toPort: 0, cidrBlocks: EVERYBODY }],
    },
  ],
  [
    "aws:ec2/instance:Instance",
    "mlflow",
    {
      ami: "ami-0123456789abcdef0",
      instanceType: "t2.large",
      keyName: "lab",
      associatePublicIpAddress: true,
      rootBlockDevice: { volumeSize: 100 },
      userData: SETUP,
    },
  ],
  ["aws:s3/bucket:Bucket", "artifacts", { bucket: "mlflow-lab", acl: "public-read", forceDestroy: true }],
  [
    "aws:s3/bucketPolicy:BucketPolicy",
    "artifacts",
    {
      bucket: "mlflow-lab",
      policy: JSON.stringify({
        Version: "2012-10-17",
        Statement: [{ Effect: "Allow", Principal: "*", Action: "s3:*", Resource: "arn:aws:s3:::mlflow-lab/*" }],
      }),
    },
  ],
  [
    "aws:iam/userPolicy:UserPolicy",
    "mlflow",
    { user: "mlflow", policy: JSON.stringify({ Statement: [{ Effect: "Allow", Action: "s3:*", Resource: "*" }] }) },
  ],
];

/** Every policy that the lab breaks. */
export const BROKEN = [
  "bucket-access-logged",
  "bucket-acls-off",
  "bucket-encrypted",
  "bucket-lifecycle",
  "bucket-public-access-blocked",
  "bucket-tls-only",
  "bucket-versioned",
  "cost-host",
  "data-protected",
  "disk-encrypted",
  "egress-limited",
  "host-monitored",
  "host-role-no-keys",
  "iam-action-wildcard",
  "iam-principal-narrow",
  "iam-resource-wildcard",
  "ingress-https-only",
  "instance-metadata-by-token",
  "interface-guarded",
  "mlflow-open-to-internet",
  "port-open-to-internet",
  "postgres-open-to-internet",
  "public-address-on-purpose",
  "secret-in-user-data",
  "security-group-described",
  "ssh-open-to-internet",
  "tags-project-stack",
] as const;
