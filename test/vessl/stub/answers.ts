/** What the stub answers with: JSON and 200, or the cloud's error body. */

/** Thrown by a route; becomes the cloud's error body, `{code, message, fields}`. */
export class Refusal extends Error {
  readonly status: number;
  readonly code: string;
  readonly fields: readonly Field[];

  constructor(status: number, code: string, message: string, fields: readonly Field[] = []) {
    super(message);
    this.status = status;
    this.code = code;
    this.fields = fields;
  }
}

export interface Field {
  readonly name: string;
  readonly value: string;
  readonly message: string;
}

export const notFound = (what: string) => new Refusal(404, "NotFound", `${what} not found`);
export const exists = (what: string) => new Refusal(409, "AlreadyExists", `${what} already exists`);
export const unauthorized = () => new Refusal(401, "Unauthorized", "Invalid access token");

export function invalid(message: string, ...fields: Field[]): Refusal {
  return new Refusal(400, "InvalidParameters", message, fields);
}

/** Keys are partly in camel case on the real wire. */
export function pageInfo(total: number, offset: number, shown: number) {
  return {
    total_count: total,
    hasNextPage: offset + shown < total,
    hasPreviousPage: offset > 0,
    startCursorID: null,
    endCursorID: null,
  };
}

const DEFAULT_PAGE = 50;
const LARGEST_PAGE = 100;

/** `limit` and `offset` of a query, as far as the server goes along with them. */
export function page<T>(all: readonly T[], query: URLSearchParams): { results: T[]; page_info: object } {
  const limit = Math.min(number(query, "limit") ?? DEFAULT_PAGE, LARGEST_PAGE);
  const offset = number(query, "offset") ?? 0;
  const results = all.slice(offset, offset + limit);
  return { results, page_info: pageInfo(all.length, offset, results.length) };
}

function number(query: URLSearchParams, name: string): number | undefined {
  const text = query.get(name);
  if (text === null || text === "") return undefined;
  if (!/^\d+$/.test(text)) throw invalid("Invalid parameters", { name, value: text, message: "must be a number" });
  return Number(text);
}
