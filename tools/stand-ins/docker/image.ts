/** `docker.Image`: an image built from a context and pushed. As the real one, it is never built in a preview nor removed by a destroy. */
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hashContext } from "../../../components/image-context.ts";
import { execute } from "../execute.ts";
import type { ResourceContext, ResourceType } from "../package.ts";
import type { Properties } from "../wire.ts";

interface Inputs {
  /** `repository:tag`, with its registry where it is pushed. */
  readonly imageName: string;
  readonly build?: {
    readonly context?: string;
    readonly dockerfile?: string;
    readonly platform?: string;
    readonly target?: string;
    readonly args?: Readonly<Record<string, string>>;
  };
  readonly registry?: { readonly server?: string; readonly username?: string; readonly password?: string };
  readonly skipPush?: boolean;
}

/** How much of a failed build's output is repeated: the step that failed, and what it said. */
const SAID_LINES = 15;

export const imageType: ResourceType = {
  replaces: [],
  check(properties) {
    const { context, dockerfile } = places(properties as unknown as Inputs);
    if (!existsSync(dockerfile))
      throw new Error(`there is no Dockerfile at ${dockerfile}: set build.dockerfile, relative to the project`);
    // An input as any other, so that a change of a file is a difference.
    return { ...properties, contextDigest: hashContext(context) };
  },
  // Who pushes makes no other image; a registry's passwords change often.
  compared: ({ registry, ...inputs }) => ({ ...inputs, server: (registry as Inputs["registry"])?.server }),
  async create(properties, of) {
    const inputs = properties as unknown as Inputs;
    return { id: inputs.imageName, outputs: await buildAndPush(inputs, of) };
  },
  update: (_, __, properties, of) => buildAndPush(properties as unknown as Inputs, of),
};

function places({ build }: Inputs): { context: string; dockerfile: string } {
  const context = build?.context ?? ".";
  return { context, dockerfile: build?.dockerfile ?? join(context, "Dockerfile") };
}

async function buildAndPush(inputs: Inputs, of: ResourceContext): Promise<Properties> {
  // Neither what this machine is logged in to nor what we log in to mixes with the other.
  const config = await mkdtemp(join(tmpdir(), "wmtp-docker-"));
  const login = inputs.registry?.password !== undefined;
  const docker = (args: readonly string[], stdin?: string, onOutput?: (text: string) => void) =>
    run(args, {
      stdin,
      onOutput,
      signal: of.signal,
      env: { ...process.env, DOCKER_BUILDKIT: "0", ...(login ? { DOCKER_CONFIG: config } : {}) },
    });
  try {
    const engine = await docker(["version", "--format", "{{.Server.Version}}"]).catch((error: Error) => error);
    if (engine instanceof Error)
      throw new Error(
        `${inputs.imageName} is built by Docker, and no engine answers: start Docker (on Debian: tools/docker); ${engine.message}`,
      );
    await build(inputs, docker, of);
    const repoDigest = inputs.skipPush ? await inspect("{{.Id}}", inputs, docker) : await push(inputs, docker, of);
    return { ...outputs(inputs), repoDigest };
  } finally {
    await rm(config, { recursive: true, force: true });
  }
}

type Docker = (args: readonly string[], stdin?: string, onOutput?: (text: string) => void) => Promise<string>;

async function build(inputs: Inputs, docker: Docker, of: ResourceContext): Promise<void> {
  const { context, dockerfile } = places(inputs);
  const { platform, target, args = {} } = inputs.build ?? {};
  const options = [
    ...(platform === undefined ? [] : ["--platform", platform]),
    ...(target === undefined ? [] : ["--target", target]),
    ...Object.entries(args).flatMap(([name, value]) => ["--build-arg", `${name}=${value}`]),
  ];
  of.status("building");
  await docker(["build", "--file", dockerfile, "--tag", inputs.imageName, ...options, context], undefined, (text) => {
    const step = /^Step \d+\/\d+/m.exec(text);
    if (step !== null) of.status(`building: ${step[0]}`);
  });
}

async function push(inputs: Inputs, docker: Docker, of: ResourceContext): Promise<string> {
  const { server, username = "", password } = inputs.registry ?? {};
  if (password !== undefined) {
    await docker(
      ["login", "--username", username, "--password-stdin", ...(server === undefined ? [] : [server])],
      password,
    );
  }
  of.status("pushing");
  await docker(["push", inputs.imageName]);
  const repository = repositoryOf(inputs.imageName);
  const digests: string[] = JSON.parse(await inspect("{{json .RepoDigests}}", inputs, docker));
  const found = digests.find((digest) => digest.startsWith(`${repository}@`));
  if (found === undefined)
    throw new Error(`${inputs.imageName} was pushed, and Docker knows no digest of it in ${repository}`);
  return found;
}

async function inspect(format: string, { imageName }: Inputs, docker: Docker): Promise<string> {
  return (await docker(["image", "inspect", "--format", format, imageName])).trim();
}

function outputs(inputs: Inputs): Properties {
  const { context, dockerfile } = places(inputs);
  return {
    baseImageName: inputs.imageName,
    context,
    dockerfile,
    platform: inputs.build?.platform,
    registryServer: inputs.registry?.server ?? inputs.imageName.split("/")[0],
  };
}

/** `127.0.0.1:5000/wmtp` of `127.0.0.1:5000/wmtp:tag`. */
function repositoryOf(imageName: string): string {
  return imageName.replace(/:[^:/]+$/, "");
}

interface Running {
  readonly stdin?: string | undefined;
  readonly onOutput?: ((text: string) => void) | undefined;
  readonly signal: AbortSignal;
  readonly env: NodeJS.ProcessEnv;
}

/** @returns what `docker` prints. @throws Error with the last lines that it said, if it fails. */
async function run(args: readonly string[], running: Running): Promise<string> {
  const { stdin = "", onOutput = () => undefined, signal, env } = running;
  const { code, stdout, stderr } = await execute(["docker", ...args], { stdin, onOutput, signal, env });
  if (code === 0) return stdout;
  const said = `${stdout}${stderr}`.trim().split("\n").slice(-SAID_LINES).join("\n");
  throw new Error(`docker ${args[0]} failed (${code}): ${said}`);
}
