/** The program on AWS, on mocks: which resources exist, who may do what, what is protected. What the engine makes of it: test/engine. */
import { type ProgramOptions, type Registration, runProgram } from "../support/program.ts";
import { stackFile } from "../support/stack-config.ts";

const prod = stackFile("prod").config;
const PREVIEW: ProgramOptions = { stack: "prod", preview: true };
/** Infrastructure alone. */
const bare = { ...prod, "wmtp:pipelines": {} };
const BARE: ProgramOptions = { stack: "prod" };

/** What an update needs, and a preview does not. */
const LOGIN = { VESSL_ACCESS_TOKEN: "a token", VESSL_CONFIG_PATH: "/nonexistent" };
const outer = { ...process.env };
beforeEach(() => Object.assign(process.env, LOGIN));
afterEach(() => {
  process.env = { ...outer };
});

const ofType = (registered: readonly Registration[], type: string) =>
  registered.filter((registration) => registration.type === type);
const only = (registered: readonly Registration[], type: string) => {
  const found = ofType(registered, type);
  expect(found).toHaveLength(1);
  return found[0] as Registration;
};

interface Statement {
  readonly Sid: string;
  readonly Effect: string;
  readonly Action: readonly string[];
  readonly Resource?: readonly string[];
}
/** Every policy document of the plan, by the resource it is in. */
function statements(registered: readonly Registration[]): { of: string; statement: Statement }[] {
  return registered.flatMap(({ type, name, inputs }) =>
    ["policy", "assumeRolePolicy"].flatMap((key) => {
      const text = inputs[key];
      if (typeof text !== "string" || !text.includes("Statement")) return [];
      return JSON.parse(text).Statement.map((statement: Statement) => ({ of: `${type} ${name}`, statement }));
    }),
  );
}

/** AWS has no resources to name for these; see the service authorization reference of each service. */
const WITHOUT_RESOURCES = [
  "ec2:DescribeSnapshots",
  "ec2:DescribeVolumes",
  "route53:ListHostedZones",
  "ssm:UpdateInstanceInformation",
  "ssmmessages:CreateControlChannel",
  "ssmmessages:CreateDataChannel",
  "ssmmessages:OpenControlChannel",
  "ssmmessages:OpenDataChannel",
];

test("prod is bucket, tracker, image, volumes and five runs, whatever is known already", async () => {
  const plans = [];
  for (const known of [false, true]) plans.push((await runProgram(prod, { ...PREVIEW, known })).registered);
  const urns = plans.map((plan) => plan.map(({ urn }) => urn).sort());
  expect(urns[0]).toEqual(urns[1]);
  const components = plans[1]!.filter(({ custom, type }) => !custom && type.startsWith("wmtp:"));
  expect(components.map(({ type, name }) => `${type.split(":")[2]} ${name}`).sort()).toEqual(
    [
      "ArtifactStore store",
      "FilledVolume checkpoints",
      "FilledVolume datasets",
      "FilledVolume models",
      "HostCredentials tracker",
      "HostData tracker",
      "HostNetwork tracker",
      "MlflowHost tracker",
      "PrivateBucket store",
      "PrivateBucket store-access-logs",
      "RunIdentity runs",
      "RunSecrets secrets",
      "TrainerImage image",
      ...["baseline", "critic", "ntp", "rho1", "verifiable"].map((name) => `TrainingRun ${name}`),
    ].sort(),
  );
});

