/** What a stack on AWS is refused for before anything exists: the path, the value, what is allowed. */
import { parseSections } from "../../components/config.ts";
import { withoutFollowers } from "../../components/config-problems.ts";
import { checkInfrastructure, type Surroundings } from "../../components/infrastructure-rules.ts";
import { rawConfig } from "../support/stack-config.ts";

const SURROUNDINGS: Surroundings = { region: "eu-north-1", secrets: new Set(), today: "2026-11-22" };
const FINE = {
  launcher: { target: "vessl", vessl: { organization: "my-org" } },
  tracking: { allowedCidrs: ["203.0.113.0/24"] },
  image: { repository: "ghcr.io/my-org/wmtp" },
};

function refusals(sections: Record<string, unknown>, surroundings: Partial<Surroundings> = {}): string[] {
  const secrets = new Set(surroundings.secrets ?? []);
  const raw = rawConfig({ ...FINE, ...sections });
  for (const secret of secrets) raw[secret] = "hidden";
  const parsed = parseSections(raw, secrets);
  const further = checkInfrastructure(parsed.sections, { ...SURROUNDINGS, ...surroundings });
  return [...parsed.problems, ...withoutFollowers(parsed.problems, further)].map(
    ({ path, message }) => `${path}: ${message}`,
  );
}
const tracking = (values: object) => ({ tracking: { ...FINE.tracking, ...values } });
const image = (values: object) => ({ image: { ...FINE.image, ...values } });
const WAIVER = {
  policy: "tracker-open-to-internet",
  resource: "tracker",
  reason: "rented nodes have no fixed address",
  expires: "2026-12-31",
};

test("a plain stack is fine", () => {
  expect(refusals({})).toEqual([]);
});

test("the local target needs none of it", () => {
  expect(refusals({ launcher: { target: "local" }, tracking: {}, image: {} }, { region: undefined })).toEqual([]);
});

