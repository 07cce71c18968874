/** The backend of a place: the one that the provider's resources work with, and the one that the command line asks. */
import { join } from "node:path";
import type { Backend } from "./backend.ts";
import type { CloudPlace, Place } from "./by-place.ts";
import { LocalBackend } from "./local/backend.ts";
import { Layout } from "./local/layout.ts";
import { VesslApi } from "./vessl/api.ts";
import { VesslBackend } from "./vessl/backend.ts";
import { type HttpTiming, VesslHttp } from "./vessl/http.ts";
import { findToken } from "./vessl/token.ts";

export interface LoginOptions {
  /** Ends every request and every wait, with its reason. */
  readonly stop?: AbortSignal;
  readonly timing?: Partial<HttpTiming>;
}

export class Backends {
  private readonly layout: Layout;
  private readonly options: LoginOptions;
  private readonly local: LocalBackend;
  private readonly clouds = new Map<string, VesslBackend>();

  constructor(layout = new Layout(), options: LoginOptions = {}) {
    this.layout = layout;
    this.options = options;
    this.local = new LocalBackend(layout);
  }

  of(place: Place): Backend {
    return place.target === "local" ? this.local : this.cloud(place);
  }

  /** One for all who ask for this place, so that they share what was asked once. */
  cloud(place: CloudPlace): VesslBackend {
    const key = JSON.stringify(place);
    const cloud =
      this.clouds.get(key) ??
      new VesslBackend({
        place,
        api: login(place, this.options),
        journal: join(this.layout.home, "uploads"),
        hashCache: this.layout.hashCache,
      });
    this.clouds.set(key, cloud);
    return cloud;
  }
}

/**
 * The API as whoever is logged in here; undefined without a token, which a preview can do without.
 * @throws Error for a token that cannot be read or sent, and for a VESSL_API_HOST that no token must be sent to.
 */
export function login(
  { organization, project }: Pick<CloudPlace, "organization" | "project">,
  options: LoginOptions = {},
): VesslApi | undefined {
  const token = findToken();
  return token === undefined ? undefined : new VesslApi(new VesslHttp(token, options), organization, project);
}
