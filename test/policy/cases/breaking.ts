/** Ways to break what prod declares, for the cases of each theme. */
import type { PolicyId } from "../../../policy/ids.ts";
import type { Value } from "../../../policy/values.ts";
import { byHand, type Changeable, type Config, prod } from "../support.ts";

/** Prod, with what it has only when it is told to. */
export const config: Config = {
  ...prod,
  "wmtp:image": { ecr: true },
  "wmtp:cost": { ...(prod["wmtp:cost"] as object), presets: ["gpu-a100-80g-small", "gpu-a100-80g-large"] },
};

type Find = (type: string, name?: string) => Changeable;
/** Changes resources in place, or answers with further resources, or with another config. */
export type Break = (find: Find) => Changeable[] | Config | undefined;
/** Policy -> changes, each with all violations that it makes, and with what is said of it. */
export type Cases = Partial<
  Record<PolicyId, readonly (readonly [what: string, Break, violations: readonly string[], says: string])[]>
>;

/** Sets `metadataOptions.httpTokens` and the like; undefined removes it. */
export function set(resource: Changeable, path: string, value: Value): undefined {
  const change = (node: Value, keys: readonly string[]): Value => {
    const [key, ...rest] = keys as [string, ...string[]];
    const inner = rest.length === 0 ? value : change((node as Record<string, Value>)[key], rest);
    if (Array.isArray(node)) return node.with(Number(key), inner);
    return { ...(node as object), [key]: inner };
  };
  resource.props = change(resource.props, path.split(".")) as Record<string, Value>;
}

export const S3 = "aws:s3/bucket";
export const rule = (props: Record<string, Value>) => [
  byHand("aws:ec2/securityGroupRule:SecurityGroupRule", "extra", {
    type: "ingress",
    protocol: "tcp",
    fromPort: 443,
    toPort: 443,
    cidrBlocks: ["10.0.0.0/8"],
    description: "extra",
    ...props,
  }),
];
export const open =
  (fromPort: number, toPort = fromPort) =>
  () =>
    rule({ fromPort, toPort, cidrBlocks: ["0.0.0.0/0"] });
export const statement = (find: Find, change: object) => {
  const policy = find("aws:iam/userPolicy:UserPolicy");
  const document = JSON.parse(policy.props.policy as string);
  Object.assign(document.Statement[2], change);
  return set(policy, "policy", JSON.stringify(document));
};
export const run =
  (path: string, value: Value, name = "baseline"): Break =>
  (find) =>
    set(find("launcher:index:Run", name), path, value);
export const host =
  (path: string, value: Value): Break =>
  (find) =>
    set(find("aws:ec2/instance:Instance"), path, value);
export const costs =
  (change: object): Break =>
  () => ({ ...config, "wmtp:cost": { ...(config["wmtp:cost"] as object), ...change } });
