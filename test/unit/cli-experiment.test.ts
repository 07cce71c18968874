/** `wmtp experiment` and `wmtp sweep`: the files they write, and what they refuse to. */
import { copyFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parse, stringify } from "yaml";
import { experiment } from "../../cli/experiment.ts";
import { sweep } from "../../cli/sweep.ts";

const PROJECT = resolve(import.meta.dirname, "..", "..");
const RATE = "verifiable.overrides.training.learning_rate";
const directory = process.cwd();
let project: string;
beforeEach(() => {
  project = mkdtempSync(join(tmpdir(), "wmtp-experiment-"));
  for (const file of ["Pulumi.yaml", "Pulumi.prod.yaml", "Pulumi.minitest.yaml"])
    copyFileSync(join(PROJECT, file), join(project, file));
  process.chdir(project);
});
afterEach(() => {
  process.chdir(directory);
  rmSync(project, { recursive: true, force: true });
});

const write = (name: string, set: string[], options: { from?: string; pipelines?: string[] } = {}) =>
  experiment(name, { from: "prod", pipelines: [], ...options, set });
const grid = (name: string, axes: string[], options: { set?: string[]; yes?: boolean } = {}) =>
  sweep(name, { from: "prod", pipelines: [], set: [], yes: false, ...options, grid: axes });
const text = (name: string) => readFileSync(`Pulumi.${name}.yaml`, "utf8");
const config = (name: string) => parse(text(name)).config;
const written = () => readdirSync(".").filter((file) => !/^Pulumi\.(prod\.|minitest\.)?yaml$/.test(file));

test("the file says what differs, and by which command", () => {
  expect(write("lr3e5", [`${RATE}=3e-5`, "verifiable.maxDuration=24h", "critic.gpus=2"])).toBe(
    "wrote Pulumi.lr3e5.yaml\nNext:\n  make preview STACK=lr3e5\n  make up STACK=lr3e5",
  );
  expect(text("lr3e5")).toBe(`# yaml-language-server: $schema=components/config.schema.json
# npx wmtp experiment lr3e5 --from prod --set ${RATE}=3e-5 --set verifiable.maxDuration=24h --set critic.gpus=2

config:
  wmtp:base: prod
  wmtp:pipelines:
    critic:
      gpus: 2
    verifiable:
      overrides:
        training.learning_rate: 3e-5
      maxDuration: 24h
`);
});

test("null is a value of the trainer's, and stays one", () => {
  const key = "verifiable.overrides.training.max_steps";
  const prod = parse(readFileSync("Pulumi.prod.yaml", "utf8"));
  prod.config["wmtp:overrides"] = { ...prod.config["wmtp:overrides"], "training.max_steps": 100 };
  writeFileSync("Pulumi.prod.yaml", stringify(prod));
  write("all", [`${key}=null`]);
  expect(config("all")["wmtp:pipelines"]).toEqual({ verifiable: { overrides: { "training.max_steps": null } } });
  prod.config["wmtp:pipelines"].verifiable = { overrides: { "training.max_steps": 100 } };
  writeFileSync("Pulumi.prod.yaml", stringify(prod));
  write("all", [`${key}=null`]);
});

test("further pipelines are as in the base; an experiment on minitest works too", () => {
  write("more", ["critic.gpus=1"], { from: "minitest", pipelines: ["ntp", "verifiable"] });
  expect(config("more")).toEqual({
    "wmtp:base": "minitest",
    "wmtp:pipelines": { critic: { gpus: 1 }, verifiable: null, ntp: null },
  });
});

test("the same again writes nothing; another content is never written over", () => {
  write("again", ["critic.gpus=2"]);
  writeFileSync("Pulumi.again.yaml", `${text("again")}encryptionsalt: v1:of-the-engine\n`);
  const before = text("again");
  expect(write("again", ["critic.gpus=2"])).toMatch(/^Pulumi\.again\.yaml says this already\n/);
  expect(() => write("again", ["critic.gpus=1"])).toThrow(
    "there is a Pulumi.again.yaml already, and it says something else: choose another name, or remove it (make down STACK=again first, if it was deployed)",
  );
  expect(text("again")).toBe(before);
});

