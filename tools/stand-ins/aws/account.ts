/** The account that does not exist, in the region of the stack. */
import type { Properties } from "../wire.ts";

class Account {
  readonly id = "123456789012";
  readonly partition = "aws";
  private defaultTags: Properties = {};
  private configured?: string;

  /** @param config of the provider: `region` and, as JSON, `defaultTags`. @throws Error without a region. */
  configure(config: Properties): void {
    this.configured = (config.region as string | undefined) ?? process.env.AWS_REGION ?? process.env.AWS_DEFAULT_REGION;
    if (this.configured === undefined || this.configured === "") {
      throw new Error("the AWS provider has no region: set aws:region in the stack's file, or AWS_REGION");
    }
    const tags = config.defaultTags;
    this.defaultTags =
      ((typeof tags === "string" ? JSON.parse(tags) : tags) as { tags?: Properties } | undefined)?.tags ?? {};
  }

  get region(): string {
    if (this.configured === undefined) throw new Error("the AWS provider was asked before it was configured");
    return this.configured;
  }

  arn(service: string, resource: string, { region = this.region, account = this.id } = {}): string {
    return `arn:${this.partition}:${service}:${region}:${account}:${resource}`;
  }

  /** Of a service that knows no regions, like IAM. */
  globalArn(service: string, resource: string): string {
    return this.arn(service, resource, { region: "" });
  }

  tagsAll(inputs: Properties): Properties {
    return { ...this.defaultTags, ...(inputs.tags as Properties | undefined) };
  }
}

export const account = new Account();
