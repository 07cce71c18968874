/** The organization's generic secrets. No answer holds a value. */
import { z } from "zod";
import { projectsOf } from "./accounts.ts";
import { exists, notFound } from "./answers.ts";
import { parseBody } from "./body.ts";
import type { Routes } from "./routes.ts";
import type { SecretRecord, Store } from "./state.ts";

const KIND = "generic-secret";
const SECRET = z.object({ secret_name: z.string().min(1), value: z.string() });
const O = "/organizations/{organization}";

export function secretRoutes(routes: Routes, store: Store): void {
  const { state } = store;
  type Path = Readonly<Record<string, string>>;
  const secretsOf = (path: Path) => {
    projectsOf(path);
    return state.secrets.filter(({ organization }) => organization === path.organization);
  };
  const require = (found: SecretRecord | undefined) => {
    if (found === undefined) throw notFound("secret");
    return found;
  };
  const create = (path: Path, name: string, value: string) => {
    const secret: SecretRecord = { id: store.newId(), organization: path.organization as string, name, value };
    state.secrets.push(secret);
    store.save();
    return secretOf(secret);
  };
  const remove = ({ path }: { path: Path }) => {
    const gone = require(secretsOf(path).find(({ id }) => String(id) === path.secret));
    state.secrets = state.secrets.filter((secret) => secret !== gone);
    store.save();
    return {};
  };

  routes
    .on("GET", `${O}/secrets`, ({ path, query }) => {
      const kinds = [query.get("kind"), ...(query.get("kinds") ?? "").split(",")].filter((kind) => kind);
      const shown = kinds.length === 0 || kinds.includes(KIND) ? secretsOf(path) : [];
      return { secrets: shown.map(secretOf) };
    })
    .on("POST", `${O}/secrets/v2/generic_secret`, ({ path, body }) => {
      const { secret_name, value } = parseBody(SECRET, body);
      if (secretsOf(path).some(({ name }) => name === secret_name)) throw exists(`secret ${secret_name}`);
      return create(path, secret_name, value);
    })
    .on("POST", `${O}/secrets/generic_secret`, ({ path, body }) => {
      const { secret_name, value } = parseBody(SECRET, body);
      const known = secretsOf(path).find(({ name }) => name === secret_name);
      if (known === undefined) return create(path, secret_name, value);
      known.value = value;
      store.save();
      return secretOf(known);
    })
    .on("GET", `${O}/secrets/by_kind/{kind}/{name}`, ({ path }) =>
      secretOf(require(secretsOf(path).find(({ name }) => path.kind === KIND && name === path.name))),
    )
    .on("DELETE", `${O}/secrets/by_id/v2/{secret}`, remove)
    .on("DELETE", `${O}/secrets/by_id/{secret}`, remove);
}

const secretOf = ({ id, name }: SecretRecord) => ({
  credentials_id: id,
  credentials_name: name,
  credentials_kind: KIND,
  credentials_description: "",
  organization_id: 1,
  created_by: { username: "stub" },
  created_dt: 1735787045,
});
