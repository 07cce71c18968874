/** Prints docs/policies.md, made from the policies themselves: `node tools/policy-table.ts`, which `make schemas` does. */
import { POLICIES_BY_THEME } from "../policy/all.ts";
import { type Policy, THEMES } from "../policy/policy.ts";

/** For each theme, what a reader wants to know of its policies at a glance. */
const TITLES: Readonly<Record<(typeof THEMES)[number], string>> = {
  storage: "Storage",
  network: "Network",
  identity: "Identity",
  secrets: "Secrets",
  image: "Image",
  training: "Training",
  cost: "Cost",
  tags: "Tags",
};

export function policyDocument(): string {
  const tables = THEMES.map((theme) => [`## ${TITLES[theme]}`, "", ...table(POLICIES_BY_THEME[theme]), ""].join("\n"));
  return `${INTRODUCTION}\n${tables.join("\n")}`;
}

function table(policies: readonly Policy[]): string[] {
  const rows = policies.map((policy) => [
    `\`${policy.id}\``,
    `${policy.demands}`,
    `${policy.severity}${policy.level === undefined ? "" : `, ${policy.level}`}`,
    policy.controls.join("; "),
    policy.remedy,
  ]);
  const cells = [["id", "what must hold", "severity", "demanded elsewhere", "what to do"], ...rows].map((row) =>
    row.map((cell) => cell.replaceAll("|", "\\|")),
  );
  const lines = cells.map((row) => `| ${row.join(" | ")} |`);
  return [lines[0] as string, "| --- | --- | --- | --- | --- |", ...lines.slice(1)];
}

const INTRODUCTION = `# Policies

<!-- Made from policy/ by tools/policy-table.ts (make schemas). -->

Every \`make preview\`, \`make up\` and, after \`eval "$(make env)"\`, every \`pulumi preview\` and \`pulumi up\` is held to the policies below: a
violation of a mandatory one ends the preview with an error, before anything is created, changed or paid for. An update asks again, resource
by resource, before each is touched; what is about the whole stack (cost, order, parts that are missing) it asks at its end, so do not skip
the preview. \`PULUMI_OPTION_POLICY_PACK=\` (empty) goes without.

They look at what the program asks for, not at what AWS has: drift is \`pulumi refresh\`'s to find. Whether a resource is retained when it is destroyed,
and which of its inputs are marked secret, policies are not told.

**What is not known in a preview.** What is literal by design (ports, blocks, presets, durations, tags) must be known, or it is a violation. What AWS makes up first (the
policy that names a secret's ARN, user data, the digest of an image never built) is decided by the update, before it changes the resource; the
preview names those policies at its end. Nothing passes because it was not known.

**Levels.** All are mandatory, unless the table says otherwise. A stack file may change that:

\`\`\`yaml
wmtp:policies: {levels: {run-one-gpu: mandatory, cost-host: advisory, image-pushed: disabled}}
\`\`\`

**Waivers.** One policy, for one resource, for a reason, until a day. The resource is the logical name at which the preview shows the violation;
for a violation of the whole stack that is \`wmtp-<stack>\`. Every preview says what is waived and why. A waiver that has expired, or that waives nothing, is a violation.

\`\`\`yaml
wmtp:waivers:
  - {policy: tracker-open-to-internet, resource: tracker, reason: rented nodes have no fixed address, expires: 2027-03-31}
\`\`\`

**Prices and caps** are those of \`wmtp:cost\`; an experiment has its base's, with its own on top. On the local target nothing is paid for, and the cost policies look at nothing.

Of what auditors ask for, this is left out: rotation and customer keys of secrets and buckets (\`storage.kmsKeyArn\` has one), cross-region copies, MFA delete, flow logs, termination
protection of the host (it can be made again; its data is protected), and private addresses alone (rented GPUs come from the internet).
`;

if (import.meta.main) process.stdout.write(policyDocument());
