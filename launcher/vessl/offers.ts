/** What is asked of the GPU cloud's clusters and is not there, as sentences that say what to write instead. */
import { suggestion } from "../../components/config-problems.ts";
import type { Cluster, Preset } from "./api.ts";

/** @param clusters those that exist */
export function unknownCluster(cluster: string, clusters: readonly Cluster[]): string {
  return `cluster "${cluster}" does not exist; wmtp:launcher.vessl.cluster is one of ${list(clusters)}`;
}

/** Undefined where `preset` is among `presets`, those of `cluster`. */
export function presetProblem(cluster: string, preset: string, presets: readonly Preset[]): string | undefined {
  const names = presets.map(({ name }) => name);
  if (names.includes(preset)) return undefined;
  const near = suggestion(preset, names);
  const hint = near.startsWith("did you mean") ? `${near} ` : "";
  return `preset "${preset}" does not exist on cluster ${cluster}; ${hint}wmtp:launcher.vessl.presets takes ${list(presets)}`;
}

function list(things: readonly { readonly name: string }[]): string {
  return things.map(({ name }) => name).join(", ") || "none";
}
