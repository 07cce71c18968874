import { policyDocument } from "../../tools/stand-ins/aws/policy-document.ts";

/** As AWS gets it: what is undefined is not there. */
const written = (args: Record<string, unknown>) => JSON.parse(JSON.stringify(policyDocument(args)));

test("single values stand alone, several are sorted backwards, effect and version have their defaults", () => {
  expect(
    written({
      statements: [{ actions: ["s3:GetObject"], resources: ["arn:aws:s3:::a/*", "arn:aws:s3:::b/*"] }],
    }),
  ).toEqual({
    Version: "2012-10-17",
    Statement: [{ Effect: "Allow", Action: "s3:GetObject", Resource: ["arn:aws:s3:::b/*", "arn:aws:s3:::a/*"] }],
  });
});

test("principals are kept by type, everyone is one star, conditions are kept by test", () => {
  const principals = [{ type: "Service", identifiers: ["ec2.amazonaws.com"] }];
  const conditions = [
    { test: "Bool", variable: "aws:SecureTransport", values: ["false"] },
    { test: "Bool", variable: "aws:ViaAWSService", values: ["false"] },
  ];
  const everyone = [{ type: "*", identifiers: ["*"] }];
  expect(
    written({
      statements: [
        { sid: "Role", actions: ["sts:AssumeRole"], principals },
        { effect: "Deny", actions: ["s3:*"], resources: ["*"], principals: everyone, conditions },
      ],
    }).Statement,
  ).toEqual([
    { Sid: "Role", Effect: "Allow", Action: "sts:AssumeRole", Principal: { Service: "ec2.amazonaws.com" } },
    {
      Effect: "Deny",
      Action: "s3:*",
      Resource: "*",
      Principal: "*",
      Condition: { Bool: { "aws:SecureTransport": "false", "aws:ViaAWSService": "false" } },
    },
  ]);
});

test("a merge, which the stand-in cannot do, is refused", () => {
  expect(() => policyDocument({ sourcePolicyDocuments: ["{}"] })).toThrow("cannot merge sourcePolicyDocuments");
});
