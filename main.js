// Plain JavaScript on purpose: a Node that cannot strip types would fail on index.ts with a stack trace instead of this sentence.
import { RunError } from "@pulumi/pulumi/errors.js";

const NEEDED_NODE = 24;

/** A failed run is reported by the engine, with its cause; the SDK repeats it, with a stack trace, for every output nobody awaits. */
const REPEATED = /resource .* failed to register$/;

function leaveOutRepetitions() {
  for (const report of process.listeners("unhandledRejection")) {
    process.removeListener("unhandledRejection", report);
    process.on("unhandledRejection", (reason, promise) => {
      if (!REPEATED.test(reason?.message ?? "")) report(reason, promise);
    });
  }
}

/**
 * The SDK notes a stack trace for every resource, and its language host maps each through source maps: a third of what a preview of
 * hundreds of runs takes. There is nothing to map, because Node strips types in place: lines and columns stay.
 */
function leaveStackTracesAsTheyAre() {
  Error.prepareStackTrace = undefined;
}

export default async function main() {
  leaveOutRepetitions();
  leaveStackTracesAsTheyAre();
  if (Number.parseInt(process.versions.node, 10) < NEEDED_NODE) {
    throw new RunError(
      `this program needs Node >= ${NEEDED_NODE} and runs on ${process.versions.node}: ` +
        'run `make setup`, then `eval "$(make env)"`, and try again',
    );
  }
  const { outputs } = await import("./index.ts");
  return outputs;
}
