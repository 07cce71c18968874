import { AnswerLost } from "../../launcher/vessl/api.ts";
import { type ApiRequest, ApiServer, type Reply } from "../support/api-server.ts";

const O = "/organizations/acme";
const P = `${O}/projects/infra`;

let server: ApiServer;
beforeEach(async () => {
  server = await ApiServer.start();
});
afterEach(() => server.dispose());

/** Answers by method and path; what is not listed is not found. */
function answers(table: Record<string, Reply | ((request: ApiRequest) => Reply)>): void {
  server.reply = (request) => {
    const answer = table[`${request.method} ${request.path}`];
    if (answer === undefined) return { status: 404, json: { code: "NotFound", message: "no such thing" } };
    return typeof answer === "function" ? answer(request) : answer;
  };
}
const asked = () => server.requests.map(({ method, path }) => `${method} ${path}`);

/** A run as the API shows it; the higher its number, the newer it is. */
function row(number: number, change: object = {}): object {
  return {
    id: 369_367_000_000 + number,
    status: "completed",
    create_dt: new Date(1_700_000_000_000 + number * 1000).toISOString(),
    run_spec: { title: `run-${number}` },
    ...change,
  };
}

describe("runs", () => {
  /** Pages of `all`, which may change between two of them. */
  function paged(all: () => object[], options: { most?: number; count?: boolean } = {}): void {
    answers({
      [`GET ${P}/run_executions`]: ({ query }) => {
        const rows = all();
        const [offset, limit] = [Number(query.offset), Math.min(Number(query.limit), options.most ?? 100)];
        const page_info = options.count === false ? undefined : { total_count: rows.length };
        return { json: { results: rows.slice(offset, offset + limit), page_info, total_count_without_filter: 9999 } };
      },
    });
  }
  const numbers = (from: number, count: number) => Array.from({ length: count }, (_, index) => from - index);

  test.each([
    ["", {}],
    [", by a server of small pages", { most: 20 }],
    [", by a server of tiny pages", { most: 3 }],
    [", by a server that counts nothing", { count: false }],
  ])("all 250, each once, newest first%s", async (_, options) => {
    paged(() => numbers(250, 250).map((number) => row(number)), options);
    expect((await server.api().runs()).map(({ title }) => title)).toEqual(numbers(250, 250).map((n) => `run-${n}`));
  });

  test("new ones that come between two pages neither hide nor repeat others", async () => {
    let newest = 250;
    paged(() => {
      const rows = numbers(newest, newest).map((number) => row(number));
      newest += 7;
      return rows;
    });
    const found = (await server.api().runs()).map(({ title }) => title);
    expect(new Set(found).size).toBe(found.length);
    expect(found).toEqual(expect.arrayContaining(numbers(250, 250).map((number) => `run-${number}`)));
  });

  test("one that leaves the list between two pages hides no other", async () => {
    let rows = numbers(250, 250).map((number) => row(number));
    paged(() => {
      const page = rows;
      rows = rows.slice(1);
      return page;
    });
    const found = (await server.api().runs({ statuses: ["running", "queued"] })).map(({ title }) => title);
    expect(found).toEqual(numbers(250, 250).map((number) => `run-${number}`));
    expect(server.requests[0]?.query).toMatchObject({ statuses: "running,queued", limit: "100", offset: "0" });
  });

  test("a server that knows no offset does not keep us for ever", async () => {
    answers({ [`GET ${P}/run_executions`]: { json: { results: [row(1), row(2)] } } });
    expect(await server.api().runs()).toHaveLength(2);
    expect(server.requests).toHaveLength(2);
  });

  test("what is read of a run, and what may be missing", async () => {
    const full = row(1, {
      status: "failed",
      status_reason: "Preempted: spot node reclaimed",
      message: "resumed",
      create_dt: "2024-01-02T03:04:05.678901",
      run_spec: { title: "wmtp-x", description: "d", spec: { more: 1 } },
      tags: [{ id: 1, name: "a" }, { name: "b" }],
      histories: [{ status: "running", message: "m", started_timestamp: 1_700_000_000.5 }],
    });
    answers({
      [`GET ${P}/run_executions/1`]: { json: full },
      [`GET ${P}/run_executions/2`]: { json: row(2, { status: "hibernating", tags: null, message: null }) },
    });
    expect(await server.api().run("1")).toEqual({
      id: "369367000001",
      title: "wmtp-x",
      description: "d",
      status: "failed",
      statusReason: "Preempted: spot node reclaimed",
      message: "resumed",
      tags: ["a", "b"],
      createdAt: Date.UTC(2024, 0, 2, 3, 4, 5, 678),
      histories: [{ status: "running", message: "m", startedAt: 1_700_000_000_500 }],
    });
    expect(await server.api().run("2")).toMatchObject({ status: "hibernating", tags: [], histories: [], message: "" });
    expect(await server.api().run("3")).toBeUndefined();
  });

  test.each([
    [{ status: undefined }, /GET .*run_executions\/1 is not as expected \(status: .*its API may have changed/],
    [{ run_spec: {} }, /\(run_spec\.title: /],
    [{ create_dt: "yesterday" }, /\(create_dt: is not a date\)/],
    [{ id: 1e20 }, /\(id: /],
  ])("without %j, an error that names request and field", async (change, message) => {
    answers({ [`GET ${P}/run_executions/1`]: { json: row(1, change) } });
    await expect(server.api().run("1")).rejects.toThrow(message);
  });

  test("submitted once, whatever happens to the answer", async () => {
    answers({ [`POST ${P}/run/spec/create_from_yaml`]: { json: { run_execution: { id: 369_367_000_001 } } } });
    expect(await server.api().createRun("name: x")).toBe("369367000001");
    expect(server.requests[0]?.body).toEqual({ yaml_spec: "name: x" });
    for (const reply of [{ fault: "drop" }, { json: {} }, { json: { run_execution: {} } }] as Reply[]) {
      server.requests.length = 0;
      server.reply = () => reply;
      await expect(server.api().createRun("name: planted-yaml")).rejects.toThrow(AnswerLost);
      await expect(server.api().createRun("name: planted-yaml")).rejects.not.toThrow(/planted/);
      expect(server.requests).toHaveLength(2);
    }
  });

  test("terminating: one that is over, or gone, is what was wanted; a refusal for one that runs is an error", async () => {
    const refusal = { status: 400, json: { code: "InvalidParameters", message: "not now" } };
    answers({
      [`POST ${P}/run_executions/1/terminate`]: { json: { id: 1 } },
      [`POST ${P}/run_executions/2/terminate`]: refusal,
      [`GET ${P}/run_executions/2`]: { json: row(2) },
      [`POST ${P}/run_executions/3/terminate`]: refusal,
      [`GET ${P}/run_executions/3`]: { json: row(3, { status: "running" }) },
    });
    await server.api().terminateRun("1");
    await server.api().terminateRun("2");
    await expect(server.api().terminateRun("3")).rejects.toThrow(/not now/);
    await server.api().terminateRun("4");
  });

  test("log lines: oldest first, messages of several lines taken apart, no more than asked for", async () => {
    const logs = [
      { timestamp: 3, message: "d\\ne\\n" },
      { timestamp: 1, message: "a" },
      { timestamp: 2, message: "b\nc\r\n" },
      { timestamp: 4, message: "" },
    ];
    answers({ [`GET ${P}/run_executions/1/logs`]: { json: { logs } } });
    expect(await server.api().runLogs("1", 10)).toEqual(["a", "b", "c", "d", "e", ""]);
    expect(await server.api().runLogs("1", 2)).toEqual(["e", ""]);
    expect(server.requests[0]?.query).toEqual({ log_limit: "10" });
  });

  test("the message of a run", async () => {
    answers({ [`PATCH ${P}/run_executions/1`]: { json: {} } });
    await server.api().setRunMessage("1", "superseded");
    expect(server.requests[0]?.body).toEqual({ message: "superseded" });
  });
});

describe("the account", () => {
  const organizations = { json: { organizations: [{ name: "acme" }, { name: "other" }] } };

  test("who, clusters, presets, storages", async () => {
    answers({
      "GET /accounts/me": { json: { username: "u", email: "u@example.com", display_name: "U" } },
      [`GET ${O}/clusters`]: { json: { clusters: [{ id: 7, name: "k", status: "running" }] } },
      [`GET ${O}/clusters/7/resource_specs`]: {
        json: {
          results: [
            { id: 1, name: "gpu-a100-1", gpu_type: "A100", gpu_limit: 1, spot: true },
            { id: 2, name: "cpu" },
          ],
        },
      },
      [`GET ${O}/storages`]: {
        json: {
          managed: { name: "vessl-storage", type: "s3", is_vessl_managed: true },
          external: { results: [{ name: "lab", type: "gcs" }], page_info: { total_count: 1 } },
        },
      },
    });
    const api = server.api();
    expect(await api.me()).toEqual({ username: "u", email: "u@example.com" });
    expect(await api.clusters()).toEqual([{ id: "7", name: "k", status: "running" }]);
    expect(await api.presets("7")).toEqual([
      { id: "1", name: "gpu-a100-1", gpuType: "A100", gpuLimit: 1, spot: true },
      { id: "2", name: "cpu", gpuType: "", gpuLimit: 0, spot: false },
    ]);
    expect(await api.storages()).toEqual([
      { name: "vessl-storage", type: "s3", managed: true },
      { name: "lab", type: "gcs", managed: false },
    ]);
    expect(api.callsMade).toBe(4);
  });

  test("an organization or a project that is not there is named beside those that are", async () => {
    answers({ "GET /organizations": { json: { organizations: [{ name: "acm" }, { name: "other" }] } } });
    await expect(server.api().requireProject()).rejects.toThrow(
      /^organization "acme" is not among yours: acm, other; did you mean "acm"\?$/,
    );
    answers({
      "GET /organizations": organizations,
      [`GET ${O}/projects`]: { json: { results: [{ name: "zzzzzzz" }] } },
    });
    await expect(server.api().requireProject()).rejects.toThrow(
      /^project "infra" is not among yours: zzzzzzz; set wmtp:launcher.vessl.project$/,
    );
    answers({ "GET /organizations": organizations, [`GET ${O}/projects`]: { json: { results: [{ name: "infra" }] } } });
    await server.api().requireProject();
  });
});

test("names are encoded, so that none leads elsewhere", async () => {
  answers({});
  expect(await server.api().volume("a/b", "../x?y#z")).toBeUndefined();
  expect(asked()).toEqual([`GET ${O}/storages/a%2Fb/volumes/..%2Fx%3Fy%23z`]);
  await expect(server.api().deleteVolume("s", "..")).rejects.toThrow('".." is no name');
  expect(server.requests).toHaveLength(1);
});

test("a volume made at the same moment by somebody else, and one whose answer was lost, are there", async () => {
  let made = 0;
  answers({
    [`POST ${O}/storages/s/volumes`]: () =>
      ++made === 1 ? { fault: "drop" } : { status: 409, json: { code: "Duplicate" } },
  });
  await server.api().createVolume("s", "v", ["a"]);
  expect(server.requests.map(({ body }) => body)).toEqual(Array(2).fill({ volume_name: "v", tags: [{ name: "a" }] }));
});

test("secrets: listed without values, upserted, deleted; a refusal does not repeat the value", async () => {
  const path = `${O}/secrets`;
  answers({
    [`GET ${path}`]: { json: { secrets: [{ credentials_id: 5, credentials_name: "TOKEN", credentials_kind: "x" }] } },
    [`POST ${path}/generic_secret`]: { json: {} },
    [`DELETE ${path}/by_id/v2/5`]: { json: {} },
  });
  const api = server.api();
  expect(await api.secrets()).toEqual([{ id: "5", name: "TOKEN" }]);
  await api.upsertSecret("TOKEN", "planted-9");
  await api.deleteSecret("5");
  await api.deleteSecret("6");
  expect(server.requests[1]?.body).toEqual({ secret_name: "TOKEN", value: "planted-9" });
  server.reply = () => ({ status: 400, json: { code: "Bad", message: "planted-9 is too short" } });
  await expect(api.upsertSecret("TOKEN", "planted-9")).rejects.toThrow(
    /^the GPU cloud refused POST .*\(400\); correct/,
  );
});
