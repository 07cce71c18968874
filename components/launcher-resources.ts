/** The launcher's resources as a Pulumi program sees them; what they do is written in `launcher/resources/`. */
import * as pulumi from "@pulumi/pulumi";
import type { CloudRun } from "../launcher/backend.ts";
import type { Place } from "../launcher/by-place.ts";
import type { OrgSecretInputs } from "../launcher/resources/org-secret.ts";
import type { RunInputs } from "../launcher/resources/run.ts";
import type { TrackingServerInputs } from "../launcher/resources/tracking-server.ts";
import type { UploadInputs } from "../launcher/resources/upload.ts";
import type { VolumeInputs } from "../launcher/resources/volume.ts";

/** Properties that `check` fills in, so that they are known in a preview. */
type Computed =
  | "contentHash"
  | "subtrees"
  | "subtreeBytes"
  | "url"
  | "fingerprint"
  | "checkpointUri"
  | "trains"
  | "submission";
type Args<Inputs> = { [Key in Exclude<keyof Inputs, Computed>]: pulumi.Input<Inputs[Key]> };
/** Arguments of what is either on this machine or on the GPU cloud. */
type PlacedArgs<Inputs> = Args<Omit<Inputs, "place">> & { readonly place: pulumi.Input<Place> };

/** Parts of it may be known later than others. */
export type CloudRunArgs = {
  readonly [Part in keyof Omit<CloudRun, "env">]: pulumi.Input<CloudRun[Part] | undefined>;
} & { readonly env: Readonly<Record<string, pulumi.Input<string>>> };
type RunArgs = Omit<PlacedArgs<RunInputs>, "name" | "cloud"> & { readonly cloud: CloudRunArgs | undefined };

export class Volume extends pulumi.CustomResource {
  constructor(name: string, args: PlacedArgs<VolumeInputs>, opts?: pulumi.CustomResourceOptions) {
    super("launcher:index:Volume", name, args, opts);
  }
}

export class Upload extends pulumi.CustomResource {
  declare readonly contentHash: pulumi.Output<string>;
  /** Hash of every top-level directory. */
  declare readonly subtrees: pulumi.Output<Record<string, string>>;
  /** Bytes of every top-level directory; undefined where the files were uploaded by a version that did not count them. */
  declare readonly subtreeBytes: pulumi.Output<Record<string, number> | undefined>;

  constructor(name: string, args: PlacedArgs<UploadInputs>, opts?: pulumi.CustomResourceOptions) {
    const computed = { contentHash: undefined, subtrees: undefined, subtreeBytes: undefined };
    super("launcher:index:Upload", name, { ...args, ...computed }, opts);
  }
}

export class TrackingServer extends pulumi.CustomResource {
  declare readonly url: pulumi.Output<string>;

  constructor(name: string, args: Args<TrackingServerInputs>, opts?: pulumi.CustomResourceOptions) {
    super("launcher:index:TrackingServer", name, { ...args, url: undefined }, opts);
  }
}

export class Run extends pulumi.CustomResource {
  declare readonly fingerprint: pulumi.Output<string>;
  declare readonly checkpointUri: pulumi.Output<string>;
  /** In a preview, why the run trains, is adopted or is updated; undefined for one that stays as it is, and in an `up`. */
  declare readonly trains: pulumi.Output<string | undefined>;

  constructor(name: string, args: RunArgs, opts?: pulumi.CustomResourceOptions) {
    const computed = { fingerprint: undefined, checkpointUri: undefined, trains: undefined };
    super("launcher:index:Run", name, { ...args, ...computed }, opts);
  }
}

/** A secret of the GPU cloud's organization; `value` must be one of Pulumi's secrets. */
export class OrgSecret extends pulumi.CustomResource {
  constructor(name: string, args: PlacedArgs<OrgSecretInputs>, opts?: pulumi.CustomResourceOptions) {
    super("launcher:index:OrgSecret", name, args, opts);
  }
}
