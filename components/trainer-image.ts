import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as aws from "@pulumi/aws";
import * as docker from "@pulumi/docker";
import * as pulumi from "@pulumi/pulumi";
import { contextFiles, hashContext } from "./image-context.ts";
import { type Transform, transform } from "./transform.ts";

/** The build context, below the directory of Pulumi.yaml. */
const CONTEXT = "trainer";
/** GPU nodes are of this kind; the machine that builds may not be. */
const PLATFORM = "linux/amd64";
const PINNED = /^[^@\s]+@sha256:[0-9a-f]{64}$/;
/** Images of the last builds that ECR keeps; they share their large layers. */
const KEPT_IMAGES = 20;

export interface TrainerImageArgs {
  /** With its registry, `ghcr.io/my-org/wmtp`; with `ecr` its name in the account's own, `wmtp`. */
  readonly repository: string;
  /** Keep the image in an ECR repository made here: scanned at every push, tags that cannot be moved. */
  readonly ecr: boolean;
  /** User of `registryToken`; without both, Docker's own login on this machine counts. ECR needs neither. */
  readonly registryUser?: string;
  readonly registryToken?: pulumi.Output<string>;
  /**
   * What the image is built on, by digest; Python 3.11 or 3.12 and its venv module must be in it.
   * Default: the Dockerfile's own, Docker Hub's python:3.11-slim-bookworm.
   */
  readonly baseImage?: string;
  /** The ECR repository goes with its images when the stack is destroyed. @default false */
  readonly ephemeral?: boolean;
  readonly transform?: {
    readonly repository?: Transform<aws.ecr.RepositoryArgs>;
    readonly lifecycle?: Transform<aws.ecr.LifecyclePolicyArgs>;
    readonly image?: Transform<docker.ImageArgs>;
  };
}

/**
 * The image that trains, built from `trainer/` by this machine's Docker and pushed. A preview never builds: the tag is a
 * hash of what goes in, so that a preview knows whether `up` will build, and a commit that touches nothing of the image
 * changes nothing here.
 *
 * **Cost**: ghcr.io: none at the time of writing. ECR: about 0.35 USD a month for each `requirements.lock` (3.5 GB of layers at
 * 0.10 USD a GB), and 0.09 USD a GB for every pull from outside AWS, about 0.30 USD a node.
 */
export class TrainerImage extends pulumi.ComponentResource {
  /** `repository@sha256:...`: what runs consume, so that a tag that moves can never change what they train with. */
  readonly ref: pulumi.Output<string>;
  /** Hash of what the image is built from, known in a preview. */
  readonly tag: string;

  constructor(name: string, args: TrainerImageArgs, opts?: pulumi.ComponentResourceOptions) {
    super("wmtp:index:TrainerImage", name, {}, opts);
    const { baseImage, registryUser, registryToken } = args;
    const buildArgs = {
      ...(baseImage === undefined ? {} : { BASE_IMAGE: baseImage }),
      REVISION: revision(),
      LOCK_SHA256: createHash("sha256")
        .update(readFileSync(join(CONTEXT, "requirements.lock")))
        .digest("hex"),
    };
    // The labels are part of the image: ECR refuses a second image under the tag of a first.
    this.tag = createHash("sha256")
      .update(hashContext(CONTEXT))
      .update(JSON.stringify(buildArgs))
      .digest("hex")
      .slice(0, 12);
    const { repository, registry } = args.ecr
      ? this.ecr(name, args)
      : {
          repository: args.repository,
          registry: { server: serverOf(args.repository), username: registryUser, password: registryToken },
        };
    const image = new docker.Image(
      ...transform<docker.ImageArgs>(
        args.transform?.image,
        name,
        {
          imageName: pulumi.interpolate`${repository}:${this.tag}`,
          build: { context: CONTEXT, dockerfile: `${CONTEXT}/Dockerfile`, platform: PLATFORM, args: buildArgs },
          buildOnPreview: false,
          skipPush: false,
          registry,
        },
        { parent: this },
      ),
    );
    this.ref = image.repoDigest.apply(pinned);
    this.registerOutputs({ ref: this.ref, tag: this.tag });
  }

  /** AWS refuses to delete a repository that holds images, and so do we, unless the stack is a test's. */
  private ecr(name: string, args: TrainerImageArgs) {
    const repository = new aws.ecr.Repository(
      ...transform<aws.ecr.RepositoryArgs>(
        args.transform?.repository,
        name,
        {
          name: args.repository,
          imageTagMutability: "IMMUTABLE",
          imageScanningConfiguration: { scanOnPush: true },
          encryptionConfigurations: [{ encryptionType: "AES256" }],
          forceDelete: args.ephemeral ?? false,
        },
        { parent: this },
      ),
    );
    new aws.ecr.LifecyclePolicy(
      ...transform<aws.ecr.LifecyclePolicyArgs>(
        args.transform?.lifecycle,
        name,
        { repository: repository.name, policy: JSON.stringify(LIFECYCLE) },
        { parent: this },
      ),
    );
    const login = aws.ecr.getAuthorizationTokenOutput({ registryId: repository.registryId }, { parent: this });
    return {
      repository: repository.repositoryUrl,
      registry: { server: repository.repositoryUrl, username: login.userName, password: pulumi.secret(login.password) },
    };
  }
}

const LIFECYCLE = {
  rules: [
    {
      rulePriority: 1,
      description: "layers that no tag names any more",
      selection: { tagStatus: "untagged", countType: "sinceImagePushed", countUnit: "days", countNumber: 7 },
      action: { type: "expire" },
    },
    {
      rulePriority: 2,
      description: "all but the newest images",
      selection: { tagStatus: "any", countType: "imageCountMoreThan", countNumber: KEPT_IMAGES },
      action: { type: "expire" },
    },
  ],
};

/** The digest as it is. @throws RunError unless it is one that a registry serves, of the form `repository@sha256:...`. */
export function pinned(digest: string): string {
  if (PINNED.test(digest)) return digest;
  throw new pulumi.RunError(
    `the trainer image has no digest in its registry (got "${digest}"): it was not pushed; ` +
      "remove skipPush from its transform, and look whether the registry took it",
  );
}

/** `ghcr.io` of `ghcr.io/my-org/wmtp`. */
function serverOf(repository: string): string {
  const [host = "", ...rest] = repository.split("/");
  if (rest.length > 0 && /[.:]|^localhost$/.test(host)) return host;
  throw new pulumi.RunError(
    `image repository "${repository}" names no registry: write docker.io/${repository} or ghcr.io/${repository}`,
  );
}

/**
 * The last commit that touched what goes into the image, marked if it was modified since. Not the current commit: that one changes
 * with every word of documentation. "unknown" without git, and in a shallow clone, whose history would give another answer.
 */
function revision(): string {
  const paths = [...new Set(contextFiles(CONTEXT).map((path) => join(CONTEXT, path.split("/")[0] as string)))];
  const git = (...args: string[]) =>
    execFileSync("git", args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  try {
    if (git("rev-parse", "--is-shallow-repository") === "true") return "unknown";
    const commit = git("log", "-1", "--format=%H", "--", ...paths);
    if (commit === "") return "unknown";
    return git("--no-optional-locks", "status", "--porcelain", "--", ...paths) === "" ? commit : `${commit}-modified`;
  } catch {
    return "unknown";
  }
}
