import * as pulumi from "@pulumi/pulumi";
import { BASE_OUTPUTS, type BaseOutput, type BaseOutputName } from "./base-outputs.ts";

/** What a base has only where its stack file names it. */
const PULL_CREDENTIAL = "imagePullCredential";

export type BaseOutputs<Name extends BaseOutputName> = { readonly [Output in Name]: BaseOutput<Output> };

/** Another stack of this project, by what it exports: a base, or one whose critic is read. */
export class BaseStack {
  readonly name: string;
  private readonly reference: pulumi.StackReference;

  /**
   * @param name of a stack of this project, for example "prod"
   * @param key of the stack file that names it
   */
  constructor(name: string, key = "wmtp:base") {
    if (name === pulumi.getStack()) throw new pulumi.RunError(`${key} is ${name}, the stack itself: name another`);
    this.name = name;
    this.reference = new pulumi.StackReference(name, {
      name: `${pulumi.getOrganization()}/${pulumi.getProject()}/${name}`,
    });
  }

  /**
   * Outputs of the stack, known in a preview; all or none, so that nothing is begun on half of them.
   * @throws pulumi.RunError, when they are read, that names those which the stack does not have in the form known here.
   */
  outputs<Name extends BaseOutputName>(names: readonly Name[]): pulumi.Output<BaseOutputs<Name>> {
    return pulumi.all(names.map((name) => this.reference.getOutput(name))).apply((values) => {
      const read = names.map((name, index) => [name, BASE_OUTPUTS[name].safeParse(values[index])] as const);
      const missing = read.filter(([, { success }]) => !success).map(([name]) => `"${name}"`);
      if (missing.length > 0) throw this.lacks(missing);
      return Object.fromEntries(read.map(([name, { data }]) => [name, data])) as BaseOutputs<Name>;
    });
  }

  /** One that not every stack has; undefined for one that is not there. */
  optional<Name extends BaseOutputName>(name: Name): pulumi.Output<BaseOutput<Name> | undefined> {
    return this.reference
      .getOutput(name)
      .apply((value) => BASE_OUTPUTS[name].safeParse(value).data as BaseOutput<Name> | undefined);
  }

  /** Undefined where the base names none: its image is public. */
  get pullCredential(): pulumi.Output<string | undefined> {
    return this.reference.getOutput(PULL_CREDENTIAL).apply((value) => (typeof value === "string" ? value : undefined));
  }

  private lacks(missing: readonly string[]): pulumi.RunError {
    const outputs = missing.length === 1 ? `output ${missing[0]}` : `outputs ${missing.join(", ")}`;
    return new pulumi.RunError(
      `the base stack ${this.name} has no ${outputs}: it was never deployed, or by an older version, or has a base itself, or names no ` +
        `pipeline and so has no volumes; run pulumi up --stack ${this.name} first`,
    );
  }
}
