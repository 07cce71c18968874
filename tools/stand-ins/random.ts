/** Stand-in for the random provider: really random, kept by the state. Entry point of its process. */
import { randomBytes, randomInt } from "node:crypto";
import type { ResourceType } from "./package.ts";
import { serve } from "./server.ts";
import type { Properties } from "./wire.ts";

const ALPHABETS = {
  lower: "abcdefghijklmnopqrstuvwxyz",
  upper: "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
  numeric: "0123456789",
  special: "!@#$%&*()-_=+[]{}<>:?",
};
type Alphabet = keyof typeof ALPHABETS;

/** A text of the real provider's making: every alphabet not switched off, of each at least its `min...` characters. */
function randomText(inputs: Properties): string {
  const length = Number(inputs.length);
  const alphabet = (name: Alphabet) =>
    name === "special" && typeof inputs.overrideSpecial === "string" ? inputs.overrideSpecial : ALPHABETS[name];
  const used = (Object.keys(ALPHABETS) as Alphabet[]).filter((name) => (inputs[name] ?? true) === true);
  const minimum = (name: Alphabet) => Number(inputs[`min${name[0]?.toUpperCase()}${name.slice(1)}`] ?? 0);
  const characters = used.flatMap((name) => Array.from({ length: minimum(name) }, () => pick(alphabet(name))));
  const all = used.map(alphabet).join("");
  if (all === "") throw new Error("no characters to choose from: switch on one of lower, upper, numeric, special");
  if (characters.length > length) throw new Error(`length ${length} is less than the minima together`);
  while (characters.length < length) characters.push(pick(all));
  return shuffle(characters).join("");
}

function pick(from: string): string {
  return from[randomInt(from.length)] as string;
}

function shuffle(items: readonly string[]): string[] {
  const left = [...items];
  return items.map(() => left.splice(randomInt(left.length), 1)[0] as string);
}

const types: Readonly<Record<string, ResourceType>> = {
  // bcryptHash, which the real one has too, is left out: nobody here reads it.
  "random:index/randomPassword:RandomPassword": {
    replaces: "all",
    secretOutputs: ["result"],
    create: async (inputs) => ({ id: "none", outputs: { result: randomText(inputs) } }),
  },
  "random:index/randomString:RandomString": {
    replaces: "all",
    create: async (inputs) => {
      const result = randomText(inputs);
      return { id: result, outputs: { result } };
    },
  },
  "random:index/randomBytes:RandomBytes": {
    replaces: "all",
    secretOutputs: ["base64", "hex"],
    create: async (inputs) => {
      const bytes = randomBytes(Number(inputs.length));
      return { id: "none", outputs: { base64: bytes.toString("base64"), hex: bytes.toString("hex") } };
    },
  },
  "random:index/randomId:RandomId": {
    replaces: "all",
    create: async (inputs) => {
      const bytes = randomBytes(Number(inputs.byteLength));
      const prefix = inputs.prefix ?? "";
      const hex = bytes.toString("hex");
      return {
        id: bytes.toString("base64url"),
        outputs: {
          b64Std: `${prefix}${bytes.toString("base64")}`,
          b64Url: `${prefix}${bytes.toString("base64url")}`,
          dec: `${prefix}${BigInt(`0x${hex}`)}`,
          hex: `${prefix}${hex}`,
        },
      };
    },
  },
};

await serve({ name: "random", version: "4.21.2", types, functions: {} });
