/** Who is logged in, and what that account may use: organizations, projects, clusters. */
import { notFound, page } from "./answers.ts";
import type { Routes } from "./routes.ts";
import { CLUSTERS, ORGANIZATIONS, type Preset } from "./world.ts";

const MADE = "2025-01-02T03:04:05.000000Z";

export function accountRoutes(routes: Routes): void {
  routes
    .on("GET", "/accounts/me", () => ({ id: 1, username: "stub", email: "stub@example.com", display_name: "Stub" }))
    .on("GET", "/organizations", ({ query }) => {
      const { results, page_info } = page(Object.keys(ORGANIZATIONS), query);
      return { organizations: results.map(organization), page_info };
    })
    .on("GET", "/organizations/{organization}", ({ path }) => {
      projectsOf(path);
      return organization(path.organization as string);
    })
    .on("GET", "/organizations/{organization}/projects", ({ path, query }) => {
      const { results, page_info } = page(projectsOf(path), query);
      return { results: results.map((name) => project(path.organization as string, name)), page_info };
    })
    .on("GET", "/organizations/{organization}/projects/{project}", ({ path }) => {
      requireProject(path);
      return project(path.organization as string, path.project as string);
    })
    .on("GET", "/organizations/{organization}/clusters", ({ path }) => {
      projectsOf(path);
      return { clusters: CLUSTERS.map(clusterOf) };
    })
    .on("GET", "/organizations/{organization}/clusters/{cluster}/resource_specs", ({ path }) => {
      projectsOf(path);
      const cluster = CLUSTERS.find(({ id }) => String(id) === path.cluster);
      if (cluster === undefined) throw notFound("cluster");
      return { results: cluster.presets.map(presetOf) };
    });
}

type Path = Readonly<Record<string, string>>;

/** @throws 404 for an organization that is not ours. */
export function projectsOf({ organization }: Path): readonly string[] {
  const projects = Object.hasOwn(ORGANIZATIONS, organization as string)
    ? ORGANIZATIONS[organization as string]
    : undefined;
  if (projects === undefined) throw notFound("organization");
  return projects;
}

/** @throws 404 for an organization or a project that is not ours. */
export function requireProject(path: Path): void {
  if (!projectsOf(path).includes(path.project as string)) throw notFound("project");
}

const organization = (name: string) => ({ id: Object.keys(ORGANIZATIONS).indexOf(name) + 1, name, description: "" });

const project = (ofOrganization: string, name: string) => ({
  id: ORGANIZATIONS[ofOrganization]!.indexOf(name) + 1,
  name,
  description: "",
  organization: organization(ofOrganization),
  experiment_summary: { total: 0 },
  created_dt: MADE,
  updated_dt: MADE,
});

export const clusterOf = ({ id, name, status, managed, presets }: (typeof CLUSTERS)[number]) => ({
  id,
  name,
  status,
  is_savvihub_managed: managed,
  is_vessl_managed: managed,
  kubernetes_namespace: managed ? "" : "vessl",
  available_gpus: [...new Set(presets.map(({ gpuType }) => gpuType))],
  created_dt: MADE,
  updated_dt: MADE,
});

export const presetOf = ({ id, name, gpuType, gpus, spot }: Preset) => ({
  id,
  name,
  cpu_type: "Any",
  cpu_limit: 4 + 20 * gpus,
  gpu_type: gpuType,
  gpu_limit: gpus,
  memory_limit: `${16 + 200 * gpus}Gi`,
  spot,
  created_dt: MADE,
  updated_dt: MADE,
});
