/** What the engine tells of an operation in its event log: a JSON object a line. Only what is read here is declared. */
import { existsSync, readFileSync } from "node:fs";

export interface EngineEvents {
  /** Resources that the operation changes or would change, in the engine's order. */
  readonly changes: readonly Change[];
  /** Resources by operation: create, update, same, ... */
  readonly counts: Readonly<Record<string, number>>;
  readonly violations: readonly Violation[];
  readonly diagnostics: readonly Diagnostic[];
  /** URNs of resources whose operation failed. */
  readonly failed: readonly string[];
  /** Of the stack, as the program gave them; what is not known yet is `UNKNOWN` of launcher/values.ts. */
  readonly outputs: Readonly<Record<string, unknown>>;
  /** Whether the engine came to an end. */
  readonly complete: boolean;
}

export interface Change {
  readonly op: string;
  readonly urn: string;
  readonly type: string;
  /** Properties that differ. */
  readonly keys: readonly string[];
}

export interface Violation {
  readonly policy: string;
  readonly level: string;
  readonly urn: string;
  readonly message: string;
}

export interface Diagnostic {
  readonly severity: "error" | "warning" | "info";
  readonly urn: string;
  readonly message: string;
}

interface Metadata {
  readonly op: string;
  readonly urn: string;
  readonly type: string;
  readonly keys?: readonly string[] | null;
  readonly diffs?: readonly string[] | null;
  readonly new?: { readonly outputs?: Readonly<Record<string, unknown>> } | null;
}

interface EngineEvent {
  readonly resourcePreEvent?: { readonly metadata: Metadata };
  readonly resOutputsEvent?: { readonly metadata: Metadata };
  readonly resOpFailedEvent?: { readonly metadata: Metadata };
  readonly policyEvent?: {
    readonly policyName: string;
    readonly enforcementLevel: string;
    readonly resourceUrn?: string;
    readonly message: string;
  };
  readonly diagnosticEvent?: {
    readonly severity: string;
    readonly urn?: string;
    readonly message: string;
    readonly ephemeral?: boolean;
  };
  readonly summaryEvent?: { readonly resourceChanges?: Readonly<Record<string, number>> };
}

const STACK = "pulumi:pulumi:Stack";
const SEVERITIES: readonly string[] = ["error", "warning", "info"];
/** A resource has an event for each step of a replacement; one says it. */
const STEPS: readonly string[] = ["same", "create-replacement", "delete-replaced", "discard-replaced"];

/** @param file of the engine's `--event-log`; one that is not there is an engine that never started. */
export function readEvents(file: string): EngineEvents {
  const lines = existsSync(file) ? readFileSync(file, "utf8").split("\n") : [];
  // A last line that was cut off belongs to an engine that was killed.
  const events = lines.flatMap((line): EngineEvent[] => {
    try {
      return line.trim() === "" ? [] : [JSON.parse(line)];
    } catch {
      return [];
    }
  });
  return {
    changes: events.flatMap(({ resourcePreEvent: event }) => (event === undefined ? [] : changeOf(event.metadata))),
    counts: events.findLast(({ summaryEvent }) => summaryEvent)?.summaryEvent?.resourceChanges ?? {},
    violations: events.flatMap(({ policyEvent: event }) =>
      event === undefined
        ? []
        : [
            {
              policy: event.policyName,
              level: event.enforcementLevel,
              urn: event.resourceUrn ?? "",
              message: event.message.trim(),
            },
          ],
    ),
    diagnostics: events.flatMap(({ diagnosticEvent: event }) =>
      event === undefined || event.ephemeral === true || !isTold(event.severity)
        ? []
        : [{ severity: severityOf(event.severity), urn: event.urn ?? "", message: event.message.trim() }],
    ),
    failed: events.flatMap(({ resOpFailedEvent: event }) => event?.metadata.urn ?? []),
    outputs:
      events.findLast(({ resOutputsEvent: event }) => event?.metadata.type === STACK && hasOutputs(event.metadata))
        ?.resOutputsEvent?.metadata.new?.outputs ?? {},
    complete: events.some(({ summaryEvent }) => summaryEvent !== undefined),
  };
}

/** Name of a resource, as the program gave it. */
export function nameOf(urn: string): string {
  return urn.split("::").at(-1) ?? "";
}

function changeOf({ op, urn, type, keys, diffs }: Metadata): Change[] {
  return STEPS.includes(op) ? [] : [{ op, urn, type, keys: [...new Set([...(keys ?? []), ...(diffs ?? [])])] }];
}

function isTold(severity: string): boolean {
  return SEVERITIES.includes(severity) || severity.startsWith("info");
}

function severityOf(severity: string): Diagnostic["severity"] {
  return severity === "error" || severity === "warning" ? severity : "info";
}

function hasOutputs({ new: state }: Metadata): boolean {
  return Object.keys(state?.outputs ?? {}).length > 0;
}
