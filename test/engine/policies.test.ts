/** The policies in the real engine: what they refuse, what they let pass, what a preview does not know. */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { POLICIES_BY_THEME } from "../../policy/all.ts";
import { THEMES } from "../../policy/policy.ts";
import { BROKEN, LAB } from "../policy/lab.ts";
import { EngineStack } from "../support/engine-stack.ts";

jest.setTimeout(300_000);
const PROJECT = resolve(import.meta.dirname, "..", "..");
/** What the SDK says of a policy that touched something unknown: that it was skipped. */
const SKIPPED = /can't run policy/;

interface Violation {
  readonly policyName: string;
  readonly resourceUrn: string;
  readonly message: string;
  readonly enforcementLevel: string;
}

/** Runs a preview, and answers with what the engine itself says of the policies. */
function preview(stack: EngineStack) {
  const file = join(stack.root, "events.json");
  rmSync(file, { force: true });
  const env = { ...stack.env, PULUMI_DEBUG_COMMANDS: "1" };
  const { code, text } = stack.pulumiIn(env, "preview", "--event-log", file);
  const events = readFileSync(file, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { policyEvent?: Violation });
  return { code, text, violations: events.flatMap(({ policyEvent }) => policyEvent ?? []) };
}
const found = (violations: readonly Violation[]) =>
  violations.map(({ policyName, resourceUrn }) => `${policyName}: ${resourceUrn.split("::").at(-1)}`).sort();

describe("prod", () => {
  let stack: EngineStack;
  beforeAll(() => {
    stack = new EngineStack("prod", { from: "prod", policies: true });
  });
  afterAll(() => stack?.dispose());

  test("passes: no violation, no policy skipped, no waiver; and what the update decides is said", () => {
    const { code, text, violations } = preview(stack);
    expect({ code, violations, skipped: SKIPPED.test(text) }).toEqual({ code: 0, violations: [], skipped: false });
    expect(text).toContain("Policies that the update decides, because a preview does not know the values:");
    expect(text).toContain("secret-in-user-data: tracker");
  });

  test("with one waiver for what it violates passes, and says the waiver each time", () => {
    const before = stack.configuration();
    const waiver = {
      policy: "tracker-open-to-internet",
      resource: "tracker",
      reason: "rented nodes have no fixed address",
      expires: "2999-12-31",
    };
    stack.configure({ "wmtp:tracking.allowedCidrs": ["0.0.0.0/0"], "wmtp:waivers": [waiver] });
    const { code, violations } = preview(stack);
    stack.restore(before);
    expect({ code, found: found(violations) }).toEqual({ code: 0, found: ["waivers-in-force: wmtp-prod"] });
    expect(violations[0]).toMatchObject({
      enforcementLevel: "advisory",
      message: expect.stringContaining(
        "tracker-open-to-internet is waived for tracker until 2999-12-31: rented nodes have no fixed address",
      ),
    });
  });

  test("with the tutorials' MLflow beside it, and a violation of each theme, is refused in one preview", () => {
    const before = stack.configuration();
    stack.configure({
      "aws:defaultTags": undefined,
      "wmtp:cost.budget": 100,
      "wmtp:pipelines.verifiable": { gpus: 4, maxDuration: "48h", criticCheckpoint: "old/checkpoint_best.pt" },
    });
    const main = join(stack.project, "main.js");
    rmSync(main);
    writeFileSync(main, badProgram());
    const { code, text, violations } = preview(stack);
    stack.restore(before);
    expect(code).not.toBe(0);
    expect(SKIPPED.test(text)).toBe(false);
    const ids = new Set(violations.map(({ policyName }) => policyName));
    for (const id of BROKEN) expect(ids).toContain(id);
    for (const theme of THEMES) {
      const broken = POLICIES_BY_THEME[theme].filter(({ id }) => ids.has(id));
      expect({ theme, broken: broken.length > 0 }).toEqual({ theme, broken: true });
    }
    expect(found(violations)).toEqual(
      expect.arrayContaining([
        "cost-budget: wmtp-prod",
        "image-tag-literal: loose",
        "port-open-to-internet: unknown-port",
        "run-safetensors: verifiable",
      ]),
    );
    const unknown = violations.find(({ resourceUrn }) => resourceUrn.endsWith("::unknown-port"));
    expect(unknown?.message).toContain("is not known in a preview, and must be: write it literally");
    expect(text).not.toContain("AKIAIOSFODNN7EXAMPLE");
    expect(violations.every(({ enforcementLevel }) => enforcementLevel === "mandatory")).toBe(true);
  });
});

/** Prod, and what nobody should add to it. */
function badProgram(): string {
  const lab = JSON.stringify(LAB);
  return `
    import * as pulumi from "@pulumi/pulumi";
    export default async function main() {
      await import(${JSON.stringify(join(PROJECT, "index.ts"))});
      const made = (type, name, props) => new pulumi.CustomResource(type, name, props);
      for (const [type, name, props] of ${lab}) made(type, name, props);
      const group = made("aws:ec2/securityGroup:SecurityGroup", "described", { description: "a group" });
      made("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule", "unknown-port", {
        securityGroupId: group.id, cidrIpv4: "0.0.0.0/0", ipProtocol: "tcp", description: "from what AWS makes up",
        fromPort: group.id.apply((id) => id.length), toPort: group.id.apply((id) => id.length),
      });
      made("docker:index/image:Image", "loose", {
        imageName: "ghcr.io/my-org/wmtp:latest", build: { context: "trainer", dockerfile: "trainer/Dockerfile" },
      });
    }`;
}

describe("minitest", () => {
  let stack: EngineStack;
  beforeAll(() => {
    stack = new EngineStack("held", {
      policies: true,
      config: {
        "wmtp:pipelines": { rho1: { gpus: 1, maxDuration: "10m" } },
        "wmtp:policies": { levels: { "run-one-gpu": "mandatory" } },
      },
    });
  });
  afterAll(() => stack?.dispose());

  test("an update without a preview is refused too, before the run starts", () => {
    const { code, text } = stack.up();
    expect(code).not.toBe(0);
    expect(text).toContain("run-one-gpu");
    expect(stack.trained()).toEqual([]);
  });

  test("a policy that is advisory says it, and lets it train; what is known is asked again in the update", () => {
    stack.configure({ "wmtp:policies": undefined });
    const { code, text } = stack.up();
    expect({ code, text }).toMatchObject({ code: 0 });
    expect(text).toContain("[advisory] [severity: low]  run-one-gpu  (launcher:index:Run: rho1)");
    expect(stack.trainedSince([])).toEqual(["rho1"]);
  });

  test("policies older than their sources let nothing pass", () => {
    const sources = join(stack.project, ".tools", "policy", "sources.json");
    const known = JSON.parse(readFileSync(sources, "utf8"));
    writeFileSync(sources, JSON.stringify({ ...known, "policy/cost.ts": "of another day" }));
    const { code, text } = stack.pulumi("preview");
    writeFileSync(sources, JSON.stringify(known));
    expect(code).not.toBe(0);
    expect(text).toContain("policy/cost.ts is newer than the compiled policies: run make setup");
  });
});
