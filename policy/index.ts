/** Makes the pack. The engine runs what tools/policy-pack.ts compiles from this; nothing else imports it. */
import { resolve } from "node:path";
import {
  type Policies,
  PolicyPack,
  type ReportViolation,
  type ResourceValidation,
  validateResourceOfType,
} from "@pulumi/policy";
import { POLICIES } from "./all.ts";
import { Enforcement, type Report } from "./enforcement.ts";
import { staleSource } from "./freshness.ts";
import type { Policy } from "./policy.ts";
import { Readings } from "./readings.ts";
import { readSettings, SettingsError, type StackSettings } from "./stack-settings.ts";

/** The compiled pack is in `.tools/policy` of the project. */
const PACK = process.cwd();
const PROJECT = resolve(PACK, "..", "..");

/** A pack that cannot decide says why, and lets nothing pass. */
function refusal(description: string, message: string): Policies {
  return [
    {
      name: "policies-readable",
      description,
      enforcementLevel: "mandatory",
      validateResource: (args, report) => {
        if (args.type === "pulumi:pulumi:Stack") report(message);
      },
    },
  ];
}

function policies(): Policies {
  const stale = staleSource(PACK, PROJECT);
  if (stale !== undefined) {
    return refusal(
      "The policies are those of the sources",
      `${stale} is newer than the compiled policies: run make setup, then the same command again`,
    );
  }
  let settings: StackSettings;
  try {
    settings = readSettings(process.env, PROJECT);
  } catch (error) {
    if (!(error instanceof SettingsError)) throw error;
    return refusal("The policies can read the stack file", error.message);
  }
  const enforcement = new Enforcement(settings);
  const readings = new Readings();
  return [...POLICIES.map((policy) => toSdk(policy, enforcement, readings)), ...onWaivers(enforcement, readings)];
}

function toSdk(policy: Policy, enforcement: Enforcement, readings: Readings): Policies[number] {
  const { id: name, demands: description, severity, remedy: remediationSteps, types, stackTypes } = policy;
  const common = {
    name,
    description,
    severity,
    remediationSteps,
    enforcementLevel: enforcement.levelOf(policy),
    tags: [...policy.controls],
  };
  return {
    ...common,
    ...(types === undefined
      ? {}
      : {
          validateResource: ofTypes(types, (args, report) => {
            enforcement.eachOf(policy, readings.resource(policy.id, args), reporter(report));
          }),
        }),
    ...(stackTypes === undefined
      ? {}
      : {
          validateStack: ({ resources }, report) => {
            if (!resources.some(({ type }) => stackTypes.includes(type))) return;
            enforcement.wholeStack(policy, readings.stack(policy.id, resources), reporter(report));
          },
        }),
  } as Policies[number];
}

/** The SDK reads the properties of a resource anew for each policy, unless it knows that the policy is about another type. */
function ofTypes(
  types: readonly string[] | "every",
  validate: ResourceValidation,
): ResourceValidation | ResourceValidation[] {
  if (types === "every") return validate;
  return types.length > 1
    ? (args, report) => (types.includes(args.type) ? validate(args, report) : undefined)
    : validateResourceOfType({ __pulumiType: types[0] } as never, (_props, args, report) => validate(args, report));
}

function reporter(report: ReportViolation): Report {
  return (message, urn) => report(message, urn);
}

/** Last in the pack, because they are about what the others found. */
function onWaivers(enforcement: Enforcement, readings: Readings): Policies {
  return [
    {
      name: "waivers-valid",
      description: "Every waiver is in force, and there is something that it waives",
      enforcementLevel: "mandatory",
      validateStack: (_args, report) => {
        enforcement.reportWaivers(reporter(report));
      },
    },
    {
      name: "waivers-in-force",
      description: "What is waived is said at every preview and update",
      enforcementLevel: "advisory",
      validateStack: (_args, report) => {
        enforcement.reportWaived(reporter(report));
        readings.clear();
        const undecided = enforcement.undecided();
        if (undecided.length > 0) {
          console.log(
            `Policies that the update decides, because a preview does not know the values:\n${undecided.map((line) => `  ${line}`).join("\n")}`,
          );
        }
      },
    },
  ];
}

new PolicyPack("wmtp", { policies: policies() });
