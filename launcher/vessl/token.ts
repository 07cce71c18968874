/** Where the access token of the GPU cloud comes from: the same places, in the same order, as its own command line client. */
import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { parse } from "smol-toml";

/** What to do when there is no token, or it is not accepted. */
export const TOKEN_REMEDY =
  "log in with `vessl configure`, or set VESSL_ACCESS_TOKEN to an access token of app.vessl.ai (user settings, access tokens)";

/**
 * VESSL_ACCESS_TOKEN, else the file that VESSL_CREDENTIALS_FILE names, else VESSL_CONFIG_PATH or ~/.vessl/config. The first place that
 * is there counts, even when it holds no token. Empty is unset.
 * @throws Error when VESSL_CREDENTIALS_FILE names no file, or a file is not TOML; never with anything the file holds.
 */
export function findToken(env: NodeJS.ProcessEnv = process.env): string | undefined {
  const direct = env.VESSL_ACCESS_TOKEN?.trim();
  if (direct) return direct;
  if (env.VESSL_CREDENTIALS_FILE) {
    const text = readIfThere(env.VESSL_CREDENTIALS_FILE);
    if (text === undefined)
      throw new Error(
        `VESSL_CREDENTIALS_FILE names ${env.VESSL_CREDENTIALS_FILE}, which cannot be read: correct it, or unset it`,
      );
    return tokenIn(text, env.VESSL_CREDENTIALS_FILE);
  }
  const file = env.VESSL_CONFIG_PATH || join(env.HOME || homedir(), ".vessl", "config");
  const text = readIfThere(file);
  return text === undefined ? undefined : tokenIn(text, file);
}

function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}

function tokenIn(text: string, file: string): string | undefined {
  let user: unknown;
  try {
    user = parse(text).user;
  } catch {
    // The parser's own words quote the line, and the line may hold the token.
    throw new Error(`${file} is not TOML: write it anew with \`vessl configure\``);
  }
  const token = user !== null && typeof user === "object" && "access_token" in user ? user.access_token : undefined;
  return typeof token === "string" && token.trim() !== "" ? token.trim() : undefined;
}
