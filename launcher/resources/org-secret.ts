/**
 * A secret of the organization on the GPU cloud, which runs refer to by its name. Members of the organization can use it. Its value
 * is never read back, so that a change made elsewhere is not seen.
 */
import type { Placed } from "../by-place.ts";
import type { CheckFailure, DiffAnswer, ResourceHandler } from "../resource-handler.ts";

export interface OrgSecretInputs extends Placed {
  readonly name: string;
  /** Never in a log, nor in an error. */
  readonly value: string;
}

/** What it needs of the cloud's API. */
export interface SecretStore {
  upsertSecret(name: string, value: string): Promise<void>;
  secrets(): Promise<readonly { readonly id: string; readonly name: string }[]>;
  deleteSecret(id: string): Promise<void>;
}

/** The provider hands these back to the engine as secrets. */
export const SECRET_INPUTS = ["value"];

export class OrgSecretHandler implements ResourceHandler<OrgSecretInputs, OrgSecretInputs> {
  readonly secretInputs = SECRET_INPUTS;
  private readonly store: () => SecretStore;

  /** @param store is asked for when there is something to do: a preview works without a login. */
  constructor(store: () => SecretStore) {
    this.store = store;
  }

  async check(inputs: OrgSecretInputs): Promise<{ inputs: OrgSecretInputs; failures: CheckFailure[] }> {
    // Without a property's name: the engine would print the value of one that it is told.
    const failures =
      inputs.value === "" ? [{ property: "", reason: `secret ${inputs.name} is empty: set a value` }] : [];
    return { inputs, failures };
  }

  async diff(_id: string, before: OrgSecretInputs, inputs: OrgSecretInputs): Promise<DiffAnswer> {
    const replaces = before.name === inputs.name ? [] : ["name"];
    return { changes: replaces.length > 0 || before.value !== inputs.value, replaces };
  }

  /** One that is there gets the new value. */
  async create(inputs: OrgSecretInputs): Promise<{ id: string; outputs: OrgSecretInputs }> {
    await this.store().upsertSecret(inputs.name, inputs.value);
    return { id: inputs.name, outputs: inputs };
  }

  async update(_id: string, _before: OrgSecretInputs, inputs: OrgSecretInputs): Promise<OrgSecretInputs> {
    return (await this.create(inputs)).outputs;
  }

  async read(_id: string, before: OrgSecretInputs): Promise<OrgSecretInputs | undefined> {
    const there = (await this.store().secrets()).some(({ name }) => name === before.name);
    return there ? before : undefined;
  }

  async delete(_id: string, before: OrgSecretInputs): Promise<void> {
    const found = (await this.store().secrets()).filter(({ name }) => name === before.name);
    for (const { id } of found) await this.store().deleteSecret(id);
  }
}
