/** One resource type, wherever a stack has its volumes and runs: each place has a handler of its own behind the same interface. */
import type { CallContext, CheckFailure, DiffAnswer, ReportContext, ResourceHandler } from "./resource-handler.ts";

/** A project of an organization on the GPU cloud, and the bucket its runs read from and write to. */
export interface CloudPlace {
  readonly target: "vessl";
  readonly organization: string;
  readonly project: string;
  readonly bucket: string;
  /** Of the bucket. @example "eu-north-1" */
  readonly region: string;
  /** Prefix in the bucket below which each stack has its checkpoints. @example "checkpoints/" */
  readonly checkpoints: string;
}

/** On this machine, or on the GPU cloud with checkpoints in a bucket. */
export type Place = { readonly target: "local" } | CloudPlace;

/** Part of the inputs of what is in a place. States written before there was a second one say nothing of it. */
export interface Placed {
  readonly place?: Place;
}

/** The place of what says of none. */
export const HERE: Place = { target: "local" };

export class ByPlace<Inputs extends Placed, Outputs extends Inputs> implements ResourceHandler<Inputs, Outputs> {
  readonly secretInputs: readonly string[];
  private readonly owner: readonly (keyof CloudPlace)[];
  private readonly make: (place: Place) => ResourceHandler<Inputs, Outputs>;
  private readonly made = new Map<string, ResourceHandler<Inputs, Outputs>>();

  /**
   * @param make the handler of a place; called once for each.
   * @param owner the parts of a place on the GPU cloud that the thing belongs to: another one of these is another thing.
   */
  constructor(
    make: (place: Place) => ResourceHandler<Inputs, Outputs>,
    owner: readonly (keyof CloudPlace)[],
    secretInputs: readonly string[] = [],
  ) {
    this.make = make;
    this.owner = owner;
    this.secretInputs = secretInputs;
  }

  check(
    inputs: Inputs,
    previous: Inputs | undefined,
    context: ReportContext,
  ): Promise<{ inputs: Inputs; failures: CheckFailure[] }> {
    return this.at(inputs).check(inputs, previous, context);
  }

  /**
   * What belongs to one place cannot be moved to another: it is made there anew, after the old one is gone, because two runs would
   * train side by side.
   */
  async diff(id: string, before: Outputs, inputs: Inputs, context: ReportContext): Promise<DiffAnswer> {
    const [old, now] = [before.place ?? HERE, inputs.place ?? HERE];
    if (this.ownerOf(old) !== this.ownerOf(now)) {
      return { changes: true, replaces: ["place"], deleteBeforeReplace: true };
    }
    const answer = await this.at(inputs).diff(id, before, inputs, context);
    return { ...answer, changes: answer.changes || JSON.stringify(old) !== JSON.stringify(now) };
  }

  create(inputs: Inputs, context: CallContext): Promise<{ id: string; outputs: Outputs }> {
    return this.at(inputs).create(inputs, context);
  }

  update(id: string, before: Outputs, inputs: Inputs, context: CallContext): Promise<Outputs> {
    return this.at(inputs).update(id, before, inputs, context);
  }

  read(id: string, before: Outputs): Promise<Outputs | undefined> {
    return this.at(before).read(id, before);
  }

  delete(id: string, before: Outputs, context: CallContext): Promise<void> {
    return this.at(before).delete(id, before, context);
  }

  private ownerOf(place: Place): string {
    return JSON.stringify(place.target === "local" ? place : ["vessl", ...this.owner.map((part) => place[part])]);
  }

  private at({ place = HERE }: Placed): ResourceHandler<Inputs, Outputs> {
    const key = JSON.stringify(place);
    const handler = this.made.get(key) ?? this.make(place);
    this.made.set(key, handler);
    return handler;
  }
}