describe("the GPU cloud", () => {
  test("an update without a login is refused before anything is registered", async () => {
    delete process.env.VESSL_ACCESS_TOKEN;
    await expect(runProgram(prod, { stack: "prod" })).rejects.toThrow(
      /^there is no login for the GPU cloud, so nothing was created or changed: .*VESSL_ACCESS_TOKEN/,
    );
    await expect(runProgram(bare, BARE)).rejects.toThrow(/^there is no login for the GPU cloud/);
    await expect(runProgram(prod, PREVIEW)).resolves.toBeDefined();
  });

  test("secrets are the organization's, named by their stack; runs name them and hold none", async () => {
    process.env.PULUMI_CONFIG_SECRET_KEYS = '["wmtp:hfToken"]';
    try {
      const { registered } = await runProgram({ ...prod, "wmtp:hfToken": "planted-hub-token" }, PREVIEW);
      const secrets = ofType(registered, "launcher:index:OrgSecret");
      // The order is that in which their values are known.
      expect(secrets.map(({ name, inputs }) => `${name} ${inputs.name}`).sort()).toEqual([
        "AWS_ACCESS_KEY_ID WMTP_PROD_AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY WMTP_PROD_AWS_SECRET_ACCESS_KEY",
        "HF_TOKEN WMTP_PROD_HF_TOKEN",
        "MLFLOW_TRACKING_PASSWORD WMTP_PROD_MLFLOW_TRACKING_PASSWORD",
      ]);
      const runs = ofType(registered, "launcher:index:Run");
      for (const run of runs) {
        for (const { urn } of secrets) expect(run.dependencies).toContain(urn);
        expect(run.inputs.cloud).toMatchObject({
          env: { AWS_DEFAULT_REGION: "eu-north-1", S3_BUCKET_NAME: "wmtp", MLFLOW_TRACKING_USERNAME: "wmtp_runs" },
          secrets: { HF_TOKEN: "WMTP_PROD_HF_TOKEN", AWS_SECRET_ACCESS_KEY: "WMTP_PROD_AWS_SECRET_ACCESS_KEY" },
        });
        expect(JSON.stringify(run.inputs)).not.toContain("planted");
      }
    } finally {
      delete process.env.PULUMI_CONFIG_SECRET_KEYS;
    }
  });

  test("cluster and preset are known in the first preview, whatever is not", async () => {
    const { registered } = await runProgram(prod, { ...PREVIEW, known: false });
    for (const { inputs } of ofType(registered, "launcher:index:Run")) {
      expect(inputs.cloud).toMatchObject({
        cluster: "vessl-kr-a100-80g-sxm",
        preset: expect.stringMatching(/^gpu-a100-80g-(small|large)$/),
        delivery: "s3",
        env: { S3_BUCKET_NAME: "wmtp" },
        secrets: { AWS_ACCESS_KEY_ID: "WMTP_PROD_AWS_ACCESS_KEY_ID" },
      });
    }
  });

  test("models go into the bucket, once it is there; data and checkpoints into volumes that are protected", async () => {
    const { registered } = await runProgram(prod, PREVIEW);
    const uploads = Object.fromEntries(
      ofType(registered, "launcher:index:Upload").map((upload) => [upload.name, upload]),
    );
    expect(uploads.models?.inputs).toMatchObject({
      storage: "s3://wmtp",
      volumeName: "models",
      source: "storage/models",
    });
    expect(uploads.models?.dependencies).toContain(
      ofType(registered, "aws:s3/bucket:Bucket").find(({ name }) => name === "store")?.urn,
    );
    const volumes = ofType(registered, "launcher:index:Volume");
    expect(volumes.map(({ name, protect }) => ({ name, protect }))).toEqual([
      { name: "datasets", protect: true },
      { name: "checkpoints", protect: true },
    ]);
  });

  test("with delivery by volume, models have one too; a cache that is a volume is made", async () => {
    const models = { delivery: "volume" };
    const { registered } = await runProgram({ ...prod, "wmtp:models": models }, PREVIEW);
    expect(ofType(registered, "launcher:index:Volume").map(({ name }) => name)).toEqual([
      "models",
      "datasets",
      "checkpoints",
    ]);
    const cached = { cache: { mount: "volume://nfs-storage/model-cache" } };
    const { registered: withCache } = await runProgram({ ...prod, "wmtp:models": cached }, PREVIEW);
    const cache = ofType(withCache, "launcher:index:Volume").find(({ name }) => name === "cache");
    expect(cache?.inputs).toMatchObject({ storage: "nfs-storage", volumeName: "model-cache" });
    for (const run of ofType(withCache, "launcher:index:Run")) expect(run.dependencies).toContain(cache?.urn);
  });

  test("a stack for a test protects nothing and destroys its volumes with what they hold", async () => {
    const { registered } = await runProgram({ ...prod, "wmtp:ephemeral": true }, PREVIEW);
    for (const { protect, inputs } of ofType(registered, "launcher:index:Volume")) {
      expect({ protect, forced: inputs.forceDelete }).toEqual({ protect: false, forced: true });
    }
  });

  test("a stack on a base: volumes and runs, and the rest from the base", async () => {
    const { registered, outputs } = await runProgram(stackFile("minitest-vessl").config, {
      ...PREVIEW,
      stack: "minitest-vessl",
    });
    const own = registered.filter(({ custom, type }) => custom && !type.startsWith("pulumi:"));
    expect([...new Set(own.map(({ type }) => type))].sort()).toEqual([
      "launcher:index:Run",
      "launcher:index:Upload",
      "launcher:index:Volume",
    ]);
    const [run] = ofType(registered, "launcher:index:Run");
    expect(run?.inputs).toMatchObject({
      place: { bucket: "wmtp", region: "eu-north-1", checkpoints: "checkpoints/prod/experiments/" },
      trackerUrl: "https://203.0.113.10",
      cloud: { delivery: "volume", secrets: { AWS_ACCESS_KEY_ID: "WMTP_PROD_AWS_ACCESS_KEY_ID" } },
    });
    expect(outputs).toMatchObject({ trackerUrl: "https://203.0.113.10" });
  });
});

