/** IAM, which has no regions. */
import type { ResourceType } from "../package.ts";
import type { Properties } from "../wire.ts";
import { account } from "./account.ts";
import { attached, hash, named, withoutRegion } from "./invent.ts";

/** A moment long past: the outputs are the same every time. */
const CREATED = "2024-01-01T00:00:00Z";

function iamArn(kind: string, inputs: Properties, name: unknown): string {
  return account.globalArn("iam", `${kind}${inputs.path ?? "/"}${name}`);
}

function uniqueId(prefix: string, id: string): string {
  return `${prefix}${hash(id, 17).toUpperCase()}`;
}

const types: Readonly<Record<string, ResourceType>> = {
  "aws:iam/user:User": named("name", { replaces: [] }, (id, inputs) => ({
    arn: iamArn("user", inputs, id),
    uniqueId: uniqueId("AIDA", id),
    tagsAll: account.tagsAll(inputs),
  })),
  "aws:iam/userPolicy:UserPolicy": attached(["user", "name"], {
    replaces: ["user", "name", "namePrefix"],
    autoName: "name",
  }),
  "aws:iam/accessKey:AccessKey": {
    replaces: ["user", "pgpKey"],
    secretOutputs: ["secret", "sesSmtpPasswordV4"],
    create: async (_, context) => ({
      id: `AKIA${context.suffix("id", 16).toUpperCase()}`,
      outputs: {
        createDate: CREATED,
        secret: context.suffix("secret", 40),
        sesSmtpPasswordV4: context.suffix("smtp", 44),
        status: "Active",
      },
    }),
  },
  "aws:iam/role:Role": named("name", { replaces: ["name", "namePrefix", "path"] }, (id, inputs) => ({
    arn: iamArn("role", inputs, id),
    createDate: CREATED,
    uniqueId: uniqueId("AROA", id),
    tagsAll: account.tagsAll(inputs),
  })),
  "aws:iam/rolePolicy:RolePolicy": attached(["role", "name"], {
    replaces: ["role", "name", "namePrefix"],
    autoName: "name",
  }),
  "aws:iam/rolePolicyAttachment:RolePolicyAttachment": attached(["role", "policyArn"], {
    replaces: ["role", "policyArn"],
  }),
  "aws:iam/policy:Policy": named(
    "name",
    {
      replaces: ["name", "namePrefix", "path", "description"],
      create: async (inputs) => ({ id: iamArn("policy", inputs, inputs.name), outputs: {} }),
    },
    (id, inputs) => ({ arn: id, attachmentCount: 0, policyId: uniqueId("ANPA", id), tagsAll: account.tagsAll(inputs) }),
  ),
  "aws:iam/instanceProfile:InstanceProfile": named(
    "name",
    { replaces: ["name", "namePrefix", "path"] },
    (id, inputs) => ({
      arn: iamArn("instance-profile", inputs, id),
      createDate: CREATED,
      uniqueId: uniqueId("AIPA", id),
      tagsAll: account.tagsAll(inputs),
    }),
  ),
};

export const identityTypes = Object.fromEntries(
  Object.entries(types).map(([token, type]) => [token, withoutRegion(type)]),
);
