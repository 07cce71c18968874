/** Runs: created from YAML, listed, read, terminated, deleted, and what they said. */
import { z } from "zod";
import { requireProject } from "./accounts.ts";
import { notFound, page, Refusal } from "./answers.ts";
import { parseBody } from "./body.ts";
import type { Routes } from "./routes.ts";
import type { RunFates } from "./run-fates.ts";
import { RunFiles } from "./run-files.ts";
import { type RunYaml, readRunYaml } from "./run-spec.ts";
import type { RunRecord, Store } from "./state.ts";

const YAML = z.object({ yaml_spec: z.string() });
const EDIT = z.object({ message: z.string().optional(), tags: z.array(z.object({ name: z.string() })).optional() });
const P = "/organizations/{organization}/projects/{project}";
const RUN = `${P}/run_executions/{run}`;
const DEFAULT_LINES = 200;

export function runRoutes(routes: Routes, store: Store, fates: RunFates): void {
  const { state } = store;
  type Path = Readonly<Record<string, string>>;
  const runsOf = (path: Path) => {
    requireProject(path);
    return state.runs.filter(
      ({ organization, project }) => organization === path.organization && project === path.project,
    );
  };
  const requireRun = (path: Path) => {
    const run = runsOf(path).find(({ id }) => String(id) === path.run);
    if (run === undefined) throw notFound("run");
    return run;
  };

  routes
    .on("POST", `${P}/run/spec/create_from_yaml`, ({ path, body }) => {
      requireProject(path);
      const { yaml_spec } = parseBody(YAML, body);
      const yaml = readRunYaml(yaml_spec, path.organization as string, state);
      const run: RunRecord = {
        id: state.nextRunId++,
        organization: path.organization as string,
        project: path.project as string,
        yaml: yaml_spec,
        createdAt: new Date().toISOString(),
        message: "",
        tags: yaml.tags,
      };
      state.runs.push(run);
      store.save();
      fates.begin(run, yaml);
      const shown = fates.shown(run);
      return { run_execution: shown, run_spec: shown.run_spec };
    })
    .on("POST", `${P}/run/spec/sync_yaml`, ({ path, body }) => {
      requireProject(path);
      return dryRun(() => readRunYaml(parseBody(YAML, body).yaml_spec, path.organization as string, state));
    })
    .on("POST", "/organizations/{organization}/run/spec/sync_yaml", ({ path, body }) =>
      dryRun(() => readRunYaml(parseBody(YAML, body).yaml_spec, path.organization as string, state)),
    )
    .on("GET", `${P}/run_executions`, ({ path, query }) => {
      const all = runsOf(path).reverse();
      const keyword = query.get("keyword") ?? "";
      const statuses = (query.get("statuses") ?? "").split(",").filter((status) => status !== "");
      const wanted = all.filter(
        (run) =>
          fates.titleOf(run).includes(keyword) &&
          (statuses.length === 0 || statuses.includes(fates.statusOf(run).status)),
      );
      const { results, page_info } = page(wanted, query);
      return { results: results.map((run) => fates.shown(run)), page_info, total_count_without_filter: all.length };
    })
    .on("GET", RUN, ({ path }) => fates.shown(requireRun(path)))
    .on("PATCH", RUN, ({ path, body }) => {
      const run = requireRun(path);
      const { message, tags } = parseBody(EDIT, body);
      run.message = message ?? run.message;
      run.tags = tags?.map(({ name }) => name) ?? run.tags;
      store.save();
      return fates.shown(run);
    })
    .on("POST", `${RUN}/terminate`, ({ path }) => {
      const run = requireRun(path);
      fates.terminate(run);
      return fates.shown(run);
    })
    .on("DELETE", RUN, ({ path }) => {
      const run = requireRun(path);
      if (!new RunFiles(store.directory, run.id).isOver)
        throw new Refusal(400, "InvalidParameters", "run is not finished: terminate it first");
      fates.forget(run);
      return {};
    })
    .on("GET", `${RUN}/logs`, ({ path, query }) => {
      const run = requireRun(path);
      const start = Number(query.get("log_start") ?? 0);
      const lines = new RunFiles(store.directory, run.id).log().filter(({ timestamp }) => timestamp >= start);
      const limit = query.get("log_limit");
      // Without a limit the client means all; `log_limit` counts from the end.
      return { logs: limit === null ? lines : lines.slice(-Number(limit || DEFAULT_LINES)) };
    });
}

function dryRun(read: () => RunYaml): object {
  const none = { DecodeErrors: null, ValidationErrors: null, NotInjectedErrors: null, Warnings: null };
  try {
    read();
    return { validated: true, form_errors: none };
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    const fields = error.fields.map(({ name, message }) => ({ field: name, message }));
    const errors = fields.length > 0 ? fields : [{ field: "", message: error.message }];
    return { validated: false, form_errors: { ...none, ValidationErrors: errors } };
  }
}
