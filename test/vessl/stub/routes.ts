/** Which function answers which request. */
import { notFound } from "./answers.ts";

export interface Call {
  readonly method: string;
  readonly query: URLSearchParams;
  /** Parsed JSON; `{}` when there is none. */
  readonly body: unknown;
  /** Percent-decoded parts of the path, by the names in the route's pattern. */
  readonly path: Readonly<Record<string, string>>;
}

export type Answer = (call: Call) => object | Promise<object>;

interface Route {
  readonly method: string;
  readonly parts: readonly string[];
  readonly answer: Answer;
}

export class Routes {
  private readonly routes: Route[] = [];

  /** @param pattern for example `/organizations/{organization}`; every `{name}` is one part of the path. */
  on(method: string, pattern: string, answer: Answer): this {
    this.routes.push({ method, parts: pattern.split("/"), answer });
    return this;
  }

  answer(method: string, path: string, query: URLSearchParams, body: unknown): object | Promise<object> {
    const parts = path.split("/");
    for (const route of this.routes) {
      const found = route.method === method ? match(route.parts, parts) : undefined;
      if (found !== undefined) return route.answer({ method, query, body, path: found });
    }
    throw notFound(`${method} ${path}`);
  }
}

function match(pattern: readonly string[], parts: readonly string[]): Record<string, string> | undefined {
  if (pattern.length !== parts.length) return undefined;
  const found: Record<string, string> = {};
  for (const [index, wanted] of pattern.entries()) {
    const part = parts[index] as string;
    if (wanted.startsWith("{")) found[wanted.slice(1, -1)] = decodeURIComponent(part);
    else if (wanted !== part) return undefined;
  }
  return found;
}
