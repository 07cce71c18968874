import * as pulumi from "@pulumi/pulumi";
import { messageOf } from "../launcher/errors.ts";
import { BASE_OUTPUTS, type BaseOutput, type BaseOutputName } from "./base-outputs.ts";

/** What a base has only where its stack file names it. */
const PULL_CREDENTIAL = "imagePullCredential";

type Given<Name extends BaseOutputName> = { readonly [Output in Name]: BaseOutput<Output> };

/**
 * Another stack of this project, by what it exports: a base, or one whose critic is read. Its outputs are read before anything is
 * declared, so that a stack which lacks some refuses the whole program and not one run in its middle.
 */
export class BaseStack {
  readonly name: string;
  private readonly outputs: Readonly<Record<string, unknown>>;

  private constructor(name: string, outputs: Readonly<Record<string, unknown>>) {
    this.name = name;
    this.outputs = outputs;
  }

  /**
   * @param name of a stack of this project, for example "prod"
   * @param key of the stack file that names it
   */
  static async read(name: string, key = "wmtp:base"): Promise<BaseStack> {
    if (name === pulumi.getStack()) throw new pulumi.RunError(`${key} is ${name}, the stack itself: name another`);
    const qualified = `${pulumi.getOrganization()}/${pulumi.getProject()}/${name}`;
    await requireStack(name, qualified);
    const reference = new pulumi.StackReference(name, { name: qualified });
    const read = [...Object.keys(BASE_OUTPUTS), PULL_CREDENTIAL].map(async (output) => [
      output,
      (await reference.getOutputDetails(output)).value,
    ]);
    return new BaseStack(name, Object.fromEntries(await Promise.all(read)));
  }

  /** @throws pulumi.RunError that names the outputs which the stack does not have, or not in the form known here. */
  take<Name extends BaseOutputName>(names: readonly Name[]): Given<Name> {
    const missing = names.filter((name) => this.find(name) === undefined).map((name) => `"${name}"`);
    if (missing.length > 0) throw this.lacks(missing);
    return Object.fromEntries(names.map((name) => [name, this.find(name)])) as Given<Name>;
  }

  /** One that not every stack has; undefined for one that is not there. */
  find<Name extends BaseOutputName>(name: Name): BaseOutput<Name> | undefined {
    return BASE_OUTPUTS[name].safeParse(this.outputs[name]).data as BaseOutput<Name> | undefined;
  }

  /** Undefined where the base names none: its image is public. */
  get pullCredential(): string | undefined {
    const credential = this.outputs[PULL_CREDENTIAL];
    return typeof credential === "string" ? credential : undefined;
  }

  private lacks(missing: readonly string[]): pulumi.RunError {
    const outputs = missing.length === 1 ? `output ${missing[0]}` : `outputs ${missing.join(", ")}`;
    return new pulumi.RunError(
      `the base stack ${this.name} has no ${outputs}: it was never deployed, or by an older version, or has a base itself, or names no ` +
        `pipeline and so has no volumes; run pulumi up --stack ${this.name} first`,
    );
  }
}

/** A reference to a stack that does not exist ends the program in the engine's words, which say no remedy. */
async function requireStack(name: string, qualified: string): Promise<void> {
  try {
    await pulumi.runtime.invoke("pulumi:pulumi:readStackOutputs", { name: qualified });
  } catch (error) {
    if (!messageOf(error).includes("unknown stack")) return; // the reference will fail for the same reason, and say it
    throw new pulumi.RunError(`the stack ${name} does not exist yet: run pulumi up --stack ${name} first`);
  }
}
