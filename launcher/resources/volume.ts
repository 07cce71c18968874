/** A volume: created or adopted, tagged, and never deleted while it holds something. */

import type { Backend, OwnedVolume, VolumeRef } from "../backend.ts";
import { HERE, type Placed } from "../by-place.ts";
import type { CallContext, CheckFailure, DiffAnswer, ReportContext, ResourceHandler } from "../resource-handler.ts";

export interface VolumeInputs extends Placed {
  readonly storage: string;
  readonly volumeName: string;
  readonly tags: readonly string[];
  /** Deleting it takes its content along; without, a volume that holds something is kept. @default false */
  readonly forceDelete?: boolean;
  /** Name of the stack: on the GPU cloud no other one gets to fill or delete the volume. @default nobody's */
  readonly owner?: string;
}

export class VolumeHandler implements ResourceHandler<VolumeInputs, VolumeInputs> {
  private readonly backend: Backend;

  constructor(backend: Backend) {
    this.backend = backend;
  }

  async check(
    inputs: VolumeInputs,
    _previous: VolumeInputs | undefined,
    { urn, log }: ReportContext,
  ): Promise<{ inputs: VolumeInputs; failures: CheckFailure[] }> {
    const { problems, warnings } = await this.backend.examineVolume(refOf(inputs));
    for (const warning of warnings) log.warn(urn, warning);
    return { inputs, failures: problems.map((reason) => ({ property: "storage", reason })) };
  }

  async diff(_id: string, before: VolumeInputs, inputs: VolumeInputs): Promise<DiffAnswer> {
    const replaces = (["storage", "volumeName"] as const).filter((key) => before[key] !== inputs[key]);
    const retagged = before.tags.join() !== inputs.tags.join();
    const forced = (before.forceDelete ?? false) !== (inputs.forceDelete ?? false);
    const claimed = before.owner !== inputs.owner;
    return { changes: replaces.length > 0 || retagged || forced || claimed, replaces };
  }

  async create(inputs: VolumeInputs): Promise<{ id: string; outputs: VolumeInputs }> {
    await this.backend.ensureVolume({ ...ownedRefOf(inputs), tags: inputs.tags });
    return { id: `${inputs.storage}/${inputs.volumeName}`, outputs: inputs };
  }

  async update(_id: string, _before: VolumeInputs, inputs: VolumeInputs): Promise<VolumeInputs> {
    return (await this.create(inputs)).outputs;
  }

  async read(_id: string, before: VolumeInputs): Promise<VolumeInputs | undefined> {
    const state = await this.backend.readVolume(refOf(before));
    if (state === undefined) return undefined;
    const { owner, ...rest } = before;
    // One that is another's by now is not claimed: the next `up` asks for it again, and a `destroy` leaves it.
    return { ...rest, tags: state.tags, ...(owner !== undefined && owner === state.owner ? { owner } : {}) };
  }

  async delete(id: string, before: VolumeInputs, { urn, log }: CallContext): Promise<void> {
    if (await this.backend.deleteVolume(ownedRefOf(before), before.forceDelete)) return;
    const owner = (await this.backend.readVolume(refOf(before)))?.owner;
    log.warn(urn, keptBecause(id, before, owner));
  }
}

function keptBecause(id: string, before: VolumeInputs, owner: string | undefined): string {
  if (owner !== undefined && owner !== before.owner)
    return `volume ${id} belongs to stack ${owner} and is kept: it goes with that stack`;
  if (before.forceDelete)
    return `volume ${id} is kept, and still billed: what it holds cannot be listed from here; delete it in the web console when nobody needs it`;
  const billed = (before.place ?? HERE).target === "local" ? "" : ", and still billed";
  return `volume ${id} holds files: it is kept${billed}; a later up adopts it. To have it taken along, set wmtp:volumes.forceDelete: true and run pulumi up before pulumi destroy`;
}

function ownedRefOf(inputs: VolumeInputs): OwnedVolume {
  return { ...refOf(inputs), ...(inputs.owner === undefined ? {} : { owner: inputs.owner }) };
}

export function refOf({ storage, volumeName }: Pick<VolumeInputs, "storage" | "volumeName">): VolumeRef {
  return { storage, name: volumeName };
}
