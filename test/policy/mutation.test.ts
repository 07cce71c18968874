/** Each property of prod's resources, flipped and removed: a policy fires, or the property is neither unsafe nor dear. */
import { type Mutation, mutationsOf } from "./mutations.ts";
import { NEITHER } from "./neither.ts";
import { type Changeable, judge, prod, resourcesOf } from "./support.ts";

let resources: Changeable[];
beforeAll(async () => {
  resources = await resourcesOf();
});

/** What the policies say while the resource is as the mutation makes it. */
function judgeWith({ of, changed }: Pick<Mutation, "of" | "changed">): readonly string[] {
  const place = resources.indexOf(of as Changeable);
  const before = { ...resources[place] };
  Object.assign(resources[place] as Changeable, changed);
  try {
    return judge(resources, prod, { only: [resources[place] as Changeable] }).violations;
  } finally {
    Object.assign(resources[place] as Changeable, before);
  }
}

test("no property that matters can be changed unseen, and no exception is there for nothing", () => {
  const own = resources.filter(({ type }) => !/^(wmtp|pulumi):/.test(type));
  const unseen = new Set<string>();
  let count = 0;
  for (const resource of own) {
    for (const mutation of mutationsOf(resource)) {
      count += 1;
      if (judgeWith(mutation).length === 0) unseen.add(`${mutation.property} | ${mutation.how}`);
    }
  }
  const patterns = Object.values(NEITHER).flat();
  expect([...unseen].filter((one) => !patterns.some((pattern) => pattern.test(one))).sort()).toEqual([]);
  const idle = patterns.filter((pattern) => ![...unseen].some((one) => pattern.test(one)));
  expect(idle.map(String)).toEqual([]);
  expect(count).toBeGreaterThan(1500);
});

test("parts that must be there are missed where they are left out", () => {
  const missed = resources.filter(({ type, name }) => {
    const others = resources.filter((one) => one.type !== type || one.name !== name);
    return !/^(wmtp|pulumi):/.test(type) && judge(others, prod, { only: [] }).violations.length > 0;
  });
  expect(missed.map(({ type, name }) => `${type.split(":")[1]} ${name}`).sort()).toEqual([
    "dlm/lifecyclePolicy tracker",
    "ec2/defaultSecurityGroup tracker",
    "ec2/securityGroup tracker",
    "local tracker",
    "s3/bucket store-access-logs",
    "s3/bucketLifecycleConfiguration store",
    "s3/bucketLifecycleConfiguration store-access-logs",
    "s3/bucketLogging store",
    "s3/bucketOwnershipControls store",
    "s3/bucketOwnershipControls store-access-logs",
    "s3/bucketPolicy store",
    "s3/bucketPolicy store-access-logs",
    "s3/bucketPublicAccessBlock store",
    "s3/bucketPublicAccessBlock store-access-logs",
    "s3/bucketServerSideEncryptionConfiguration store",
    "s3/bucketServerSideEncryptionConfiguration store-access-logs",
    "s3/bucketVersioning store",
  ]);
});

test("a run that does not wait for the tracker or for its data is seen, whichever wait it lacks", () => {
  const runs = resources.filter(({ type }) => type === "launcher:index:Run");
  expect(runs).toHaveLength(5);
  for (const run of runs) {
    const wanted = run.dependencies.filter(({ type }) => /^command:|^launcher:index:(Upload|Volume)$/.test(type));
    expect(wanted).toHaveLength(4); // the gate, models in the bucket, data in a volume
    for (const one of wanted) {
      const without = (dependencies: Changeable["dependencies"]) => dependencies.filter((other) => other !== one);
      const others = resources.map((other) => ({ ...other }));
      // An upload that waits for its volume would bring it along; here nothing else does.
      const cut = new Map(resources.map((other, index) => [other, others[index] as Changeable]));
      for (const copy of others)
        copy.dependencies = without(copy.dependencies).map((other) => cut.get(other as Changeable)!);
      const policy = one.type.startsWith("command:") ? "run-after-tracker" : "run-after-data";
      expect(judge(others, prod, { only: [] }).violations).toContain(`${policy}: ${run.name}`);
    }
  }
});
