/** The comment for a pull request, from the engine's events. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readEvents } from "../../cli/engine-events.ts";
import { planComment } from "../../cli/plan-comment.ts";
import { UNKNOWN } from "../../launcher/values.ts";

const STACK = "urn:pulumi:dev::wmtp::pulumi:pulumi:Stack::wmtp-dev";
const RUN = "urn:pulumi:dev::wmtp::wmtp:index:TrainingRun$launcher:index:Run::critic";
const STORE = "urn:pulumi:dev::wmtp::wmtp:index:ArtifactStore$aws:s3/bucket:Bucket::store";
const COMPONENT = "urn:pulumi:dev::wmtp::wmtp:index:TrainingRun::critic";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "wmtp-comment-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function comment(events: object[], note?: string): string {
  const file = join(folder, "events.jsonl");
  writeFileSync(file, events.map((event) => JSON.stringify(event)).join("\n"));
  return planComment("dev", readEvents(file), note);
}

const step = (op: string, urn: string, rest: object = {}) => ({
  resourcePreEvent: { metadata: { op, urn, type: urn.split("::")[2]?.split("$").at(-1), ...rest } },
});
const outputs = (plan: unknown) => ({
  resOutputsEvent: { metadata: { op: "same", urn: STACK, type: "pulumi:pulumi:Stack", new: { outputs: { plan } } } },
});
const summary = (resourceChanges: object) => ({ summaryEvent: { resourceChanges } });
const error = (urn: string, message: string, severity = "error") => ({ diagnosticEvent: { severity, urn, message } });

test("the plan, then what changes; components only repeat", () => {
  const events = [
    step("same", STACK),
    step("update", COMPONENT),
    step("create-replacement", RUN),
    step("replace", RUN, { keys: ["fingerprint"], diffs: ["fingerprint", "trainerConfig"] }),
    step("delete-replaced", RUN),
    step("delete", STORE),
    outputs("### Plan of `dev`\n\n| pipeline |\n| --- |\n"),
    summary({ same: 3, replace: 1 }),
  ];
  expect(comment(events)).toBe(`<!-- wmtp:plan:dev -->

### Plan of \`dev\`

| pipeline |
| --- |

<details><summary>Changes: 3 unchanged, 1 to replace</summary>

- delete \`aws:s3/bucket:Bucket\` \`store\`
- replace \`launcher:index:Run\` \`critic\`: \`fingerprint\`, \`trainerConfig\`

</details>
`);
});

test("errors and policies come first, as text that is nothing else", () => {
  const message = "cause ```\n@everyone <!-- --> | a";
  const policy = {
    policyName: "cost-budget",
    enforcementLevel: "mandatory",
    resourceUrn: STACK,
    message: "more than the budget",
  };
  const told = comment([
    error(RUN, message),
    error("", "preview failed\n"),
    error(RUN, "only a warning", "warning"),
    { policyEvent: policy },
    { policyEvent: { ...policy, policyName: "one-gpu", enforcementLevel: "advisory" } },
    summary({}),
  ]);
  expect(told).toBe(`<!-- wmtp:plan:dev -->

### Plan of \`dev\`

:x: **1 error, 1 broken policy**: this cannot be deployed.

#### Errors

\`critic\`

\`\`\`\`text
${message}
\`\`\`\`

#### Policies

**mandatory** \`cost-budget\` on \`wmtp-dev\`

\`\`\`text
more than the budget
\`\`\`

**advisory** \`one-gpu\` on \`wmtp-dev\`

\`\`\`text
more than the budget
\`\`\`
`);
});

test("what is not known, what never began, and how it was made", () => {
  expect(comment([outputs(UNKNOWN), summary({ same: 1 })])).toContain(
    "_What would train hangs on something that is not made yet._",
  );
  expect(comment([])).toBe(
    "<!-- wmtp:plan:dev -->\n\n### Plan of `dev`\n\n:x: **The preview was cut off, or never began**: see the log of the job.\n",
  );
  expect(comment([summary({ same: 1 })], "Made without a login.")).toContain("\n\n_Made without a login._\n\n");
});

test("however much there is, GitHub takes it", () => {
  const many = Array.from({ length: 500 }, (_, place) => [
    error(RUN, `${place} ${"x".repeat(5000)}`),
    step("create", `${RUN}${place}`),
  ]).flat();
  const told = comment([...many, outputs("y".repeat(50_000)), summary({ create: 500 })]);
  expect(told.length).toBeLessThanOrEqual(60_001);
  expect(told).toMatch(/\n\n_Cut here: the whole is in the log of the job\._\n$/);
  expect(
    comment([...many.slice(1, 2), ...many.filter((_event, place) => place % 2 === 1), summary({ create: 500 })]),
  ).toContain("- and 441 more");
});
