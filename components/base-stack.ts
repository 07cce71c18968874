import * as pulumi from "@pulumi/pulumi";
import type { SecretVariable } from "./run-access.ts";

/** What a stack with `wmtp:base` takes from its base, as the base exports it: flat, and no secrets. */
const OUTPUTS = ["region", "bucket", "trackerUrl", "trackerCaCertificate", "image", "runSecrets"] as const;
/** What a base has only where its stack file names it. */
const PULL_CREDENTIAL = "imagePullCredential";
type OutputName = (typeof OUTPUTS)[number];

/** The stack an experiment builds on: it owns bucket, tracker, image and secrets; its experiments own their runs. */
export class BaseStack {
  readonly name: string;
  private readonly reference: pulumi.StackReference;

  /** @param name of a stack of this project, for example "prod" */
  constructor(name: string) {
    if (name === pulumi.getStack()) throw new pulumi.RunError(`wmtp:base is ${name}, the stack itself: name another`);
    this.name = name;
    this.reference = new pulumi.StackReference(name, {
      name: `${pulumi.getOrganization()}/${pulumi.getProject()}/${name}`,
    });
  }

  /** @throws pulumi.RunError, when it is read, where the base was deployed without this output, or never. */
  text(output: Exclude<OutputName, "runSecrets">): pulumi.Output<string> {
    return this.reference
      .getOutput(output)
      .apply((value) => (typeof value === "string" ? value : this.missing(output)));
  }

  /** Variables for which the base has a secret on the GPU cloud. */
  get runSecrets(): pulumi.Output<SecretVariable[]> {
    return this.reference
      .getOutput("runSecrets")
      .apply((value) => (Array.isArray(value) ? value : this.missing("runSecrets")));
  }

  /** Undefined where the base names none: its image is public. */
  get pullCredential(): pulumi.Output<string | undefined> {
    return this.reference.getOutput(PULL_CREDENTIAL).apply((value) => (typeof value === "string" ? value : undefined));
  }

  private missing(output: OutputName): never {
    throw new pulumi.RunError(
      `the base stack ${this.name} has no output "${output}": it was never deployed, or by an older version, or has a base itself; ` +
        `run pulumi up --stack ${this.name} first`,
    );
  }
}