test.each([
  ["a name with a slash", "a/b", ["critic.gpus=2"], '"a/b" is no name of an experiment'],
  ["a name that ends in a dash", "a-", ["critic.gpus=2"], '"a-" is no name of an experiment'],
  ["a setting without a value", "x", ["critic.gpus="], '"critic.gpus=" is no setting: write PATH=VALUE'],
  ["a path without a key", "x", ["critic=2"], '"critic=2" is no setting'],
  ["a value that is not YAML", "x", ["critic.after=[ntp"], "the value of critic.after is not YAML"],
  ["no finite number", "x", [`${RATE}=.inf`], `${RATE}=.inf: is no finite number`],
  ["what is no number", "x", [`${RATE}=.nan`], `${RATE}=.nan: is no finite number`],
  ["no finite number in a list", "x", ["ntp.overrides.loss.head_weights=[1,-.inf]"], "[1,-.inf]: is no finite number"],
  ["a setting twice", "x", ["critic.gpus=2", "critic.gpus=1"], "critic.gpus is set twice"],
  ["nothing that differs", "x", [], "x would be prod once more: say what differs"],
  [
    "a value that the base has",
    "x",
    ["critic.gpus=4", `${RATE}=3e-5`],
    "critic.gpus=4: changes nothing, prod has it so already",
  ],
  ["the stack itself as its base", "prod", ["critic.gpus=2"], "there is a Pulumi.prod.yaml already"],
])("refuses %s", (_what, name, set, message) => {
  expect(() => write(name, set)).toThrow(message);
  expect(written()).toEqual([]);
});

test("refuses what the program would refuse, all of it, by path", () => {
  const set = ["critic.gpu=2", "rho1.gpus=8", "critik.gpus=2", "ntp.overrides.training.batchsize=3"];
  expect(() => write("wrong", set)).toThrow(
    [
      "Pulumi.wrong.yaml would have 4 problems; nothing was written:",
      '  wmtp:pipelines.critic.gpu: unknown key; did you mean "gpus"?',
      "  wmtp:pipelines.rho1.gpus: 8 is not one of 1, 2, 4",
      '  wmtp:pipelines.critik: unknown key; did you mean "critic"?',
      '  wmtp:pipelines.ntp.overrides.training.batchsize: unknown trainer key; did you mean "training.batch_size"?',
    ].join("\n"),
  );
  expect(() => write("wrong", ["critic.gpus=2"], { from: "pord" })).toThrow(
    "wmtp:base: there is no Pulumi.pord.yaml; stacks:",
  );
  expect(written()).toEqual([]);
});

test("a sweep writes the product; names say the values", () => {
  const said = grid("lr", [`${RATE}=1e-5,3e-5`, "verifiable.maxDuration=12h,24h"], {
    set: ["verifiable.overrides.training.seed=7"],
  });
  const names = ["lr-1e-5-12h", "lr-1e-5-24h", "lr-3e-5-12h", "lr-3e-5-24h"];
  expect(written()).toEqual(names.map((name) => `Pulumi.${name}.yaml`));
  expect(config("lr-3e-5-12h")["wmtp:pipelines"]).toEqual({
    verifiable: { overrides: { "training.seed": 7, "training.learning_rate": 3e-5 }, maxDuration: "12h" },
  });
  expect(text("lr-3e-5-12h")).toContain(
    `# npx wmtp sweep lr --from prod --grid ${RATE}=1e-5,3e-5 --grid verifiable.maxDuration=12h,24h --set verifiable.overrides.training.seed=7\n`,
  );
  const row = said.split("\n").find((line) => line.includes("lr-1e-5-24h "));
  expect(row?.split("│").map((cell) => cell.trim())).toEqual([
    "",
    "lr-1e-5-24h",
    "1e-5",
    "24h",
    "verifiable 4",
    "288 USD",
    "",
  ]);
  expect(said).toContain("\nTogether: 864 USD at most for GPUs alone, without egress\nNext:");
  expect(said).toMatch(
    /\n {2}make preview STACK=lr-1e-5-12h\n {2}for stack in lr-1e-5-12h .* lr-3e-5-24h; do make up STACK=\$stack; done$/,
  );
});