test("without pipelines there is infrastructure alone", async () => {
  const { registered, outputs } = await runProgram(bare, BARE);
  const launched = registered.filter(({ type }) => type.startsWith("launcher:")).map(({ type }) => type);
  expect(new Set(launched)).toEqual(new Set(["launcher:index:OrgSecret"])); // for the experiments on it
  expect(outputs).toMatchObject({
    region: "eu-north-1",
    bucket: "wmtp",
    trackerUrl: "https://203.0.113.10",
    image: `ghcr.io/my-org/wmtp@sha256:${"0".repeat(64)}`,
    experiment: "weighted-mtp/production",
  });
});

test("every run waits for a tracker that answers, and is told the image by digest", async () => {
  const { registered } = await runProgram(prod, PREVIEW);
  const gate = only(registered, "command:local:Command").urn;
  const image = only(registered, "docker:index/image:Image").urn;
  const runs = ofType(registered, "launcher:index:Run");
  expect(runs).toHaveLength(5);
  for (const run of runs) {
    expect(run.dependencies).toContain(gate);
    expect(run.dependencies).toContain(image);
    expect(run.inputs.image).toMatch(/^ghcr\.io\/my-org\/wmtp@sha256:[0-9a-f]{64}$/);
  }
});

test.each([
  ["an address", {}],
  ["a domain", { domain: "mlflow.example.org" }],
])("no policy allows everything: %s", async (_, tracking) => {
  const config = { ...bare, "wmtp:tracking": { allowedCidrs: ["203.0.113.0/24"], ...tracking } };
  const { registered } = await runProgram(config, BARE);
  const all = statements(registered);
  expect(all.length).toBeGreaterThan(15);
  for (const { of, statement } of all) {
    if (statement.Effect === "Deny") continue;
    for (const action of statement.Action) {
      expect(`${of} ${action}`).not.toContain("*");
      if (statement.Resource?.includes("*")) expect(WITHOUT_RESOURCES).toContain(action);
    }
  }
});

test("a training run reads models and data and writes below its own stack's checkpoints", async () => {
  const { registered } = await runProgram(bare, BARE);
  const { inputs } = only(registered, "aws:iam/userPolicy:UserPolicy");
  const allowed = JSON.parse(inputs.policy as string).Statement as Statement[];
  const resources = (action: string) =>
    allowed.flatMap((statement) => (statement.Action.includes(action) ? (statement.Resource ?? []) : []));
  expect(resources("s3:GetObject").sort()).toEqual([
    "arn:aws:s3:::wmtp/checkpoints/prod/*",
    "arn:aws:s3:::wmtp/datasets/*",
    "arn:aws:s3:::wmtp/models/*",
  ]);
  expect(resources("s3:PutObject")).toEqual(["arn:aws:s3:::wmtp/checkpoints/prod/*"]);
  expect(resources("s3:DeleteObject")).toEqual(["arn:aws:s3:::wmtp/checkpoints/prod/*"]);
  expect(allowed.flatMap(({ Action }) => Action).filter((action) => !action.startsWith("s3:"))).toEqual([]);
});

test("the host writes artifacts and backups, reads its one secret, and proves its one domain", async () => {
  const config = { ...bare, "wmtp:tracking": { allowedCidrs: ["203.0.113.0/24"], domain: "mlflow.example.org" } };
  const { registered } = await runProgram(config, BARE);
  const { inputs } = ofType(registered, "aws:iam/rolePolicy:RolePolicy").find(({ name }) => name === "tracker")!;
  const allowed = JSON.parse(inputs.policy as string).Statement as Statement[];
  const of = (action: string) => allowed.find(({ Action }) => Action.includes(action))?.Resource;
  expect(of("s3:PutObject")).toEqual(["arn:aws:s3:::wmtp/mlflow-artifacts/*", "arn:aws:s3:::wmtp/mlflow-backups/*"]);
  expect(of("secretsmanager:GetSecretValue")).toEqual([
    "arn:aws:secretsmanager:eu-north-1:123456789012:secret:tracker-1a2b3c4-AbCdEf",
  ]);
  expect(of("route53:ChangeResourceRecordSets")).toEqual(["arn:aws:route53:::hostedzone/Z0123456789"]);
});

