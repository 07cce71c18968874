/** Runs the program (index.ts) in this process, on mocks instead of an engine, and tells what it registered. */
import { rawConfig } from "./stack-config.ts";

export interface Registration {
  readonly urn: string;
  readonly type: string;
  readonly name: string;
  readonly custom: boolean;
  readonly inputs: Readonly<Record<string, unknown>>;
  /** URNs; a component in `dependsOn` stands for its children. */
  readonly dependencies: readonly string[];
  /** By property: URNs of the resources that its value comes from. */
  readonly propertyDependencies: Readonly<Record<string, readonly string[]>>;
  readonly parent: string;
  readonly deletedWith: string;
  readonly protect: boolean;
  readonly retainOnDelete: boolean;
}

export interface ProgramOptions {
  readonly preview?: boolean;
  /** Whether what the provider computes is known, as after `check`. */
  readonly known?: boolean;
  readonly stack?: string;
  /** What other stacks export, by name; those that are not named export what a base without content does. */
  readonly others?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

const HASHES = {
  "tiny-mtp": "hash of tiny-mtp",
  "tiny-reference": "hash of tiny-reference",
  humaneval: "hash of humaneval",
};

/** What the launcher's `check` and `create` add to the inputs. */
const COMPUTED: Readonly<Record<string, (name: string) => object>> = {
  "launcher:index:Upload": () => ({ contentHash: "hash", subtrees: HASHES }),
  "launcher:index:TrackingServer": () => ({ url: "http://127.0.0.1:15000" }),
  "tls:index/selfSignedCert:SelfSignedCert": () => ({ certPem: "certificate of the CA" }),
  "pulumi:pulumi:StackReference": () => ({
    outputs: {
      region: "eu-north-1",
      bucket: "wmtp",
      trackerUrl: "https://203.0.113.10",
      trackerCaCertificate: "",
      image: `ghcr.io/my-org/wmtp@sha256:${"0".repeat(64)}`,
      runSecrets: ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD"],
    },
  }),
  "docker:index/image:Image": () => ({ repoDigest: `ghcr.io/my-org/wmtp@sha256:${"0".repeat(64)}` }),
  "aws:ec2/eip:Eip": () => ({ publicIp: "203.0.113.10", allocationId: "eipalloc-1" }),
  "aws:iam/instanceProfile:InstanceProfile": (name) => ({ name: `${name}-1234567` }),
  "aws:ebs/volume:Volume": () => ({ id: "vol-0123456789abcdef0" }),
  "aws:secretsmanager/secret:Secret": () => ({
    arn: "arn:aws:secretsmanager:eu-north-1:123456789012:secret:tracker-1a2b3c4-AbCdEf",
  }),
  "launcher:index:Run": (name) => ({
    fingerprint: `fingerprint of ${name}`,
    checkpointUri: `local://checkpoints/minitest/${name}`,
    name: `wmtp-minitest-${name}`,
  }),
};

/** What AWS answers to the questions of the program. */
const ANSWERS: Readonly<Record<string, (args: Record<string, unknown>) => object>> = {
  "aws:index/getAvailabilityZones:getAvailabilityZones": () => ({ names: ["eu-north-1a", "eu-north-1b"] }),
  "pulumi:pulumi:readStackOutputs": () => ({ outputs: {} }),
  "aws:ssm/getParameter:getParameter": () => ({ insecureValue: "ami-0123456789abcdef0" }),
  "aws:s3/getBucket:getBucket": ({ bucket }) => ({ bucket, arn: `arn:aws:s3:::${bucket}` }),
  "aws:ec2/getSubnet:getSubnet": ({ id }) => ({ id, availabilityZone: "eu-north-1c" }),
  "aws:route53/getZone:getZone": ({ name }) => ({ name, zoneId: "Z0123456789" }),
  "aws:ecr/getAuthorizationToken:getAuthorizationToken": () => ({ userName: "AWS", password: "a token" }),
};

interface Request {
  getName(): string;
  getDependenciesList(): string[];
  getPropertydependenciesMap(): { entries(): Iterable<[string, { getUrnsList(): string[] }]> };
  getParent(): string;
  getDeletedwith(): string;
  getCustom(): boolean;
  getType(): string;
  getProtect(): boolean;
  getRetainondelete(): boolean;
}
type Register = (request: Request, callback: (error: unknown, response?: { getUrn(): string }) => void) => unknown;

process.setMaxListeners(0); // each load of the SDK adds its own

/** Each call loads the program and the SDK anew: the SDK keeps the state of a run in globals. */
export async function runProgram(
  config: Readonly<Record<string, unknown>>,
  { preview = false, known = true, stack = "minitest", others = {} }: ProgramOptions = {},
): Promise<{ registered: Registration[]; outputs: Record<string, unknown> }> {
  jest.resetModules();
  const pulumi = await import("@pulumi/pulumi");
  jest.spyOn(pulumi.log, "info").mockResolvedValue(); // the plan of a preview, for people
  const inputsOf = new Map<string, Record<string, unknown>>();
  await pulumi.runtime.setMocks(
    {
      newResource({ type, name, inputs }) {
        inputsOf.set(`${type}/${name}`, inputs);
        if (type === "pulumi:pulumi:StackReference" && others[name] !== undefined)
          return { id: name, state: { ...inputs, outputs: others[name] } };
        const computed: { id?: string } = known ? (COMPUTED[type]?.(name) ?? {}) : {};
        return { id: computed.id ?? `id of ${name}`, state: { ...inputs, ...computed } };
      },
      call({ token, inputs }) {
        const answer = ANSWERS[token];
        if (answer === undefined) throw new Error(`the program calls ${token}, which no mock answers`);
        return answer(inputs);
      },
    },
    "wmtp",
    stack,
    preview,
    "organization",
  );
  pulumi.runtime.setAllConfig(rawConfig(config));
  // Mocks are not told what a resource depends on; the request to the monitor is.
  const runtime = pulumi.runtime as unknown as {
    getMonitor(): { registerResource: Register };
    waitForRPCs(): Promise<void>;
  };
  const monitor = runtime.getMonitor();
  const register = monitor.registerResource.bind(monitor);
  const requests: { request: Request; urn: string }[] = [];
  monitor.registerResource = (request, callback) =>
    register(request, (error, response) => {
      if (response !== undefined) requests.push({ request, urn: response.getUrn() });
      callback(error, response);
    });
  const outputs = await (await import("../../index.ts")).outputs;
  await runtime.waitForRPCs();
  const registered = requests.map(({ request, urn }) => ({
    urn,
    type: request.getType(),
    name: request.getName(),
    custom: request.getCustom(),
    inputs: inputsOf.get(`${request.getType()}/${request.getName()}`) ?? {},
    dependencies: [...request.getDependenciesList()].sort(),
    propertyDependencies: Object.fromEntries(
      [...request.getPropertydependenciesMap().entries()].map(([property, urns]) => [property, urns.getUrnsList()]),
    ),
    parent: request.getParent(),
    deletedWith: request.getDeletedwith(),
    protect: request.getProtect(),
    retainOnDelete: request.getRetainondelete(),
  }));
  const resolved = await Promise.all(
    Object.entries(outputs).map(async ([name, value]) => {
      const output = pulumi.output(value) as unknown as { isKnown: Promise<boolean>; promise(): Promise<unknown> };
      return [name, (await output.isKnown) ? await output.promise() : "unknown"] as const;
    }),
  );
  return { registered, outputs: Object.fromEntries(resolved) };
}
