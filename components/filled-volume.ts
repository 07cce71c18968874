import * as pulumi from "@pulumi/pulumi";
import type { Place } from "../launcher/by-place.ts";
import { Upload, Volume } from "./launcher-resources.ts";

export interface FilledVolumeArgs {
  /** On this machine, or on the GPU cloud. */
  readonly place: Place;
  /** What it holds. */
  readonly kind: "models" | "datasets" | "checkpoints";
  /** @example "vessl-storage" */
  readonly storage: string;
  /** @example "weighted-mtp-models" */
  readonly volumeName: string;
  /**
   * Directory below the project whose content goes in; none: an empty volume.
   * @example "storage/models"
   */
  readonly source?: string;
}

/** A volume and what must be in it. Dependents learn the hash of each subtree in a preview, before anything was moved. */
export class FilledVolume extends pulumi.ComponentResource {
  readonly storage: string;
  readonly volumeName: string;
  private readonly subtrees: pulumi.Output<Record<string, string>>;

  constructor(name: string, args: FilledVolumeArgs, opts?: pulumi.ComponentResourceOptions) {
    super("wmtp:index:FilledVolume", name, args, opts);
    const { place, kind, storage, volumeName, source } = args;
    this.storage = storage;
    this.volumeName = volumeName;
    const volume = new Volume(name, { place, storage, volumeName, tags: ["weighted-mtp", kind] }, { parent: this });
    this.subtrees =
      source === undefined
        ? pulumi.output<Record<string, string>>({})
        : new Upload(
            name,
            { place, storage, volumeName, source },
            { parent: this, dependsOn: [volume], deletedWith: volume },
          ).subtrees;
    this.registerOutputs({ storage, volumeName });
  }

  /** Content hashes of the named directories; an empty hash for one that is not there, which a run refuses by name. */
  hashesOf(directories: readonly string[]): pulumi.Output<Record<string, string>> {
    return this.subtrees.apply((hashes) =>
      Object.fromEntries(directories.map((directory) => [directory, hashes[directory] ?? ""])),
    );
  }
}
