/** What can go wrong with a call to the GPU cloud's API, said as cause and remedy. Never with a token or a request body. */
import { z } from "zod";
import { Refused } from "../errors.ts";
import { TOKEN_REMEDY } from "./token.ts";

/** The API answered, and refused. */
export class ApiError extends Refused {
  /** HTTP status. */
  readonly status: number;
  /** The API's own name for it, for example `NotFound`; empty when it gave none. */
  readonly code: string;
  readonly remedy: string;

  constructor(call: string, status: number, code: string, said: string, remedy: string) {
    const answer = [String(status), code].filter((word) => word !== "").join(" ");
    super(`the GPU cloud refused ${call} (${answer})${said === "" ? "" : `: ${said}`}; ${remedy}`, isBusy(status));
    this.status = status;
    this.code = code;
    this.remedy = remedy;
  }
}

/** A call that must not be repeated blindly was sent, and nobody knows whether it took effect: look before trying again. */
export class AnswerLost extends Error {
  constructor(call: string, cause: string) {
    super(`the answer to ${call} was lost (${cause}): it may have taken effect; run pulumi up again`);
  }
}

/** What an error answer says beside its status. A proxy's page of HTML says nothing. */
const SAID = z.object({
  code: z.string().nullish(),
  message: z.string().nullish(),
  fields: z.array(z.object({ name: z.string().nullish(), message: z.string().nullish() })).nullish(),
});

/** Longer messages are somebody's stack trace. */
const MAX_SAID = 400;

/** @param token is taken out of what the server says; @param confidential drops all that it says, for it may quote the body. */
export function refusal(call: string, status: number, body: unknown, token: string, confidential: boolean): ApiError {
  const said = confidential ? undefined : SAID.safeParse(body).data;
  // Not a field's value: it is a piece of the request.
  const fields = (said?.fields ?? []).map(({ name, message }) => [name, message].filter(Boolean).join(" "));
  const sentence = clean([said?.message ?? "", ...fields].filter((part) => part !== "").join(", "), token);
  return new ApiError(call, status, clean(said?.code ?? "", token), sentence, remedyFor(status));
}

function clean(text: string, token: string): string {
  const line = text
    .replaceAll(token, "[token]")
    .replace(/[\s\p{Cc}]+/gu, " ")
    .trim();
  return line.length > MAX_SAID ? `${line.slice(0, MAX_SAID)}...` : line;
}

function isBusy(status: number): boolean {
  return status === 429 || status >= 500;
}

function remedyFor(status: number): string {
  switch (status) {
    case 401:
      return `the login has expired or is unknown there: ${TOKEN_REMEDY}. A token of VESSL Cloud (cloud.vessl.ai, vesslctl) is of another product and not known at api.vessl.ai`;
    case 403:
      return "your account may not do this: ask an owner of the organization for the permission";
    case 404:
      return "it does not exist, or your account cannot see it: compare the names in wmtp:launcher and wmtp:volumes with the web console";
    case 409:
      return "it is there already: choose another name, or remove it";
    case 400:
      return "correct what it names, then run pulumi up again";
    default:
      return isBusy(status) ? "the service is in trouble or busy: try again later" : "check VESSL_API_HOST";
  }
}
