/** What the launcher must know of the stack before it is given a resource; the engine hands the config to every provider. */
import { SECTIONS } from "../components/config-schema.ts";

/** Target and bucket of the stack this process was started for. Values the program would refuse never get here. */
export function stackOfProcess(): { readonly target: "vessl" | "local"; readonly bucket: string } {
  const config: Record<string, string> = JSON.parse(process.env.PULUMI_CONFIG ?? "{}");
  const section = (name: string) => JSON.parse(config[`wmtp:${name}`] ?? "{}");
  const { target } = SECTIONS.launcher.parse(section("launcher"));
  const { bucket } = SECTIONS.storage.parse(section("storage"));
  return { target, bucket };
}
