/** GitHub's REST API, as far as the workflows need it. */

/** As a job's environment says it. */
export interface Access {
  /** @example "https://api.github.com" */
  readonly api: string;
  /** @example "my-org/wmtp" */
  readonly repository: string;
  readonly token: string;
}

const PER_PAGE = 100;
/** More than anybody reads, and an end if the service never says one. */
const MOST_PAGES = 20;
const ATTEMPT_MS = 30_000;

/** @throws Error where this is no job with a token. */
export function accessOf(env: NodeJS.ProcessEnv): Access {
  const { GITHUB_API_URL: api, GITHUB_REPOSITORY: repository, GITHUB_TOKEN: token } = env;
  if (!api || !repository || !token)
    throw new Error("GITHUB_API_URL, GITHUB_REPOSITORY and GITHUB_TOKEN are not all set: this runs in a job");
  return { api, repository, token };
}

/** How a program of these ends that cannot go on: one line, as the job's log marks errors. */
export function complain(error: unknown): void {
  console.error(`::error::${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}

export class GitHub {
  private readonly access: Access;

  constructor(access: Access) {
    this.access = access;
  }

  /** @param path below the repository. @throws Error with what GitHub said. */
  async send<Answer>(method: "GET" | "POST" | "PATCH", path: string, body?: object): Promise<Answer> {
    const { api, repository, token } = this.access;
    const answer = await fetch(`${api}/repos/${repository}/${path}`, {
      method,
      headers: {
        accept: "application/vnd.github+json",
        authorization: `Bearer ${token}`,
        "x-github-api-version": "2022-11-28",
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(ATTEMPT_MS),
    });
    if (answer.ok) return (await answer.json()) as Answer;
    const { message = "" } = (await answer.json().catch(() => ({}))) as { message?: string };
    throw new Error(`${method} ${path} was answered with ${answer.status}${message === "" ? "" : `: ${message}`}`);
  }

  /** All pages of a list. */
  async list<Item>(path: string): Promise<Item[]> {
    const items: Item[] = [];
    for (let page = 1; page <= MOST_PAGES; page++) {
      const separator = path.includes("?") ? "&" : "?";
      const some = await this.send<Item[]>("GET", `${path}${separator}per_page=${PER_PAGE}&page=${page}`);
      items.push(...some);
      if (some.length < PER_PAGE) break;
    }
    return items;
  }
}
