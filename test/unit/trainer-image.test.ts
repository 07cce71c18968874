/** The image component on mocks: what it asks of registry and builder, what its tag follows, and the `/app` that all agree on. */
import { execFileSync } from "node:child_process";
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { TrainerImageArgs } from "../../components/trainer-image.ts";

const PROJECT = resolve(import.meta.dirname, "../..");
const TRAINER = join(PROJECT, "trainer");
const DIGEST = `sha256:${"a".repeat(64)}`;
const GHCR = { repository: "ghcr.io/my-org/wmtp", ecr: false };
const ECR = { repository: "wmtp", ecr: true };
const ACCOUNT = "123456789012.dkr.ecr.eu-north-1.amazonaws.com";

/** As it goes to the engine, marked as secret. */
const secret = (value: unknown) => ({ "4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", value });

let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "wmtp-image-"));
  mkdirSync(join(home, "trainer", "src"), { recursive: true });
  for (const file of ["Dockerfile", ".dockerignore"]) cpSync(join(TRAINER, file), join(home, "trainer", file));
  write("trainer/requirements.lock", "torch==2.15.0\n");
  write("trainer/src/run.py", "print(1)\n");
  process.chdir(home);
});
afterEach(() => {
  process.chdir(PROJECT);
  rmSync(home, { recursive: true, force: true });
});

function write(path: string, content: string): void {
  writeFileSync(join(home, path), content, { mode: 0o644 });
}

interface Registered {
  readonly type: string;
  readonly name: string;
  // biome-ignore lint/suspicious/noExplicitAny: inputs of several resource types
  readonly inputs: any;
}

/** Registers the component on mocks. */
async function register(args: TrainerImageArgs) {
  jest.resetModules();
  const pulumi = await import("@pulumi/pulumi");
  const registered: Registered[] = [];
  await pulumi.runtime.setMocks(
    {
      newResource({ type, name, inputs }) {
        registered.push({ type, name, inputs });
        const computed = type.startsWith("aws:ecr/repository:")
          ? { repositoryUrl: `${ACCOUNT}/${inputs.name}`, registryId: "123456789012" }
          : { repoDigest: `${args.repository}@${DIGEST}` };
        return { id: name, state: { ...inputs, ...computed } };
      },
      call: ({ inputs }) => ({ ...inputs, userName: "AWS", password: "ecr-password" }),
    },
    "wmtp",
    "prod",
  );
  const { TrainerImage } = await import("../../components/trainer-image.ts");
  const component = new TrainerImage("image", args);
  const ref = new Promise<string>((resolve) => component.ref.apply(resolve));
  await (pulumi.runtime as unknown as { waitForRPCs(): Promise<void> }).waitForRPCs();
  const inputs = (type: string) => registered.find((one) => one.type === type)?.inputs;
  return { ref, tag: component.tag, registered, image: inputs("docker:index/image:Image"), inputs };
}

const tagNow = async (args: TrainerImageArgs = GHCR) => (await register(args)).tag;

test("builds trainer/ for GPU nodes, never in a preview, under a tag that a preview knows", async () => {
  const { image, tag, ref } = await register(GHCR);
  expect(tag).toMatch(/^[0-9a-f]{12}$/);
  expect(image).toEqual({
    imageName: `ghcr.io/my-org/wmtp:${tag}`,
    build: {
      context: "trainer",
      dockerfile: "trainer/Dockerfile",
      platform: "linux/amd64",
      args: { REVISION: "unknown", LOCK_SHA256: expect.stringMatching(/^[0-9a-f]{64}$/) },
    },
    buildOnPreview: false,
    skipPush: false,
    registry: { server: "ghcr.io" },
  });
  expect(await ref).toBe(`ghcr.io/my-org/wmtp@${DIGEST}`);
});

test("the registry's token stays a secret", async () => {
  const pulumi = await import("@pulumi/pulumi");
  const { image } = await register({ ...GHCR, registryUser: "me", registryToken: pulumi.secret("ghp-planted") });
  expect(image.registry).toEqual(secret({ server: "ghcr.io", username: "me", password: "ghp-planted" }));
});

test("ECR of a stack for a test goes with its images", async () => {
  const { inputs } = await register({ ...ECR, ephemeral: true });
  expect(inputs("aws:ecr/repository:Repository")).toMatchObject({ forceDelete: true });
});

test("ECR: scanned, encrypted, tags that cannot be moved, never deleted with its images", async () => {
  const { inputs, image, tag, registered } = await register(ECR);
  expect(inputs("aws:ecr/repository:Repository")).toEqual({
    name: "wmtp",
    imageTagMutability: "IMMUTABLE",
    imageScanningConfiguration: { scanOnPush: true },
    encryptionConfigurations: [{ encryptionType: "AES256" }],
    forceDelete: false,
  });
  const rules = JSON.parse(inputs("aws:ecr/lifecyclePolicy:LifecyclePolicy").policy).rules;
  expect(rules.map(({ selection }: { selection: { tagStatus: string } }) => selection.tagStatus)).toEqual([
    "untagged",
    "any",
  ]);
  expect(image.imageName).toBe(`${ACCOUNT}/wmtp:${tag}`);
  expect(image.registry).toEqual(secret({ server: `${ACCOUNT}/wmtp`, username: "AWS", password: "ecr-password" }));
  expect(registered).toHaveLength(4);
});

