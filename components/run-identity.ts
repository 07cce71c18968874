import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import type { ArtifactStore } from "./artifact-store.ts";
import { PREFIXES } from "./bucket-layout.ts";
import { policyDocument, prefixAccess } from "./iam.ts";
import { type Transform, transform } from "./transform.ts";

export interface RunIdentityArgs {
  /** @example "prod" */
  readonly stack: string;
  readonly store: ArtifactStore;
  /** Access keys by name, the last one in use; one, or two while they are rotated. */
  readonly accessKeys: readonly string[];
  readonly transform?: { readonly policy?: Transform<aws.iam.UserPolicyArgs> };
}

/**
 * Who the training runs are to AWS: a user, because rented GPUs are in no AWS account. It reads models and data sets and writes the
 * checkpoints of its stack; those of experiments lie below them, in `checkpoints/<stack>/experiments/`. Artifacts go to the tracker,
 * which keeps them.
 *
 * ### Cost
 * None.
 */
export class RunIdentity extends pulumi.ComponentResource {
  readonly accessKeyId: pulumi.Output<string>;
  /** Secret. No run has it in its spec, so that another key trains nothing again. */
  readonly secretAccessKey: pulumi.Output<string>;

  constructor(name: string, args: RunIdentityArgs, opts?: pulumi.ComponentResourceOptions) {
    const { stack, store, accessKeys } = args;
    super("wmtp:index:RunIdentity", name, { stack, accessKeys }, opts);
    const own = { parent: this };
    const user = new aws.iam.User(name, { name: `wmtp-${stack}-runs`, path: "/wmtp/" }, own);
    const policy = new aws.iam.UserPolicy(
      ...transform(
        args.transform?.policy,
        name,
        {
          user: user.name,
          policy: policyDocument(
            prefixAccess({
              bucketArn: store.bucketArn,
              read: [PREFIXES.models, PREFIXES.datasets],
              write: [`${PREFIXES.checkpoints}${stack}/`],
              kmsKeyArn: store.kmsKeyArn,
            }),
          ),
        },
        own,
      ),
    );
    // A key is of use only once the user may do something.
    const keys = accessKeys.map(
      (key) => new aws.iam.AccessKey(`${name}-${key}`, { user: user.name }, { ...own, dependsOn: [policy] }),
    );
    const inUse = keys.at(-1) as aws.iam.AccessKey;
    this.accessKeyId = inUse.id;
    this.secretAccessKey = pulumi.secret(inUse.secret);
    this.registerOutputs({ accessKeyId: this.accessKeyId });
  }
}