test("a training that is written in two ways is written once", () => {
  const said = grid("lr", [`${RATE}=5e-5,0.00005,5.0e-5,1e-4`]);
  expect(written()).toEqual(["Pulumi.lr-1e-4.yaml", "Pulumi.lr-5e-5.yaml"]);
  expect(said).toContain("\nleft out 0.00005: lr-5e-5 is the same\nleft out 5.0e-5: lr-5e-5 is the same\n");
});

test("what has no price is not in the sum, and that is said", () => {
  const prod = parse(readFileSync("Pulumi.prod.yaml", "utf8"));
  prod.config["wmtp:cost"] = { perHour: {} };
  writeFileSync("Pulumi.prod.yaml", stringify(prod));
  expect(grid("g", ["critic.gpus=1,2"])).toContain("\nTogether: no price\n");
  prod.config["wmtp:cost"] = { perHour: { "gpu-a100-80g-small": 3 } };
  writeFileSync("Pulumi.prod.yaml", stringify(prod));
  expect(grid("h", ["critic.gpus=1,2"])).toMatch(
    /\nTogether: .* USD and more, where there is no price, for GPUs alone, without egress\n/,
  );
});

test("numbers where values make no names; commas in brackets part nothing", () => {
  grid("w", ["baseline.overrides.loss.head_weights=[1,0,0,0],[0.5,0.5,0,0]"]);
  expect(written()).toEqual(["Pulumi.w-1.yaml", "Pulumi.w-2.yaml"]);
  expect(config("w-2")["wmtp:pipelines"].baseline.overrides).toEqual({ "loss.head_weights": [0.5, 0.5, 0, 0] });
});

test("what the base has already is not written, and a point that is the base is left out", () => {
  const said = grid("g", ["critic.gpus=2,4", "critic.maxDuration=12h,24h"]);
  expect(written()).toEqual(["Pulumi.g-2-12h.yaml", "Pulumi.g-2-24h.yaml", "Pulumi.g-4-12h.yaml"]);
  expect(config("g-4-12h")["wmtp:pipelines"]).toEqual({ critic: { maxDuration: "12h" } });
  expect(said).toContain("\nleft out 4, 24h: prod has it so already\n");
});

test("all files of a sweep or none", () => {
  writeFileSync("Pulumi.lr-3e-5.yaml", "config: {}\n");
  expect(() => grid("lr", [`${RATE}=1e-5,3e-5`])).toThrow(
    "nothing was written:\n  there is a Pulumi.lr-3e-5.yaml already",
  );
  expect(() => grid("lr", ["critic.gpus=1,3"])).toThrow("wmtp:pipelines.critic.gpus: 3 is not one of 1, 2, 4");
  expect(() => grid("lr", ["critic.gpus=1,1"])).toThrow("critic.gpus has a value twice");
  expect(() => grid("lr", [])).toThrow("a sweep needs a grid");
  expect(existsSync("Pulumi.lr-1e-5.yaml")).toBe(false);
});

test("a grid that nobody can have meant needs a word more", () => {
  const seeds = (count: number) =>
    `ntp.overrides.training.seed=${Array.from({ length: count }, (_, seed) => seed + 100).join(",")}`;
  expect(() => grid("s", [seeds(65)])).toThrow(
    "the grid has 65 combinations, more than 64: add --yes if they are meant",
  );
  expect(written()).toEqual([]);
  grid("s", [seeds(65)], { yes: true });
  expect(written()).toHaveLength(65);
});
