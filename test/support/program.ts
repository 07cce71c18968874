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
  readonly parent: string;
  readonly deletedWith: string;
}

export interface ProgramOptions {
  readonly preview?: boolean;
  /** Whether what the provider computes is known, as after `check`. */
  readonly known?: boolean;
  readonly stack?: string;
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
  "launcher:index:Run": (name) => ({
    fingerprint: `fingerprint of ${name}`,
    checkpointUri: `local://checkpoints/minitest/${name}`,
    name: `wmtp-minitest-${name}`,
  }),
};

interface Request {
  getName(): string;
  getDependenciesList(): string[];
  getParent(): string;
  getDeletedwith(): string;
  getCustom(): boolean;
  getType(): string;
}
type Register = (request: Request, callback: (error: unknown, response?: { getUrn(): string }) => void) => unknown;

/** Each call loads the program and the SDK anew: the SDK keeps the state of a run in globals. */
export async function runProgram(
  config: Readonly<Record<string, unknown>>,
  { preview = false, known = true, stack = "minitest" }: ProgramOptions = {},
): Promise<{ registered: Registration[]; outputs: Record<string, unknown> }> {
  jest.resetModules();
  const pulumi = await import("@pulumi/pulumi");
  const inputsOf = new Map<string, Record<string, unknown>>();
  await pulumi.runtime.setMocks(
    {
      newResource({ type, name, inputs }) {
        inputsOf.set(`${type}/${name}`, inputs);
        return { id: `id of ${name}`, state: { ...inputs, ...(known ? COMPUTED[type]?.(name) : {}) } };
      },
      call({ token }) {
        throw new Error(`the program calls ${token}, which no mock answers`);
      },
    },
    "wmtp",
    stack,
    preview,
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
  const { outputs } = await import("../../index.ts");
  await runtime.waitForRPCs();
  const registered = requests.map(({ request, urn }) => ({
    urn,
    type: request.getType(),
    name: request.getName(),
    custom: request.getCustom(),
    inputs: inputsOf.get(`${request.getType()}/${request.getName()}`) ?? {},
    dependencies: [...request.getDependenciesList()].sort(),
    parent: request.getParent(),
    deletedWith: request.getDeletedwith(),
  }));
  const resolved = await Promise.all(
    Object.entries(outputs).map(
      ([name, value]) =>
        new Promise<[string, unknown]>((resolve) => {
          if (preview && !known) resolve([name, "unknown"]);
          else pulumi.output(value).apply((plain) => resolve([name, plain]));
        }),
    ),
  );
  return { registered, outputs: Object.fromEntries(resolved) };
}
