/** The hole through which a stack changes what a component asks of one of its resources, without a fork of the component. */
import type { CustomResourceOptions } from "@pulumi/pulumi";

/**
 * Arguments that are merged over the component's own, or a function that changes them (and the options) in place.
 * It sees the component's finished arguments, so that it can look before it changes.
 */
export type Transform<Args> = Partial<Args> | ((args: Args, opts: CustomResourceOptions, name: string) => void);

/** Name, arguments and options of a child resource after its hole; what was handed in stays as it was. */
export function transform<Args extends object>(
  hole: Transform<Args> | undefined,
  name: string,
  args: Args,
  opts: CustomResourceOptions,
): [string, Args, CustomResourceOptions] {
  const ownArgs = { ...args };
  const ownOpts = { ...opts };
  if (typeof hole === "function") {
    hole(ownArgs, ownOpts, name);
    return [name, ownArgs, ownOpts];
  }
  return [name, { ...ownArgs, ...hole }, ownOpts];
}
