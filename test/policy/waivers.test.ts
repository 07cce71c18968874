/** Waivers and levels: what they silence, what they do not, and what is said of them. */
import { POLICIES } from "../../policy/all.ts";
import { Enforcement } from "../../policy/enforcement.ts";
import type { Policy } from "../../policy/policy.ts";
import { readSettings, SettingsError } from "../../policy/stack-settings.ts";
import { byHand, type Changeable, environment, judge, prod, resourcesOf } from "./support.ts";

let open: Changeable[];
const everybody = { ...prod, "wmtp:waivers": [waiver({})], "wmtp:tracking": { allowedCidrs: ["0.0.0.0/0"] } };
beforeAll(async () => {
  open = await resourcesOf(everybody);
});

function waiver(change: object) {
  return {
    policy: "tracker-open-to-internet",
    resource: "tracker",
    reason: "rented nodes have no fixed address",
    expires: "2999-12-31",
    ...change,
  };
}
const judged = (waivers: readonly object[], sections: object = {}) =>
  judge(open, { ...prod, "wmtp:waivers": waivers, ...sections });

test("a waiver silences its policy for its resource, and is said", () => {
  expect(judged([waiver({})])).toMatchObject({
    violations: [],
    waived: ["tracker-open-to-internet is waived for tracker until 2999-12-31: rented nodes have no fixed address"],
  });
});

test("it silences no other policy and no other resource, and is then of no use", () => {
  for (const change of [{ policy: "port-open-to-internet" }, { resource: "store" }]) {
    const { violations, messages, waived } = judged([waiver(change)]);
    expect(violations).toEqual(["tracker-open-to-internet: tracker", "waivers-valid"]);
    expect(messages[1]).toMatch(/^the waiver of .* is of no use: nothing there violates it/);
    expect(waived).toEqual([]);
  }
});

test("one that has expired silences nothing, and is a violation itself", () => {
  const { violations, messages } = judged([waiver({ expires: "2020-01-01" })]);
  expect(violations).toEqual(["tracker-open-to-internet: tracker", "waivers-valid"]);
  expect(messages[1]).toMatch(/^the waiver of tracker-open-to-internet for tracker has expired \(2020-01-01\)/);
});

test("one that a preview cannot decide about is not of no use yet", async () => {
  const config = { ...prod, "wmtp:waivers": [waiver({ policy: "secret-in-user-data" })] };
  const preview = await resourcesOf(prod, { preview: true, known: false });
  expect(judge(preview, config, { preview: true }).violations).toEqual([]);
  expect(judge(await resourcesOf(prod), config).violations).toEqual(["waivers-valid"]);
});

test("a level of the stack file counts, and a policy that is disabled needs no waiver", () => {
  const levels = (level: string) => ({ "wmtp:policies": { levels: { "tracker-open-to-internet": level } } });
  expect(judged([], levels("disabled")).violations).toEqual([]);
  expect(judged([waiver({})], levels("disabled")).violations).toEqual(["waivers-valid"]);
});

test("what an update does not know is no pass", async () => {
  const preview = await resourcesOf(prod, { preview: true, known: false });
  const { violations, undecided } = judge(preview, prod, { preview: false });
  expect(undecided).toEqual([]);
  expect(violations).toContain("secret-in-user-data: tracker");
  expect(violations).toContain("image-by-digest: critic");
});

test("a policy that fails itself is no pass, and its error repeats nothing", async () => {
  const bucket = "aws:s3/bucketPolicy:BucketPolicy";
  const resources = await resourcesOf(prod);
  for (const one of resources.filter(({ type }) => type === bucket)) one.props = { ...one.props, policy: "{planted" };
  const { violations, messages } = judge(resources, prod);
  expect(violations).toContain("bucket-tls-only: store");
  expect(violations).toContain("iam-action-wildcard: store");
  const settings = readSettings(environment(prod), ".");
  const said: string[] = [];
  const broken = { ...(POLICIES[0] as Policy), eachOf: () => void JSON.parse("{planted") };
  const type = broken.types?.[0] as string;
  new Enforcement(settings).eachOf(broken, byHand(type, "one", {}), (message) => said.push(message));
  expect(said).toEqual([expect.stringMatching(/^bucket-public-access-blocked failed itself and cannot decide \(at /)]);
  expect([...messages, ...said].join()).not.toContain("planted");
});

describe("the stack file", () => {
  test("that the engine did not hand over lets nothing pass", () => {
    expect(() => readSettings({}, ".")).toThrow(SettingsError);
  });

  test("with a section that is not valid lets nothing pass, and its values are not repeated", () => {
    const settings = () => readSettings(environment({ ...prod, "wmtp:cost": { budget: "planted" } }), ".");
    expect(settings).toThrow("wmtp:cost is not valid, so no policy can go by it: see the errors of the stack file");
  });
});