test.each<[string, Record<string, unknown>, Partial<Surroundings>, string]>([
  [
    "no region",
    {},
    { region: undefined },
    "aws:region: is missing; set it with: pulumi config set aws:region eu-north-1",
  ],
  ["no real region", {}, { region: "stockholm" }, 'aws:region: "stockholm" is not a region such as eu-north-1'],
  [
    "acceleration where S3 has none",
    { storage: { transferAcceleration: true } },
    {},
    "wmtp:storage.transferAcceleration: S3 has no Transfer Acceleration in eu-north-1; it has in ap-northeast-1, ",
  ],
  [
    "acceleration of a name with a dot",
    { storage: { bucket: "my.bucket", transferAcceleration: true } },
    { region: "eu-west-1" },
    "wmtp:storage.transferAcceleration: S3 cannot accelerate a bucket with a dot in its name (my.bucket)",
  ],
  [
    "acceleration of somebody else's bucket",
    { storage: { adopt: true, transferAcceleration: true } },
    { region: "eu-west-1" },
    "wmtp:storage.transferAcceleration: an adopted bucket keeps the settings of its owner",
  ],
  [
    "a key of another region",
    { storage: { kmsKeyArn: "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab" } },
    {},
    "wmtp:storage.kmsKeyArn: the key must be in the bucket's region, eu-north-1",
  ],
  [
    "an alias instead of a key",
    { storage: { kmsKeyArn: "alias/wmtp" } },
    {},
    'wmtp:storage.kmsKeyArn: "alias/wmtp" is not the ARN of a KMS key',
  ],
  ["three keys", { storage: { accessKeys: ["1", "2", "3"] } }, {}, "wmtp:storage.accessKeys: "],
  ["a key twice", { storage: { accessKeys: ["1", "1"] } }, {}, 'wmtp:storage.accessKeys: "1" stands there twice'],
  ["nobody allowed", tracking({ allowedCidrs: [] }), {}, "wmtp:tracking.allowedCidrs: names nobody; list the blocks"],
  [
    "everybody allowed",
    tracking({ allowedCidrs: ["0.0.0.0/0"] }),
    {},
    "wmtp:tracking.allowedCidrs.0: 0.0.0.0/0 lets the whole internet reach the tracker's login; name narrower blocks, or take the risk on record: wmtp:waivers: [{policy: tracker-open-to-internet, resource: tracker,",
  ],
  [
    "everybody in two halves",
    tracking({ allowedCidrs: ["203.0.113.0/24", "128.0.0.0/1"] }),
    {},
    "wmtp:tracking.allowedCidrs.1: with the blocks before it 128.0.0.0/1 lets the whole internet",
  ],
  [
    "everybody in many pieces",
    tracking({ allowedCidrs: ["1.0.0.0/8", "2.0.0.0/8", "3.0.0.0/8"] }),
    {},
    "wmtp:tracking.allowedCidrs.1: with the blocks before it 2.0.0.0/8 lets the whole internet",
  ],
  [
    "a block twice",
    tracking({ allowedCidrs: ["203.0.113.0/24", "203.0.113.0/24"] }),
    {},
    "wmtp:tracking.allowedCidrs.1: 203.0.113.0/24 stands there twice",
  ],
  [
    "more blocks than a security group takes",
    tracking({ allowedCidrs: Array.from({ length: 51 }, (_, index) => `203.0.113.${index}/32`) }),
    {},
    "wmtp:tracking.allowedCidrs: ",
  ],
  [
    "an address as a domain",
    tracking({ domain: "203.0.113.5" }),
    {},
    'wmtp:tracking.domain: "203.0.113.5" is not a host',
  ],
  ["a label with a hyphen at its end", tracking({ domain: "a-.example.org" }), {}, "wmtp:tracking.domain: "],
  [
    "half a gigabyte",
    tracking({ instanceType: "t3.nano" }),
    {},
    'wmtp:tracking.instanceType: "t3.nano" is not a current',
  ],
  ["China", {}, { region: "cn-north-1" }, "aws:region: cn-north-1 is not supported"],
  [
    "an address as a bucket",
    { storage: { bucket: "192.168.5.4" } },
    {},
    'wmtp:storage.bucket: "192.168.5.4" is a name that S3 keeps for itself or refuses',
  ],
  ["two dots in a row", { storage: { bucket: "wm..tp" } }, {}, 'wmtp:storage.bucket: "wm..tp" is a name that S3'],
  [
    "a name too long for its logs",
    { storage: { bucket: "a".repeat(52) } },
    {},
    "is too long: its access logs go to <bucket>-access-logs, and S3 allows 63 characters",
  ],
  [
    "an empty part in a repository",
    image({ repository: "ghcr.io//wmtp" }),
    {},
    'wmtp:image.repository: "ghcr.io//wmtp" is not a repository such as',
  ],
  [
    "a base image that is no reference",
    image({ baseImage: `PY THON;x@sha256:${"0".repeat(64)}` }),
    {},
    "wmtp:image.baseImage: ",
  ],
  [
    "a password that MLflow refuses",
    {},
    { adminPasswordLength: 11 },
    "wmtp:mlflowAdminPassword: has fewer than 12 characters; set a longer one with: pulumi config set --secret",
  ],
  ["a reason of blanks", { waivers: [{ ...WAIVER, reason: " ".repeat(20) }] }, {}, "wmtp:waivers.0.reason: "],
  ["a namespace of nobody", { "mwpq:storage": {} }, {}, "mwpq:storage: unknown namespace; did you mean"],
  [
    "a namespace of nobody at all",
    { "azure:location": "x" },
    {},
    "azure:location: unknown namespace; known: wmtp, aws, command, docker, launcher, pulumi, random, tls",
  ],
  ["a key of AWS in clear", { "aws:secretKey": "x" }, {}, "aws:secretKey: is stored in plain text; leave it to"],
  [
    "an address with the prefix of a block",
    tracking({ allowedCidrs: ["203.0.113.7/24"] }),
    {},
    "wmtp:tracking.allowedCidrs.0: 203.0.113.7/24 is an address inside a block; the block is 203.0.113.0/24, the address 203.0.113.7/32",
  ],
  [
    "no block",
    tracking({ allowedCidrs: ["office"] }),
    {},
    'wmtp:tracking.allowedCidrs.0: "office" is not a CIDR block',
  ],
  [
    "a processor of another kind",
    tracking({ instanceType: "t4g.small" }),
    {},
    'wmtp:tracking.instanceType: "t4g.small" is not a current x86-64 type',
  ],
  [
    "a domain outside its zone",
    tracking({ domain: "mlflow.example.org", hostedZone: "example.com" }),
    {},
    "wmtp:tracking.domain: mlflow.example.org is not in the zone example.com",
  ],
  [
    "the zone of nothing",
    tracking({ hostedZone: "example.org" }),
    {},
    "wmtp:tracking.hostedZone: is the zone of wmtp:tracking.domain, which is missing",
  ],
  [
    "a zone that cannot be guessed",
    tracking({ domain: "example.org" }),
    {},
    "wmtp:tracking.hostedZone: is missing; the zone of example.org cannot be guessed from it",
  ],
  ["no repository", { image: {} }, {}, "wmtp:image.repository: is missing; name one you may push to"],
  [
    "a repository without registry",
    image({ repository: "my-org/wmtp" }),
    {},
    'wmtp:image.repository: "my-org/wmtp" names no registry',
  ],
  [
    "a tag in the repository",
    image({ repository: "ghcr.io/my-org/wmtp:latest" }),
    {},
    'wmtp:image.repository: "ghcr.io/my-org/wmtp:latest" is not a repository such as',
  ],
  ["a foreign registry for ECR", image({ ecr: true }), {}, "wmtp:image.repository: with ecr: true it is a name"],
  [
    "a token without a user",
    {},
    { secrets: new Set(["wmtp:registryToken"]) },
    "wmtp:image.registryUser: is missing; wmtp:registryToken is the password of which user?",
  ],
  [
    "a user without a token",
    image({ registryUser: "me" }),
    {},
    "wmtp:image.registryUser: has no password; set it with: pulumi config set --secret wmtp:registryToken",
  ],
  [
    "a base that can change",
    image({ baseImage: "python:3.11" }),
    {},
    'wmtp:image.baseImage: "python:3.11" is not pinned: write name@sha256:<digest>',
  ],
  [
    "a waiver for nothing we know",
    { waivers: [{ ...WAIVER, policy: "everything" }] },
    {},
    "wmtp:waivers.0.policy: there is no policy everything; see docs/policies.md for all",
  ],
  [
    "a waiver for a policy that is misspelled",
    { waivers: [{ ...WAIVER, policy: "run-gpu" }] },
    {},
    'wmtp:waivers.0.policy: there is no policy run-gpu; did you mean "run-gpus"?',
  ],
  [
    "a waiver that is over, on the local target",
    { launcher: { target: "local" }, waivers: [{ ...WAIVER, expires: "2026-11-21" }] },
    {},
    "wmtp:waivers.0.expires: 2026-11-21 has passed",
  ],
  [
    "a waiver that is over, in a stack on a base",
    { base: "prod", waivers: [{ ...WAIVER, expires: "2026-11-21" }] },
    {},
    "wmtp:waivers.0.expires: 2026-11-21 has passed",
  ],
  [
    "a level for a policy that is none",
    { policies: { levels: { "run-gpu": "advisory" } } },
    {},
    'wmtp:policies.levels.run-gpu: unknown key; did you mean "run-gpus"?',
  ],
  [
    "a level that is none",
    { policies: { levels: { "run-gpus": "remediate" } } },
    {},
    'wmtp:policies.levels.run-gpus: "remediate" is not one of mandatory, advisory, disabled',
  ],
  [
    "a waiver that is over",
    { waivers: [{ ...WAIVER, expires: "2026-11-21" }] },
    {},
    "wmtp:waivers.0.expires: 2026-11-21 has passed; look at the risk again, then renew the waiver or drop it",
  ],
])("refuses %s", (_, sections, surroundings, message) => {
  const found = refusals(sections, surroundings);
  expect(found).toHaveLength(1);
  expect(found[0]).toContain(message);
});

test("the whole internet is allowed with a waiver, on its last day too, and not a day longer", () => {
  const open = { ...tracking({ allowedCidrs: ["0.0.0.0/0"] }), waivers: [WAIVER] };
  expect(refusals(open)).toEqual([]);
  expect(refusals(open, { today: "2026-12-31" })).toEqual([]);
  expect(refusals(open, { today: "2027-01-01" })).toHaveLength(2);
});

test("a date that the engine's YAML has made a point in time is a date", () => {
  expect(refusals({ waivers: [{ ...WAIVER, expires: "2026-12-31 00:00:00 +0000 UTC" }] })).toEqual([]);
});

test.each(["t3.small", "t3a.large", "m7i-flex.xlarge", "c5.2xlarge"])("%s can be the host", (instanceType) => {
  expect(refusals(tracking({ instanceType }))).toEqual([]);
});

test("acceleration is fine where S3 has it", () => {
  expect(refusals({ storage: { transferAcceleration: true } }, { region: "eu-west-1" })).toEqual([]);
});
