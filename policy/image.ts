/** What runs run in. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { WORKDIR } from "../components/workdir.ts";
import { isAbout, ofType } from "./linked.ts";
import type { Policy } from "./policy.ts";
import { at, between, demand, is, isText, list, notLiteral, parsed, UNKNOWN } from "./values.ts";

const IMAGE = "docker:index/image:Image";
const RUN = "launcher:index:Run";
const REPOSITORY = "aws:ecr/repository:Repository";
const REPOSITORY_LIFECYCLE = "aws:ecr/lifecyclePolicy:LifecyclePolicy";

const TAGGED = /^[^@\s]+:[\w][\w.-]{0,127}$/;

const tag: Policy = {
  id: "image-tag-literal",
  demands:
    "An image is built for the repository of the stack file, with a tag that a preview knows and that is not `latest`",
  severity: "medium",
  controls: ["checkov CKV_DOCKER_7"],
  remedy: "Name wmtp:image.repository and a tag in imageName; TrainerImage makes the tag a hash of what goes in",
  types: [IMAGE],
  eachOf({ props }, verdict, { image }) {
    const name = at(props, "imageName");
    // A registry of the stack's own has its address when it is there.
    if (name === UNKNOWN && image.ecr) verdict.undecided("imageName");
    else if (name === UNKNOWN) verdict.violated(notLiteral("imageName"));
    else if (!isText(name) || !TAGGED.test(name)) verdict.violated("imageName has no tag");
    else if (name.endsWith(":latest")) verdict.violated("imageName has the tag latest, which moves");
    else if (!image.ecr && !name.startsWith(`${image.repository}:`))
      verdict.violated("imageName is not of wmtp:image.repository");
    if (image.ecr || name === UNKNOWN) return;
    // It is given the password.
    const server = at(props, "registry.server");
    if (server === UNKNOWN) verdict.violated(notLiteral("registry.server"));
    else if (server !== image.repository?.split("/")[0])
      verdict.violated("registry.server is not that of wmtp:image.repository");
  },
};

const PLATFORM = "linux/amd64";

/** The last WORKDIR, and every base that is not pinned, of a Dockerfile; ARGs with a default stand for it. */
function readDockerfile(text: string): { readonly workdir: string | undefined; readonly loose: boolean } {
  const defaults = new Map([...text.matchAll(/^ARG\s+(\w+)=(\S+)/gm)].map(([, name, value]) => [name, value] as const));
  const bases = [...text.matchAll(/^FROM\s+(?:--\S+\s+)*(\S+)(?:\s+AS\s+(\S+))?/gim)];
  const stages = bases.map(([, , stage]) => stage);
  const loose = bases.some(([, base = ""]) => {
    const name = base.replace(/\$\{?(\w+)\}?/g, (_, variable: string) => defaults.get(variable) ?? "");
    return !stages.includes(base) && !/@sha256:[0-9a-f]{64}$/.test(name);
  });
  return { workdir: [...text.matchAll(/^WORKDIR\s+(\S+)/gm)].at(-1)?.[1], loose };
}

const platform: Policy = {
  id: "image-platform-workdir",
  demands: `An image is for ${PLATFORM}, on a base pinned by digest, and works in ${WORKDIR}`,
  severity: "medium",
  controls: ["checkov CKV_DOCKER_7"],
  remedy: `Set build.platform ${PLATFORM} and build.dockerfile; the Dockerfile ends with WORKDIR ${WORKDIR} and names its base with @sha256:`,
  types: [IMAGE],
  eachOf(resource, verdict, { folder }) {
    demand(verdict, resource, "build.platform", is(PLATFORM), `is not ${PLATFORM}`);
    const dockerfile = at(resource.props, "build.dockerfile");
    if (dockerfile === UNKNOWN) return verdict.violated(notLiteral("build.dockerfile"));
    const file = isText(dockerfile) ? join(folder, dockerfile) : undefined;
    if (file === undefined || !existsSync(file))
      return verdict.violated("build.dockerfile names no file of the project");
    const { workdir, loose } = readDockerfile(readFileSync(file, "utf8"));
    if (workdir !== WORKDIR)
      verdict.violated(`its Dockerfile does not end in WORKDIR ${WORKDIR}, where configs and mounts are`);
    if (loose) verdict.violated("its Dockerfile has a base that is not pinned by digest");
    const base = at(resource.props, "build.args.BASE_IMAGE");
    if (base === UNKNOWN) verdict.violated(notLiteral("build.args.BASE_IMAGE"));
    else if (base !== undefined && !(isText(base) && /@sha256:[0-9a-f]{64}$/.test(base)))
      verdict.violated("build.args.BASE_IMAGE is not pinned by digest");
  },
};

const pushed: Policy = {
  id: "image-pushed",
  demands: "An image is pushed when it is built, and never built in a preview",
  severity: "low",
  controls: [],
  remedy: "Set skipPush: false and buildOnPreview: false; a run pulls the image, and a preview is to take seconds",
  types: [IMAGE],
  eachOf(resource, verdict) {
    demand(verdict, resource, "skipPush", is(false), "is not false");
    demand(verdict, resource, "buildOnPreview", is(false), "is not false");
  },
};

const digest: Policy = {
  id: "image-by-digest",
  demands: "A run on the GPU cloud names its image by repository and digest",
  severity: "high",
  controls: ["checkov CKV_DOCKER_7"],
  remedy: "Hand the run TrainerImage.ref, or the output `image` of its base",
  types: [RUN],
  eachOf({ props }, verdict, { launcher }) {
    if (launcher.target === "local") return;
    const image = at(props, "image");
    if (image === UNKNOWN) verdict.undecided("image");
    else if (!isText(image) || !/^[^@\s:]+(:\d+)?\/[^@\s]+@sha256:[0-9a-f]{64}$/.test(image))
      verdict.violated("image is not repository@sha256:<digest>");
  },
};

const registry: Policy = {
  id: "registry-scanned-immutable",
  demands: "A registry of the stack's own scans at every push, has tags that cannot be moved, and removes old images",
  severity: "medium",
  controls: ["FSBP ECR.1", "FSBP ECR.2", "FSBP ECR.3", "checkov CKV_AWS_51, 136, 163"],
  remedy: "Set scanOnPush: true, imageTagMutability: IMMUTABLE and encryptionConfigurations; give it a LifecyclePolicy",
  types: [REPOSITORY],
  eachOf(resource, verdict) {
    demand(verdict, resource, "imageScanningConfiguration.scanOnPush", is(true), "is not true");
    demand(verdict, resource, "imageTagMutability", is("IMMUTABLE"), "is not IMMUTABLE");
    const kinds = (value: unknown) => value === "AES256" || value === "KMS";
    demand(verdict, resource, "encryptionConfigurations.0.encryptionType", kinds, "is not said");
  },
  stackTypes: [REPOSITORY],
  wholeStack(resources, verdict) {
    const lifecycles = ofType(resources, REPOSITORY_LIFECYCLE);
    for (const repository of ofType(resources, REPOSITORY)) {
      const own = lifecycles.find((one) => isAbout(one, "repository", repository, "name"));
      const rules = list(at(parsed(at(own?.props, "policy")), "rules"));
      const bounded = rules.some(
        (rule) =>
          at(rule, "selection.tagStatus") === "any" &&
          at(rule, "action.type") === "expire" &&
          between(1, 1000)(at(rule, "selection.countNumber")),
      );
      if (!bounded) verdict.violated("it keeps every image for ever", repository);
    }
  },
};

export const image: readonly Policy[] = [tag, platform, pushed, digest, registry];
