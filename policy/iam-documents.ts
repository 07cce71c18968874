/** Policy documents of IAM, of buckets and of other resources, as statements. */
import type { Policy, Resource, Verdict } from "./policy.ts";
import { at, isObject, list, notLiteral, parsed, UNKNOWN, type Value } from "./values.ts";

interface Place {
  readonly property: string;
  /** Known before anything exists. */
  readonly literal: boolean;
  /** One that is not there allows nothing. */
  readonly optional?: boolean;
}
const INLINE: Place = { property: "policy", literal: false, optional: true };

/** Where documents are. */
const DOCUMENTS: Readonly<Record<string, readonly Place[]>> = {
  "aws:iam/role:Role": [
    { property: "assumeRolePolicy", literal: true },
    { property: "inlinePolicies", literal: false, optional: true },
  ],
  // The host's names the ARN of a secret, which AWS makes up.
  "aws:iam/rolePolicy:RolePolicy": [{ property: "policy", literal: false }],
  "aws:iam/userPolicy:UserPolicy": [{ property: "policy", literal: true }],
  "aws:iam/groupPolicy:GroupPolicy": [{ property: "policy", literal: true }],
  "aws:iam/policy:Policy": [{ property: "policy", literal: false }],
  "aws:s3/bucket:Bucket": [INLINE],
  "aws:s3/bucketPolicy:BucketPolicy": [{ property: "policy", literal: true }],
  "aws:secretsmanager/secret:Secret": [INLINE],
  "aws:secretsmanager/secretPolicy:SecretPolicy": [{ property: "policy", literal: false }],
  "aws:ec2/vpcEndpoint:VpcEndpoint": [INLINE],
  "aws:ecr/repositoryPolicy:RepositoryPolicy": [{ property: "policy", literal: true }],
};

export const HOLDS_DOCUMENT: readonly string[] = Object.keys(DOCUMENTS);

export interface Statement {
  readonly allows: boolean;
  readonly actions: readonly string[];
  readonly resources: readonly string[];
  /** "*", or a list such as `["Service ec2.amazonaws.com"]`; undefined in a document that belongs to somebody. */
  readonly principals: readonly string[] | "*" | undefined;
  readonly condition: Value;
  /** By exclusion: NotAction, NotResource, NotPrincipal. */
  readonly excludes: boolean;
}

/**
 * Asks about each statement of the resource's document. One that is not known yet is left to the update where that is as it should be;
 * one that cannot be read is a violation.
 */
export function eachStatement(
  look: (statement: Statement, verdict: Verdict, resource: Resource) => void,
): Policy["eachOf"] {
  return (resource, verdict) => {
    for (const { property, literal, optional = false } of DOCUMENTS[resource.type]!) {
      const found = resource.props[property];
      if (found === undefined && optional) continue;
      // A role's own are a list, of a name and a document each.
      const documents: readonly Value[] = property === "inlinePolicies" ? inlineOf(found) : [found];
      for (const document of documents) {
        if (document === UNKNOWN) {
          if (literal) verdict.violated(notLiteral(property));
          else verdict.undecided(property);
          continue;
        }
        const statements = read(document);
        if (statements === undefined) verdict.violated(`${property} is no policy document with statements`);
        else for (const statement of statements) look(statement, verdict, resource);
      }
    }
  };
}

function inlineOf(policies: Value): readonly Value[] {
  return policies === UNKNOWN ? [UNKNOWN] : list(policies).map((one) => at(one, "policy"));
}

function read(document: Value): Statement[] | undefined {
  const found = at(typeof document === "string" ? parsed(document) : document, "Statement");
  const statements = isObject(found) ? [found] : list(found);
  return statements.length === 0 ? undefined : statements.map(toStatement);
}

function toStatement(statement: Value): Statement {
  const has = (key: string) => at(statement, key) !== undefined;
  return {
    allows: at(statement, "Effect") !== "Deny",
    actions: words(at(statement, "Action")),
    resources: words(at(statement, "Resource")),
    principals: principalsOf(at(statement, "Principal")),
    condition: at(statement, "Condition"),
    excludes: has("NotAction") || has("NotResource") || has("NotPrincipal"),
  };
}

function principalsOf(principal: Value): Statement["principals"] {
  if (principal === undefined) return undefined;
  if (!isObject(principal)) return "*";
  const named = Object.entries(principal).flatMap(([kind, who]) => words(who).map((one) => `${kind} ${one}`));
  return named.some((one) => one.endsWith(" *")) ? "*" : named;
}

/** One text, or a list of them. */
function words(value: Value): string[] {
  return (Array.isArray(value) ? list(value) : [value]).filter((word) => typeof word === "string");
}
