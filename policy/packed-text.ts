/** What is packed into user data: base64, base85 and compressed text, so that nothing hides in a bundle. */
import { gunzipSync, inflateSync } from "node:zlib";

/** Nobody writes words as long as this. */
const PACKED = /[!-~]{200,}/g;
const BASE64 = /^[A-Za-z0-9+/]+={0,2}$/;
/** As Python's base64.b85encode writes it. */
const BASE85 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~";
const DEEPEST = 4;

/** The text with what it holds in packed form unpacked; undefined when some of it cannot be read. */
export function unpacked(text: string, depth = 0): string[] | undefined {
  if (depth > DEEPEST) return undefined;
  const found = [text.replace(PACKED, "")];
  for (const word of text.match(PACKED) ?? []) {
    const inner = decode(word);
    const further = inner === undefined ? undefined : unpacked(inner, depth + 1);
    if (further === undefined) return undefined;
    found.push(...further);
  }
  return found;
}

function decode(word: string): string | undefined {
  for (const bytes of [BASE64.test(word) ? Buffer.from(word, "base64") : undefined, fromBase85(word)]) {
    const text = bytes === undefined ? undefined : toText(decompress(bytes));
    if (text !== undefined) return text;
  }
  return undefined;
}

function decompress(bytes: Buffer): Buffer {
  try {
    if (bytes[0] === 0x1f && bytes[1] === 0x8b) return gunzipSync(bytes);
    return (bytes[0] as number) % 16 === 8 ? inflateSync(bytes) : bytes;
  } catch {
    return bytes;
  }
}

/** Undefined for bytes that are no text; JSON is read with its own escapes undone, so that a secret stands there as it is. */
function toText(bytes: Buffer): string | undefined {
  const text = bytes.toString("utf8");
  if (/[^\P{Cc}\t\n\r\f]|\ufffd/u.test(text)) return undefined;
  try {
    return stringsOf(JSON.parse(text)).join("\n");
  } catch {
    return text;
  }
}

function stringsOf(value: unknown): string[] {
  if (typeof value === "string") return [value];
  if (value === null || typeof value !== "object") return [String(value)];
  return Object.entries(value).flatMap(([key, inner]) => [key, ...stringsOf(inner)]);
}

function fromBase85(word: string): Buffer | undefined {
  const bytes: number[] = [];
  for (let start = 0; start < word.length; start += 5) {
    const group = word.slice(start, start + 5);
    let value = 0;
    for (const character of group.padEnd(5, "~")) {
      const digit = BASE85.indexOf(character);
      if (digit < 0) return undefined;
      value = value * 85 + digit;
    }
    const four = [24, 16, 8, 0].map((shift) => Math.floor(value / 2 ** shift) % 256);
    bytes.push(...four.slice(0, group.length - 1));
  }
  return Buffer.from(bytes);
}
