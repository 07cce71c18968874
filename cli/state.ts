/** The one place that reads a stack's state. Stack outputs lose what one failed run feeds; the resources in the state do not. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import type { Place, Placed } from "../launcher/by-place.ts";
import type { RunOutputs } from "../launcher/resources/run.ts";

const run = promisify(execFile);
const STATE_BYTES = 256 * 1024 * 1024;

interface StateResource {
  readonly urn: string;
  readonly type: string;
  readonly id?: string;
  /** Replaced, and only waiting to be deleted. */
  readonly delete?: boolean;
  readonly inputs?: Record<string, unknown>;
  readonly outputs?: Record<string, unknown>;
}

/** The local one, and the one on AWS. */
const TRACKERS = ["launcher:index:TrackingServer", "wmtp:index:MlflowHost"];

export interface StackState {
  readonly trackerUrl: string | null;
  /** In the order of the state: dependencies first. */
  readonly runs: readonly RunOutputs[];
  /** Where the stack has, or is making, something; states written before there was a second place say of none. */
  readonly places: readonly Place[];
  /** Milliseconds since 1970 of the last change; 0 for a stack that never had one. */
  readonly changedAt: number;
}

/** Runs `pulumi` and returns its stdout. @throws UserError with what it said on stderr. */
export async function pulumi(args: readonly string[]): Promise<string> {
  try {
    return (await run("pulumi", [...args, "--non-interactive"], { maxBuffer: STATE_BYTES })).stdout;
  } catch (error) {
    const { code, stderr } = error as { code?: unknown; stderr?: string };
    if (code === "ENOENT") throw new UserError('pulumi is not on PATH: run make setup, then eval "$(make env)"');
    throw new UserError((stderr ?? String(error)).trim().replace(/^error: /, ""));
  }
}

/** An error whose message is all a person needs. */
export class UserError extends Error {}

interface Deployment {
  readonly manifest?: { readonly time: string };
  readonly resources?: readonly StateResource[];
  readonly pending_operations?: readonly { readonly type: string; readonly resource: StateResource }[];
}

export async function exportState(stack: string): Promise<{ text: string; deployment: Deployment }> {
  const text = await pulumi(["stack", "export", "--stack", stack]);
  return { text, deployment: JSON.parse(text).deployment ?? {} };
}

export async function readState(stack: string): Promise<StackState> {
  const { deployment } = await exportState(stack);
  const resources = (deployment.resources ?? []).filter((resource) => resource.delete !== true);
  const tracker = resources.find(({ type }) => TRACKERS.includes(type));
  const exported = resources.find(({ type }) => type === "pulumi:pulumi:Stack")?.outputs; // a base's tracker is another stack's
  return {
    trackerUrl: ((tracker?.outputs?.url ?? exported?.trackerUrl) as string | null | undefined) ?? null,
    runs: resources
      .filter(({ type }) => type === "launcher:index:Run")
      .map(({ outputs }) => outputs as unknown as RunOutputs),
    places: placesOf(deployment),
    changedAt: deployment.manifest === undefined ? 0 : Date.parse(deployment.manifest.time),
  };
}

/** Also of what is being created or waits to be deleted. */
function placesOf({ resources = [], pending_operations: pending = [] }: Deployment): Place[] {
  const places = [...resources, ...pending.map(({ resource }) => resource)]
    .filter(({ type }) => type.startsWith("launcher:index:"))
    .flatMap(({ inputs, outputs }) => (outputs as Placed)?.place ?? (inputs as Placed)?.place ?? []);
  return [...new Map(places.map((place) => [JSON.stringify(place), place])).values()];
}
