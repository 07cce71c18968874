/** A volume: created or adopted, tagged, and never deleted while it holds something. */

import type { Backend, VolumeRef } from "../backend.ts";
import type { Placed } from "../by-place.ts";
import type { CallContext, CheckFailure, DiffAnswer, ResourceHandler } from "../resource-handler.ts";

export interface VolumeInputs extends Placed {
  readonly storage: string;
  readonly volumeName: string;
  readonly tags: readonly string[];
  /** Deleting it takes its content along; without, a volume that holds something is kept. @default false */
  readonly forceDelete?: boolean;
}

export class VolumeHandler implements ResourceHandler<VolumeInputs, VolumeInputs> {
  private readonly backend: Backend;

  constructor(backend: Backend) {
    this.backend = backend;
  }

  async check(inputs: VolumeInputs): Promise<{ inputs: VolumeInputs; failures: CheckFailure[] }> {
    return { inputs, failures: [] };
  }

  async diff(_id: string, before: VolumeInputs, inputs: VolumeInputs): Promise<DiffAnswer> {
    const replaces = (["storage", "volumeName"] as const).filter((key) => before[key] !== inputs[key]);
    const retagged = before.tags.join() !== inputs.tags.join();
    const forced = (before.forceDelete ?? false) !== (inputs.forceDelete ?? false);
    return { changes: replaces.length > 0 || retagged || forced, replaces };
  }

  async create(inputs: VolumeInputs): Promise<{ id: string; outputs: VolumeInputs }> {
    await this.backend.ensureVolume({ ...refOf(inputs), tags: inputs.tags });
    return { id: `${inputs.storage}/${inputs.volumeName}`, outputs: inputs };
  }

  async update(_id: string, _before: VolumeInputs, inputs: VolumeInputs): Promise<VolumeInputs> {
    return (await this.create(inputs)).outputs;
  }

  async read(_id: string, before: VolumeInputs): Promise<VolumeInputs | undefined> {
    const state = await this.backend.readVolume(refOf(before));
    return state === undefined ? undefined : { ...before, tags: state.tags };
  }

  async delete(id: string, before: VolumeInputs, { urn, log }: CallContext): Promise<void> {
    if (!(await this.backend.deleteVolume(refOf(before), before.forceDelete)))
      log.status(urn, `volume ${id} holds files and was kept; a later up adopts it`);
  }
}

export function refOf({ storage, volumeName }: Pick<VolumeInputs, "storage" | "volumeName">): VolumeRef {
  return { storage, name: volumeName };
}
