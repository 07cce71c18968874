import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Ajv2020 } from "ajv/dist/2020.js";
import { stackFileSchema } from "../../components/stack-file-schema.ts";
import { stackFile } from "../support/stack-config.ts";

const ajv = new Ajv2020({ allErrors: true, strict: false, validateFormats: false });
const validate = ajv.compile(stackFileSchema());

/** Paths (and the offending name) of what the schema refuses. */
function refused(config: Record<string, unknown>): string[] {
  validate({ config });
  return (validate.errors ?? []).map(({ instancePath, params }) =>
    [instancePath, params.additionalProperty ?? params.propertyName].filter(Boolean).join("#"),
  );
}

test("the committed schema is the one that the program's own makes", () => {
  const committed = readFileSync(join(import.meta.dirname, "../../components/config.schema.json"), "utf8");
  expect(JSON.parse(committed)).toEqual(JSON.parse(JSON.stringify(stackFileSchema())));
});

test.each(["minitest", "minitest-vessl", "prod"])("Pulumi.%s.yaml follows it, and names it for editors", (stack) => {
  expect(refused(stackFile(stack).config)).toEqual([]);
  const text = readFileSync(join(import.meta.dirname, `../../Pulumi.${stack}.yaml`), "utf8");
  expect(text.split("\n")[0]).toBe("# yaml-language-server: $schema=components/config.schema.json");
});

test("a misspelled section does not follow it", () => {
  expect(refused({ "wmtp:pipeline": {} })).toContain("/config#wmtp:pipeline");
});

test("a misspelled key of a section does not follow it, with its place", () => {
  expect(refused({ "wmtp:launcher": { targett: "local" } })).toEqual(["/config/wmtp:launcher#targett"]);
  expect(refused({ "wmtp:launcher": { vessl: { organisation: "x" } } })).toEqual([
    "/config/wmtp:launcher/vessl#organisation",
  ]);
});

test("a value out of its bounds does not follow it", () => {
  expect(refused({ "wmtp:launcher": { retries: 11, target: "aws" } }).sort()).toEqual([
    "/config/wmtp:launcher/retries",
    "/config/wmtp:launcher/target",
  ]);
});

test("a secret must be encrypted", () => {
  expect(refused({ "wmtp:hfToken": "plain" })).toEqual(["/config/wmtp:hfToken"]);
  expect(refused({ "wmtp:hfToken": { secure: "v1:..." } })).toEqual([]);
});

test("keys of other namespaces are free", () => {
  expect(refused({ "aws:region": "eu-north-1" })).toEqual([]);
});

test("a pipeline may be empty, and its keys are known", () => {
  expect(refused({ "wmtp:pipelines": { critic: {} } })).toEqual([]);
  expect(refused({ "wmtp:pipelines": { critic: { gpu: 1 } } })).toEqual(["/config/wmtp:pipelines/critic#gpu"]);
});

test("a pipeline with nothing after its name follows it, as the program takes it", () => {
  expect(refused({ "wmtp:pipelines": { critic: null } })).toEqual([]);
});
