/** Problems of a stack file, as sentences: the path, what is there, what is allowed. */
import { closest, distance } from "fastest-levenshtein";
import { z } from "zod";

export interface Problem {
  /** Below the stack file's `config`, for example `wmtp:pipelines.critic.gpus`. */
  readonly path: string;
  readonly message: string;
}

/** Farther than this many edits a suggestion would mislead. */
const MAX_EDITS = 6;

/** `did you mean "gpus"?`, or the list of what there is when nothing is near. */
export function suggestion(wrong: string, known: readonly string[]): string {
  const nearest = known.length > 0 ? closest(wrong, known as string[]) : undefined;
  if (nearest !== undefined && distance(wrong, nearest) <= Math.min(MAX_EDITS, Math.ceil(nearest.length / 2))) {
    return `did you mean "${nearest}"?`;
  }
  return known.length <= 12 ? `known: ${known.join(", ")}` : "see trainer/schema.json for all keys";
}

/** Every problem zod found in a section, one sentence each. */
export function describeIssues(
  section: string,
  schema: z.ZodType,
  value: unknown,
  issues: readonly z.core.$ZodIssue[],
): Problem[] {
  return issues.flatMap((issue) => describeIssue(section, schema, value, issue));
}

/** One readable error for all problems of a stack file. */
export function formatProblems(stack: string, problems: readonly Problem[]): string {
  const count = problems.length === 1 ? "1 problem" : `${problems.length} problems`;
  const lines = problems.map(({ path, message }) => `  ${path}: ${message}`);
  return `Pulumi.${stack}.yaml has ${count}; nothing was created or changed:\n${lines.join("\n")}`;
}

function describeIssue(section: string, schema: z.ZodType, value: unknown, issue: z.core.$ZodIssue): Problem[] {
  const path = [section, ...issue.path.map(String)].join(".");
  const found = show(at(value, issue.path));
  switch (issue.code) {
    case "unrecognized_keys":
      return issue.keys.map((key) => ({
        path: `${path}.${key}`,
        message: `unknown key; ${suggestion(key, keysAt(z.toJSONSchema(schema, { io: "input", unrepresentable: "any" }), issue.path))}`,
      }));
    case "invalid_value":
      return [{ path, message: `${found} is not one of ${issue.values.map(String).join(", ")}` }];
    case "invalid_union": {
      const literals = issue.errors.flat().flatMap((inner) => (inner.code === "invalid_value" ? inner.values : []));
      const allowed =
        literals.length > 0 && issue.message.startsWith("Invalid")
          ? `is not one of ${literals.join(", ")}`
          : issue.message;
      return [{ path, message: `${found} ${allowed.startsWith("is") ? allowed : `is not allowed: ${allowed}`}` }];
    }
    case "invalid_type":
      return [
        {
          path,
          message:
            found === "nothing"
              ? `is missing; expected ${issue.expected}`
              : `${found} is not of type ${issue.expected}`,
        },
      ];
    case "too_small":
      return [
        {
          path,
          message: `${found} is too small; at least ${issue.minimum}${issue.origin === "string" ? " characters" : ""}`,
        },
      ];
    case "too_big":
      return [
        {
          path,
          message: `${found} is too large; at most ${issue.maximum}${issue.origin === "string" ? " characters" : ""}`,
        },
      ];
    default:
      return [
        {
          path,
          message:
            issue.message.startsWith("is") || issue.message.startsWith("may")
              ? `${found} ${issue.message}`
              : issue.message,
        },
      ];
  }
}

/** Keys of the object at `path`, read from the JSON Schema because zod wraps objects in defaults and preprocessors. */
function keysAt(schema: z.core.JSONSchema.BaseSchema, path: readonly PropertyKey[]): string[] {
  const here = path.reduce<z.core.JSONSchema._JSONSchema | undefined>((node, key) => {
    if (typeof node !== "object") return undefined;
    return (
      node.properties?.[String(key)] ??
      (typeof node.items === "object" && !Array.isArray(node.items) ? node.items : undefined)
    );
  }, schema);
  return typeof here === "object" ? Object.keys(here.properties ?? {}) : [];
}

function at(value: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>((inner, key) => (inner as Record<PropertyKey, unknown> | undefined)?.[key], value);
}

function show(value: unknown): string {
  if (value === undefined) return "nothing";
  const text = JSON.stringify(value);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}
