import * as pulumi from "@pulumi/pulumi";
import type { Place } from "../launcher/by-place.ts";
import { OrgSecret } from "./launcher-resources.ts";
import { RUNS_USER } from "./mlflow-host/user-data.ts";

/** Variables of a run that are secret, in the order of their importance: without the first three it cannot work. */
export const SECRET_VARIABLES = [
  "AWS_ACCESS_KEY_ID",
  "AWS_SECRET_ACCESS_KEY",
  "MLFLOW_TRACKING_PASSWORD",
  "HF_TOKEN",
] as const;
export type SecretVariable = (typeof SECRET_VARIABLES)[number];

/** How a run on the GPU cloud gets at its bucket and its tracker. */
export interface RunAccess {
  /** Plain variables. */
  readonly env: Readonly<Record<string, pulumi.Input<string>>>;
  /** Name of the organization's secret that holds a variable, by variable. */
  readonly secrets: pulumi.Input<Record<string, string>>;
  /** The base's credential for a private image, where the stack names none; undefined: a public image. */
  readonly pullCredential?: string;
  /** What must be there before a run starts. */
  readonly dependsOn: readonly pulumi.Resource[];
}

/** Plain variables of every run; one that is empty is left out. @param caCertificate PEM of the tracker's own CA, or empty */
export function plainVariables(args: {
  readonly region: pulumi.Input<string>;
  readonly bucket: pulumi.Input<string>;
  readonly caCertificate: pulumi.Input<string>;
}): Record<string, pulumi.Input<string>> {
  return {
    AWS_DEFAULT_REGION: args.region,
    S3_BUCKET_NAME: args.bucket,
    MLFLOW_TRACKING_USERNAME: RUNS_USER,
    WMTP_TRACKER_CA: args.caCertificate,
  };
}

/**
 * Name of the organization's secret that holds `variable` for the runs of `stack` and of the experiments on it. Letters, digits and
 * underscores only: what every store of secrets takes.
 */
export function secretName(stack: string, variable: SecretVariable): string {
  return `WMTP_${stack.replaceAll(/[^A-Za-z0-9]/g, "_").toUpperCase()}_${variable}`;
}

/** Names of the secrets of `stack` that hold these variables. */
export function secretNames(stack: string, variables: readonly SecretVariable[]): Record<string, string> {
  return Object.fromEntries(variables.map((variable) => [variable, secretName(stack, variable)]));
}

export interface RunSecretsArgs {
  readonly stack: string;
  readonly place: pulumi.Input<Place>;
  /** Secret values; one that is undefined is left out. */
  readonly values: Readonly<Record<SecretVariable, pulumi.Output<string> | undefined>>;
}

/**
 * The stack's secrets on the GPU cloud. Runs name them and never hold them, so that another value trains nothing again. All members of
 * the organization can use its secrets.
 *
 * ### Cost
 * None.
 */
export class RunSecrets extends pulumi.ComponentResource {
  /** Variables that have a secret. */
  readonly variables: readonly SecretVariable[];

  constructor(name: string, { stack, place, values }: RunSecretsArgs, opts?: pulumi.ComponentResourceOptions) {
    super("wmtp:index:RunSecrets", name, { stack }, opts);
    this.variables = SECRET_VARIABLES.filter((variable) => values[variable] !== undefined);
    for (const variable of this.variables) {
      const value = pulumi.secret(values[variable] as pulumi.Output<string>);
      new OrgSecret(variable, { place, name: secretName(stack, variable), value }, { parent: this });
    }
    this.registerOutputs({ variables: this.variables });
  }
}
