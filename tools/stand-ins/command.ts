/** Stand-in for the command provider: really runs the commands. Entry point of its process. */
import { execute } from "./execute.ts";
import type { ResourceContext, ResourceType } from "./package.ts";
import { serve } from "./server.ts";
import type { Properties } from "./wire.ts";

/** What a command printed last; `previous` is what it printed before. */
async function run(
  script: unknown,
  inputs: Properties,
  context: ResourceContext,
  previous?: Properties,
): Promise<Properties> {
  if (typeof script !== "string") return { stdout: "", stderr: "" };
  const interpreter = (inputs.interpreter as string[] | undefined) ?? ["/bin/sh", "-c"];
  const handedOn = inputs.addPreviousOutputInEnv !== false && previous !== undefined;
  const { code, stdout, stderr } = await execute([...interpreter, script], {
    stdin: inputs.stdin as string | undefined,
    cwd: inputs.dir as string | undefined,
    env: {
      ...process.env,
      ...(handedOn
        ? { PULUMI_COMMAND_STDOUT: text(previous.stdout), PULUMI_COMMAND_STDERR: text(previous.stderr) }
        : {}),
      ...(inputs.environment as Record<string, string> | undefined),
    },
    signal: context.signal,
  });
  // Neither the command nor its environment is in the message; the words that were secret inputs are taken out of what it printed.
  if (code !== 0) throw new Error(`the command ended with ${code}:\n${(stderr + stdout).trimEnd()}`);
  return { stdout: stdout.replace(/\n$/, ""), stderr: stderr.replace(/\n$/, "") };
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

const local: ResourceType = {
  replaces: ["triggers"],
  derivedOutputs: ["stdout", "stderr"],
  create: async (inputs, context) => ({
    id: `command-${context.suffix("id", 16)}`,
    outputs: await run(inputs.create, inputs, context),
  }),
  // Like the real one: without a command for updates, that for creates is run again.
  update: (_, old, inputs, context) => run(inputs.update ?? inputs.create, inputs, context, old),
  delete: async (_, old, context) => {
    await run(old.delete, old, context, old);
  },
};

await serve({
  name: "command",
  version: "1.2.1",
  types: { "command:local:Command": local },
  functions: {},
});
