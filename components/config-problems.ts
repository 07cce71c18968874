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

/** More names than these are no help in a line. */
const MAX_LISTED = 20;

/**
 * `did you mean "gpus"?`, or the list of what there is when nothing is near.
 * @param all where all names stand, if they are too many for a line
 */
export function suggestion(
  wrong: string,
  known: readonly string[],
  all = "see trainer/schema.json for all keys",
): string {
  const nearest = known.length > 0 ? closest(wrong, known as string[]) : undefined;
  if (nearest !== undefined && distance(wrong, nearest) <= Math.min(MAX_EDITS, Math.floor(nearest.length / 2))) {
    return `did you mean "${nearest}"?`;
  }
  return known.length <= MAX_LISTED ? `known: ${known.join(", ")}` : all;
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

/** `later` without what only follows from `earlier`: a list whose one entry is wrong is not missing as well. */
export function withoutFollowers(earlier: readonly Problem[], later: readonly Problem[]): Problem[] {
  const within = (path: string, other: string) => path === other || path.startsWith(`${other}.`);
  return later.filter(({ path }) => !earlier.some((first) => within(path, first.path) || within(first.path, path)));
}

/** One readable error for all problems of a stack file. */
export function formatProblems(stack: string, problems: readonly Problem[]): string {
  const count = problems.length === 1 ? "1 problem" : `${problems.length} problems`;
  const lines = problems.map(({ path, message }) => `  ${path}: ${message}`);
  return `Pulumi.${stack}.yaml has ${count}; nothing was created or changed:\n${lines.join("\n")}`;
}

/** Types by the words of people who write YAML. */
const TYPE_NAMES: Readonly<Record<string, string>> = {
  int: "a whole number",
  number: "a number",
  string: "text (quote it)",
  boolean: "true or false",
  array: "a list, in [ ]",
  object: "a mapping of keys",
  record: "a mapping of keys",
};

function describeIssue(section: string, schema: z.ZodType, value: unknown, issue: z.core.$ZodIssue): Problem[] {
  const path = [section, ...issue.path.map(String)].join(".");
  if (issue.code === "unrecognized_keys") {
    const known = keysAt(z.toJSONSchema(schema, { io: "input", unrepresentable: "any" }), issue.path);
    return issue.keys.map((key) => ({
      path: `${path}.${key}`,
      message: `unknown key; ${suggestion(key, known, "see components/config.schema.json for all keys")}`,
    }));
  }
  const found = show(at(value, issue.path));
  return [{ path, message: sentence(issue, found) }];
}

function sentence(issue: z.core.$ZodIssue, found: string): string {
  switch (issue.code) {
    case "invalid_value":
      return `${found} is not one of ${issue.values.map(String).join(", ")}`;
    case "invalid_union": {
      const literals = issue.errors.flat().flatMap((inner) => (inner.code === "invalid_value" ? inner.values : []));
      const unexplained = issue.message.startsWith("Invalid");
      return `${found} ${unexplained ? `is not one of ${literals.join(", ")}` : issue.message}`;
    }
    case "invalid_type": {
      const expected = TYPE_NAMES[issue.expected] ?? issue.expected;
      return found === "nothing" ? `is missing; expected ${expected}` : `${found} is not ${expected}`;
    }
    case "too_small":
      if (!issue.inclusive) return `${found} is too small; more than ${issue.minimum}`;
      return `${found} is too small; at least ${issue.minimum}${issue.origin === "string" ? " characters" : ""}`;
    case "too_big":
      return `${found} is too large; at most ${issue.maximum}${issue.origin === "string" ? " characters" : ""}`;
    default:
      // Our own messages go on from the value ("is not a duration: ..."); zod's stand for themselves.
      return /^(is|may|must) /.test(issue.message) ? `${found} ${issue.message}` : issue.message;
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
