import { clusterOf, presetOf } from "./accounts.ts";
import { placeOf, type RunYaml, stepsOf } from "./run-spec.ts";
import type { RunRecord } from "./state.ts";

/** The part of an answer that comes from the YAML. */
export function specOf(run: RunRecord, yaml: RunYaml): object {
  const { cluster, preset } = placeOf(yaml.resources);
  const url = typeof yaml.image === "string" ? yaml.image : yaml.image.url;
  return {
    id: run.id,
    title: yaml.name,
    description: yaml.description ?? "",
    type: yaml.interactive === undefined ? "batch" : "interactive",
    cluster: cluster === undefined ? null : clusterOf(cluster),
    kernel_image: { id: 1, name: url, image_url: url },
    kernel_resource_spec_from_preset: preset === undefined ? null : presetOf(preset),
    yaml_spec: run.yaml,
    spec: {
      command: stepsOf(yaml).map(({ command, workdir, wait }) => ({
        command: command ?? "",
        workdir: workdir ?? "",
        wait: wait ?? "",
      })),
      env_vars: Object.entries(yaml.env).map(([key, value]) => ({
        key,
        default: typeof value === "string" ? value : "secret" in value ? "" : value.value,
        secret: typeof value !== "string" && "secret" in value,
      })),
      ports: yaml.ports.map((port) =>
        typeof port === "number"
          ? { name: "", protocol: "tcp", target_port: port }
          : { name: port.name, protocol: port.type, target_port: port.port },
      ),
      interactive:
        yaml.interactive === undefined
          ? null
          : { max_runtime: yaml.interactive.max_runtime, jupyter: yaml.interactive.jupyter ?? { idle_timeout: "" } },
      service_account_name: yaml.service_account_name,
      termination_protection: yaml.termination_protection,
    },
  };
}
