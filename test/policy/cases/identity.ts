/** What it takes to break the policies on identity. */

import { byHand } from "../support.ts";
import { type Cases, host, set, statement } from "./breaking.ts";

export const identity = {
  "instance-metadata-by-token": [
    [
      "optional tokens",
      host("metadataOptions.httpTokens", "optional"),
      ["instance-metadata-by-token: tracker"],
      "metadataOptions.httpTokens is not required",
    ],
    [
      "two hops",
      host("metadataOptions.httpPutResponseHopLimit", 2),
      ["instance-metadata-by-token: tracker"],
      "metadataOptions.httpPutResponseHopLimit is not 1",
    ],
    [
      "nothing said",
      host("metadataOptions", undefined),
      Array(3).fill("instance-metadata-by-token: tracker"),
      "metadataOptions.httpTokens is not required",
    ],
  ],
  "host-role-no-keys": [
    ["a key for SSH", host("keyName", "mine"), ["host-role-no-keys: tracker"], "it has a key for SSH"],
  ],
  "host-monitored": [
    ["no monitoring", host("monitoring", false), ["host-monitored: tracker"], "monitoring is not true"],
  ],
  "iam-action-wildcard": [
    [
      "s3:*",
      (find) => statement(find, { Action: ["s3:*"] }),
      ["iam-action-wildcard: runs"],
      "a statement allows actions by a wildcard",
    ],
    [
      "all but one",
      (find) => statement(find, { Action: undefined, NotAction: ["iam:*"] }),
      ["iam-action-wildcard: runs", "iam-resource-wildcard: runs"],
      "a statement allows what it does not name",
    ],
  ],
  "iam-resource-wildcard": [
    [
      "everything",
      (find) => statement(find, { Resource: "*" }),
      ["iam-resource-wildcard: runs"],
      "a statement allows its actions on more than it names",
    ],
    [
      "a whole bucket",
      (find) => statement(find, { Resource: ["arn:aws:s3:::wmtp/*"] }),
      ["iam-resource-wildcard: runs"],
      "a statement allows its actions on more than it names",
    ],
  ],
  "iam-condition-missing": [
    [
      "any prefix",
      (find) => statement(find, { Action: ["s3:ListBucket"], Resource: ["arn:aws:s3:::wmtp"] }),
      ["iam-condition-missing: runs"],
      "s3:ListBucket is allowed without a condition",
    ],
  ],
  "iam-principal-narrow": [
    [
      "another account",
      (find) =>
        set(
          find("aws:iam/role:Role", "tracker"),
          "assumeRolePolicy",
          JSON.stringify({
            Statement: {
              Effect: "Allow",
              Principal: { AWS: "arn:aws:iam::111122223333:root" },
              Action: "sts:AssumeRole",
            },
          }),
        ),
      ["iam-principal-narrow: tracker"],
      "another account, or somebody by a login elsewhere, is allowed",
    ],
    [
      "everybody",
      (find) =>
        set(
          find("aws:iam/role:Role", "tracker"),
          "assumeRolePolicy",
          JSON.stringify({ Statement: [{ Effect: "Allow", Principal: "*", Action: "sts:AssumeRole" }] }),
        ),
      ["iam-principal-narrow: tracker"],
      "everybody is allowed",
    ],
  ],
  "iam-managed-policy": [
    [
      "attached",
      () => [
        byHand("aws:iam/rolePolicyAttachment:RolePolicyAttachment", "extra", {
          role: "tracker",
          policyArn: "arn:aws:iam::aws:policy/AdministratorAccess",
        }),
      ],
      ["iam-managed-policy: extra"],
      "permissions, or a login, come from outside this stack",
    ],
  ],
} satisfies Cases;