test("the tag follows every file of the image, its mode, the base image, and nothing else", async () => {
  const first = await tagNow();
  write("trainer/.env", "SECRET=1");
  write("trainer/tests.py", "");
  mkdirSync(join(home, "trainer/src/__pycache__"));
  write("trainer/src/__pycache__/run.pyc", "");
  expect(await tagNow()).toBe(first);
  expect(await tagNow({ ...GHCR, repository: "ghcr.io/other/wmtp" })).toBe(first);

  const tags = [first, await tagNow({ ...GHCR, baseImage: "debian@sha256:0" })];
  write("trainer/src/run.py", "print(2)\n");
  tags.push(await tagNow());
  chmodSync(join(home, "trainer/src/run.py"), 0o755);
  tags.push(await tagNow());
  write("trainer/requirements.lock", "torch==2.16.0\n");
  tags.push(await tagNow());
  write("trainer/Dockerfile", "FROM scratch\n");
  tags.push(await tagNow());
  expect(new Set(tags).size).toBe(6);
});

test("the label is the last commit of the image's own files: other commits build nothing", async () => {
  const git = (...args: string[]) =>
    execFileSync("git", ["-c", "user.name=a", "-c", "user.email=a@example.com", ...args], { encoding: "utf8" }).trim();
  git("init", "--quiet");
  git("add", ".");
  git("commit", "--quiet", "-m", "first");
  const commit = git("rev-parse", "HEAD");
  const { image, tag } = await register(GHCR);
  expect(image.build.args.REVISION).toBe(commit);
  write("README.md", "words\n");
  write("trainer/notes.md", "words\n");
  git("add", ".");
  git("commit", "--quiet", "-m", "documentation");
  expect(await tagNow()).toBe(tag);
  write("trainer/src/new.py", "");
  expect((await register(GHCR)).image.build.args.REVISION).toBe(`${commit}-modified`);
  git("clone", "--quiet", "--depth", "1", `file://${home}`, "shallow");
  process.chdir(join(home, "shallow"));
  expect((await register(GHCR)).image.build.args.REVISION).toBe("unknown");
});

test("refuses an image that has no digest in a registry", async () => {
  const { pinned } = await import("../../components/trainer-image.ts");
  expect(pinned(`127.0.0.1:5000/wmtp@${DIGEST}`)).toBe(`127.0.0.1:5000/wmtp@${DIGEST}`);
  for (const digest of [DIGEST, "", "ghcr.io/my-org/wmtp:latest"]) {
    expect(() => pinned(digest)).toThrow(/has no digest in its registry .*it was not pushed/);
  }
});

test("refuses a repository that names no registry", async () => {
  await expect(register({ repository: "my-org/wmtp", ecr: false })).rejects.toThrow(
    /"my-org\/wmtp" names no registry: write docker.io\/my-org\/wmtp/,
  );
});

test("each resource has its transform hole", async () => {
  const { inputs, image } = await register({
    ...ECR,
    transform: {
      repository: { tags: { team: "research" } },
      lifecycle: (args) => {
        args.policy = "{}";
      },
      image: (args) => {
        args.buildOnPreview = true;
      },
    },
  });
  expect(inputs("aws:ecr/repository:Repository")).toMatchObject({ tags: { team: "research" }, forceDelete: false });
  expect(inputs("aws:ecr/lifecyclePolicy:LifecyclePolicy").policy).toBe("{}");
  expect(image.buildOnPreview).toBe(true);
});

test("/app is one constant: image, trainer's paths and mounts", async () => {
  const { WORKDIR } = await import("../../components/workdir.ts");
  const dockerfile = readFileSync(join(TRAINER, "Dockerfile"), "utf8");
  expect(dockerfile.match(/^WORKDIR .*$/gm)).toEqual([`WORKDIR ${WORKDIR}`]);
  expect(dockerfile).toContain(`PYTHONPATH=${WORKDIR}/src`);
  const schema = JSON.parse(readFileSync(join(TRAINER, "schema.json"), "utf8"));
  const paths = Object.values(schema.pipelines as Record<string, { paths: Record<string, string> }>).flatMap((config) =>
    Object.values(config.paths),
  );
  expect(paths.length).toBeGreaterThan(0);
  for (const path of paths) expect(path).toMatch(new RegExp(`^${WORKDIR}/(models|datasets|checkpoints)(/|$)`));
});

test("the base image is pinned by digest, and everything is installed by hash", () => {
  const dockerfile = readFileSync(join(TRAINER, "Dockerfile"), "utf8");
  expect(dockerfile).toMatch(/^ARG BASE_IMAGE=\S+@sha256:[0-9a-f]{64}$/m);
  expect(dockerfile).not.toMatch(/pip install (?!.*--require-hashes)/);
  expect(dockerfile.match(/--require-hashes/g)).toHaveLength(2);
});
