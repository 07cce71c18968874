/** What it takes to break the policies on image. */
import { type Cases, run, set } from "./breaking.ts";

export const image = {
  "image-tag-literal": [
    [
      "latest",
      (find) => set(find("docker:index/image:Image"), "imageName", "1.dkr.ecr.eu-north-1.amazonaws.com/wmtp:latest"),
      ["image-tag-literal: image"],
      "imageName has the tag latest, which moves",
    ],
  ],
  "image-platform-workdir": [
    [
      "another platform",
      (find) => set(find("docker:index/image:Image"), "build.platform", "linux/arm64"),
      ["image-platform-workdir: image"],
      "build.platform is not linux/amd64",
    ],
    [
      "a Dockerfile elsewhere",
      (find) => set(find("docker:index/image:Image"), "build.dockerfile", "trainer/requirements.lock"),
      ["image-platform-workdir: image"],
      "its Dockerfile does not end in WORKDIR /app",
    ],
    [
      "a loose base",
      (find) => set(find("docker:index/image:Image"), "build.args.BASE_IMAGE", "python:3.11"),
      ["image-platform-workdir: image"],
      "build.args.BASE_IMAGE is not pinned by digest",
    ],
  ],
  "image-pushed": [
    [
      "not pushed",
      (find) => set(find("docker:index/image:Image"), "skipPush", true),
      ["image-pushed: image"],
      "skipPush is not false",
    ],
  ],
  "image-by-digest": [
    [
      "by tag",
      run("image", "ghcr.io/my-org/wmtp:1"),
      ["image-by-digest: baseline"],
      "image is not repository@sha256:<digest>",
    ],
  ],
  "registry-scanned-immutable": [
    [
      "not scanned",
      (find) => set(find("aws:ecr/repository:Repository"), "imageScanningConfiguration", undefined),
      ["registry-scanned-immutable: image"],
      "imageScanningConfiguration.scanOnPush is not true",
    ],
  ],
} satisfies Cases;
