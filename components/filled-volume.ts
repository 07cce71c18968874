import * as pulumi from "@pulumi/pulumi";
import type { VolumeRef } from "../launcher/backend.ts";
import type { Place } from "../launcher/by-place.ts";
import type { Content } from "./content.ts";
import { Upload, Volume } from "./launcher-resources.ts";

export interface FilledVolumeArgs {
  /** On this machine, or on the GPU cloud. */
  readonly place: pulumi.Input<Place>;
  /** What it holds. */
  readonly kind: "models" | "datasets" | "checkpoints";
  /**
   * Where the volume is. A bucket, written `s3://...`, has no volumes: what goes in is below `<volumeName>/` there.
   * @example "vessl-storage"
   */
  readonly storage: string;
  /** @example "weighted-mtp-models" */
  readonly volumeName: string;
  /**
   * Directory below the project whose content goes in.
   * @example "storage/models"
   */
  readonly source: string;
  /** A source that is not there is an empty one. @default false */
  readonly optional?: boolean;
  /** Stack that the volume belongs to: no other may fill or delete it. @default nobody's, as on this machine */
  readonly owner?: string | undefined;
  /** `destroy` refuses to touch it. @default false */
  readonly protect?: boolean;
  /** Destroyed with its content; without, a volume that holds something is kept. @default false */
  readonly forceDelete?: boolean;
  /** What must be there first: the bucket. */
  readonly after?: readonly pulumi.Resource[];
}

/** A volume and what must be in it. Dependents learn the hash of each subtree in a preview, before anything was moved. */
export class FilledVolume extends pulumi.ComponentResource implements Content {
  readonly ref: VolumeRef;
  readonly ready = [this];
  /** Content hash of every top-level directory. */
  readonly hashes: pulumi.Output<Record<string, string>>;
  /** Bytes of every top-level directory; undefined where nobody has counted them. */
  readonly bytes: pulumi.Output<Record<string, number> | undefined>;

  constructor(name: string, args: FilledVolumeArgs, opts?: pulumi.ComponentResourceOptions) {
    const { place, kind, storage, volumeName, source, optional = false, protect = false, forceDelete = false } = args;
    super("wmtp:index:FilledVolume", name, { kind, storage, volumeName, source }, opts);
    this.ref = { storage, name: volumeName };
    const volume = storage.startsWith("s3://")
      ? undefined
      : new Volume(
          name,
          { place, storage, volumeName, tags: ["weighted-mtp", kind], forceDelete, owner: args.owner },
          { parent: this, protect },
        );
    const upload = new Upload(
      name,
      { place, storage, volumeName, source, optional },
      {
        parent: this,
        dependsOn: [...(volume === undefined ? [] : [volume]), ...(args.after ?? [])],
        ...(volume === undefined ? {} : { deletedWith: volume }),
      },
    );
    this.hashes = upload.subtrees;
    this.bytes = upload.subtreeBytes;
    this.registerOutputs({ storage, volumeName });
  }

  /** Content hashes of the named directories; an empty hash for one that is not there, which a run refuses by name. */
  hashesOf(directories: readonly string[]): pulumi.Output<Record<string, string>> {
    return this.hashes.apply((hashes) =>
      Object.fromEntries(directories.map((directory) => [directory, hashes[directory] ?? ""])),
    );
  }
}