test("protected are the buckets, the data volume and its snapshots, and nothing else", async () => {
  const { registered } = await runProgram(bare, BARE);
  const named = (found: readonly Registration[]) => found.map(({ type, name }) => `${type} ${name}`).sort();
  expect(named(registered.filter(({ protect }) => protect))).toEqual([
    "aws:dlm/lifecyclePolicy:LifecyclePolicy tracker",
    "aws:ebs/volume:Volume tracker",
    "aws:s3/bucket:Bucket store",
    "aws:s3/bucket:Bucket store-access-logs",
  ]);
  // With the buckets stays what keeps them private: nothing of S3 goes, and nothing else stays.
  const retained = registered.filter(({ retainOnDelete }) => retainOnDelete);
  const settings = registered.filter(
    ({ type, parent }) => type.startsWith("aws:s3/") && parent.includes("PrivateBucket"),
  );
  expect(named(retained)).toEqual(named(settings));
  for (const { inputs } of ofType(registered, "aws:s3/bucket:Bucket")) expect(inputs.forceDestroy).toBe(false);
});

test("an ephemeral stack protects nothing and goes with its data", async () => {
  const { registered } = await runProgram({ ...bare, "wmtp:ephemeral": true }, BARE);
  expect(registered.filter(({ protect, retainOnDelete }) => protect || retainOnDelete)).toEqual([]);
  for (const { inputs } of ofType(registered, "aws:s3/bucket:Bucket")) expect(inputs.forceDestroy).toBe(true);
  expect(only(registered, "aws:secretsmanager/secret:Secret").inputs.recoveryWindowInDays).toBe(0);
});

