/** The document that `getPolicyDocument` writes; no look-up, so this is the real thing. */
import type { Properties } from "../wire.ts";

interface Principal {
  readonly type: string;
  readonly identifiers: readonly string[];
}
interface Condition {
  readonly test: string;
  readonly variable: string;
  readonly values: readonly string[];
}
interface Statement {
  readonly sid?: string;
  readonly effect?: string;
  readonly actions?: readonly string[];
  readonly notActions?: readonly string[];
  readonly resources?: readonly string[];
  readonly notResources?: readonly string[];
  readonly principals?: readonly Principal[];
  readonly notPrincipals?: readonly Principal[];
  readonly conditions?: readonly Condition[];
}
interface Document {
  readonly Version: unknown;
  readonly Id?: unknown;
  readonly Statement: readonly Properties[];
}

/** @throws Error on `sourcePolicyDocuments` and `overridePolicyDocuments`, which would have to be merged. */
export function policyDocument(args: Properties): Document {
  for (const property of ["sourcePolicyDocuments", "overridePolicyDocuments", "sourceJson", "overrideJson"]) {
    if (args[property] !== undefined)
      throw new Error(`the stand-in for aws cannot merge ${property} in getPolicyDocument`);
  }
  const statements = (args.statements ?? []) as readonly Statement[];
  return { Version: args.version ?? "2012-10-17", Id: args.policyId, Statement: statements.map(statement) };
}

function statement(from: Statement): Properties {
  return {
    Sid: from.sid,
    Effect: from.effect ?? "Allow",
    Action: list(from.actions),
    NotAction: list(from.notActions),
    Resource: list(from.resources),
    NotResource: list(from.notResources),
    Principal: principals(from.principals),
    NotPrincipal: principals(from.notPrincipals),
    Condition: conditions(from.conditions),
  };
}

/** One value stands alone; several are sorted backwards, as the real provider does. */
function list(values: readonly string[] | undefined): string | readonly string[] | undefined {
  if (values === undefined || values.length === 0) return undefined;
  return values.length === 1 ? values[0] : values.toSorted().reverse();
}

function principals(from: readonly Principal[] | undefined): unknown {
  if (from === undefined || from.length === 0) return undefined;
  if (from.some(({ type, identifiers }) => type === "*" && identifiers.includes("*"))) return "*";
  return Object.fromEntries(from.map(({ type, identifiers }) => [type, list(identifiers)]));
}

function conditions(from: readonly Condition[] | undefined): unknown {
  if (from === undefined || from.length === 0) return undefined;
  const byTest: Record<string, Record<string, unknown>> = {};
  for (const { test, variable, values } of from) {
    const variables = byTest[test] ?? {};
    variables[variable] = values.length === 1 ? values[0] : values;
    byTest[test] = variables;
  }
  return byTest;
}
