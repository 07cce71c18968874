/** JSON Schema of `Pulumi.<stack>.yaml`, made from the zod schema so that an editor and a preview agree. */
import { z } from "zod";
import { SECRET_KEYS, SECTIONS } from "./config-schema.ts";

/** What `pulumi config set --secret` writes. */
const ENCRYPTED = { type: "object", properties: { secure: { type: "string" } }, required: ["secure"] };

export function stackFileSchema(): object {
  const sections = Object.entries(SECTIONS).map(([name, schema]) => {
    const { $schema: _, ...section } = z.toJSONSchema(schema, { io: "input", unrepresentable: "any" });
    return [`wmtp:${name}`, name === "pipelines" ? withEmptyPipelines(section) : section];
  });
  const secrets = SECRET_KEYS.map((name) => [`wmtp:${name}`, ENCRYPTED]);
  const properties = Object.fromEntries([...sections, ...secrets]);
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title: "A stack of the WMTP project",
    type: "object",
    properties: {
      config: {
        type: "object",
        properties,
        // Keys of other namespaces (`aws:region`) belong to their providers.
        propertyNames: { anyOf: [{ not: { pattern: "^wmtp:" } }, { enum: Object.keys(properties) }] },
      },
    },
  };
}

/** `critic:` with nothing after it is a pipeline with all defaults. */
function withEmptyPipelines(section: object): object {
  const { properties } = section as { properties: Record<string, object> };
  const nullable = Object.entries(properties).map(([name, schema]) => [name, { ...schema, type: ["object", "null"] }]);
  return { ...section, properties: Object.fromEntries(nullable) };
}