test("every description is in EC2's characters", async () => {
  const { registered } = await runProgram(bare, BARE);
  const described = registered.filter(({ type }) => /securityGroup/i.test(type) && !/Default/.test(type));
  expect(described).toHaveLength(4);
  for (const { inputs } of described)
    expect(inputs.description).toMatch(/^[a-zA-Z0-9. _\-:/()#,@[\]+=&;{}!$*]{1,255}$/);
});

test("a new password is a new version of the secret, and no input of the host", async () => {
  const { registered } = await runProgram(bare, BARE);
  const host = only(registered, "aws:ec2/instance:Instance");
  expect(host.dependencies).toContain(only(registered, "aws:secretsmanager/secretVersion:SecretVersion").urn);
  expect(host.inputs.userData).toContain(
    'SECRET_ID="arn:aws:secretsmanager:eu-north-1:123456789012:secret:tracker-1a2b3c4-AbCdEf"',
  );
});

test("HTTPS from the allowed blocks is the only way in", async () => {
  const config = { ...bare, "wmtp:tracking": { allowedCidrs: ["203.0.113.0/24", "198.51.100.7/32"] } };
  const { registered } = await runProgram(config, BARE);
  const rules = ofType(registered, "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule");
  expect(rules.map(({ inputs }) => [inputs.cidrIpv4, inputs.ipProtocol, inputs.fromPort, inputs.toPort])).toEqual([
    ["203.0.113.0/24", "tcp", 443, 443],
    ["198.51.100.7/32", "tcp", 443, 443],
  ]);
  expect(only(registered, "aws:ec2/securityGroup:SecurityGroup").inputs).not.toHaveProperty("ingress");
  expect(only(registered, "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup").inputs).toEqual({
    vpcId: "id of tracker",
  });
});

test("the host: tokens for its metadata, encrypted disks, no key pair, replaced when what runs on it changes", async () => {
  const { registered } = await runProgram(bare, BARE);
  const { inputs } = only(registered, "aws:ec2/instance:Instance");
  expect(inputs).toMatchObject({
    metadataOptions: { httpEndpoint: "enabled", httpTokens: "required", httpPutResponseHopLimit: 1 },
    rootBlockDevice: { volumeType: "gp3", encrypted: true },
    userDataReplaceOnChange: true,
  });
  expect(inputs).not.toHaveProperty("keyName");
  expect(only(registered, "aws:ebs/volume:Volume").inputs).toMatchObject({ type: "gp3", encrypted: true, size: 50 });
});

test("the bucket: versions, encryption, no public access, no ACLs, TLS only, logs, nothing left of broken uploads", async () => {
  const { registered } = await runProgram(bare, BARE);
  const of = (type: string) => ofType(registered, type).find(({ name }) => name === "store")?.inputs;
  expect(of("aws:s3/bucketVersioning:BucketVersioning")).toMatchObject({
    versioningConfiguration: { status: "Enabled" },
  });
  expect(of("aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock")).toMatchObject({
    blockPublicAcls: true,
    blockPublicPolicy: true,
    ignorePublicAcls: true,
    restrictPublicBuckets: true,
  });
  expect(of("aws:s3/bucketOwnershipControls:BucketOwnershipControls")).toMatchObject({
    rule: { objectOwnership: "BucketOwnerEnforced" },
  });
  expect(of("aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration")?.rules).toEqual([
    { applyServerSideEncryptionByDefault: { sseAlgorithm: "AES256" } },
  ]);
  expect(of("aws:s3/bucketLogging:BucketLogging")).toMatchObject({ targetPrefix: "s3/" });
  expect(JSON.stringify(of("aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration")?.rules)).toContain(
    '"abortIncompleteMultipartUpload":{"daysAfterInitiation":7}',
  );
  const policy = JSON.parse(of("aws:s3/bucketPolicy:BucketPolicy")?.policy as string).Statement as Statement[];
  expect(policy.map(({ Sid, Effect }) => `${Effect} ${Sid}`)).toEqual(["Deny DenyWithoutTls", "Deny DenyOldTls"]);
  expect(ofType(registered, "aws:s3/bucketAccelerateConfiguration:BucketAccelerateConfiguration")).toEqual([]);
});

test("a key of one's own encrypts the bucket, and the run and the host may use it", async () => {
  const kmsKeyArn = "arn:aws:kms:eu-north-1:111122223333:key/1234abcd-12ab";
  const { registered } = await runProgram({ ...bare, "wmtp:storage": { bucket: "wmtp", kmsKeyArn } }, BARE);
  const users = statements(registered).filter(({ statement }) => statement.Sid === "UseKey");
  expect(users.map(({ of, statement }) => [of, statement.Resource])).toEqual([
    ["aws:iam/userPolicy:UserPolicy runs", [kmsKeyArn]],
    ["aws:iam/rolePolicy:RolePolicy tracker", [kmsKeyArn]],
  ]);
});

test("an adopted bucket is used and not touched", async () => {
  const { registered } = await runProgram({ ...bare, "wmtp:storage": { bucket: "theirs", adopt: true } }, BARE);
  expect(registered.filter(({ type }) => type.startsWith("aws:s3/"))).toEqual([]);
});

test("an adopted network gets a security group, and nothing else", async () => {
  const network = { vpcId: "vpc-0123456789abcdef0", subnetId: "subnet-0123456789abcdef0" };
  const config = { ...bare, "wmtp:tracking": { allowedCidrs: ["203.0.113.0/24"], network } };
  const { registered } = await runProgram(config, BARE);
  expect(ofType(registered, "aws:ec2/vpc:Vpc")).toEqual([]);
  expect(only(registered, "aws:ec2/securityGroup:SecurityGroup").inputs.vpcId).toBe(network.vpcId);
  expect(only(registered, "aws:ebs/volume:Volume").inputs.availabilityZone).toBe("eu-north-1c");
});

test("a new access key joins the old one; the runs' inputs know of neither", async () => {
  const two = await runProgram({ ...prod, "wmtp:storage": { bucket: "wmtp", accessKeys: ["1", "2"] } }, PREVIEW);
  const keys = ofType(two.registered, "aws:iam/accessKey:AccessKey");
  expect(keys.map(({ name }) => name)).toEqual(["runs-1", "runs-2"]);
  expect(two.outputs.runsAccessKeyId).toBe("id of runs-2");
  const runs = (registered: readonly Registration[]) =>
    ofType(registered, "launcher:index:Run").map(({ inputs }) => inputs);
  expect(runs(two.registered)).toEqual(runs((await runProgram(prod, PREVIEW)).registered));
});

test("with a domain the certificate is Let's Encrypt's: no CA of ours, a record in the zone", async () => {
  const config = { ...bare, "wmtp:tracking": { allowedCidrs: ["203.0.113.0/24"], domain: "mlflow.example.org" } };
  const { registered, outputs } = await runProgram(config, BARE);
  expect(registered.filter(({ type }) => type.startsWith("tls:"))).toEqual([]);
  expect(only(registered, "aws:route53/record:Record").inputs).toMatchObject({
    name: "mlflow.example.org",
    type: "A",
    zoneId: "Z0123456789",
    records: ["203.0.113.10"],
  });
  expect(outputs.trackerUrl).toBe("https://mlflow.example.org");
  expect(outputs.trackerCaCertificate).toBe("");
});
