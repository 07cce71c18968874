/** What a stack costs its cloud when there is nothing to do: the same few calls, whatever the number of its runs. */
import type { CloudPlace } from "../../launcher/by-place.ts";
import { RunHandler, type RunInputs, type RunOutputs } from "../../launcher/resources/run.ts";
import { RunConductor } from "../../launcher/resources/run-conductor.ts";
import { Slots } from "../../launcher/slots.ts";
import { VesslBackend } from "../../launcher/vessl/backend.ts";
import { ApiServer } from "../support/api-server.ts";
import { RecordedLog, uncheckedInputs } from "../support/run-inputs.ts";

const RUNS = 20;
const O = "/organizations/acme";
const PLACE: CloudPlace = {
  target: "vessl",
  organization: "acme",
  project: "infra",
  bucket: "wmtp",
  region: "eu-north-1",
  checkpoints: "checkpoints/",
};
const ANSWERS: Readonly<Record<string, object>> = {
  "/organizations": { organizations: [{ name: "acme" }] },
  [`${O}/projects`]: { results: [{ name: "infra" }], page_info: { total_count: 1 } },
  [`${O}/clusters`]: { clusters: [{ id: 7, name: "k" }] },
  [`${O}/clusters/7/resource_specs`]: { results: [{ id: 1, name: "small" }] },
};

/** Both the API and S3. */
let server: ApiServer;
const outer = { ...process.env };
beforeEach(async () => {
  server = await ApiServer.start();
  server.reply = ({ path }) => (ANSWERS[path] ? { json: ANSWERS[path] } : { status: 404 });
  Object.assign(process.env, {
    AWS_ENDPOINT_URL_S3: server.url,
    AWS_ACCESS_KEY_ID: "id",
    AWS_SECRET_ACCESS_KEY: "key",
  });
});
afterEach(() => {
  process.env = { ...outer };
  server.dispose();
});

function handlerOf(): RunHandler {
  const backend = new VesslBackend({ place: PLACE, api: server.api(), journal: "", hashCache: "" });
  return new RunHandler(backend, new RunConductor(backend, new Slots()));
}

const declared = (number: number): RunInputs =>
  uncheckedInputs({
    stack: `dev${number}`,
    image: "registry/wmtp@sha256:0",
    cloud: { cluster: "k", preset: "small", delivery: "volume", env: {}, secrets: {} },
  });
const context = () => ({ urn: "urn", log: new RecordedLog() });
const calls = () => server.requests.map(({ path }) => path).sort();

test("completed runs are checked and compared without a call of their own", async () => {
  const earlier = handlerOf();
  const states = await Promise.all(
    Array.from({ length: RUNS }, async (_, number) => {
      const { inputs } = await earlier.check(declared(number), undefined, context());
      return { ...inputs, status: "completed" } as RunOutputs;
    }),
  );
  expect(calls().filter((path) => path.startsWith("/wmtp/"))).toHaveLength(RUNS); // new ones are looked for in the bucket
  server.requests.length = 0;

  const handler = handlerOf();
  const diffs = await Promise.all(
    states.map(async (state, number) => {
      const { inputs, failures } = await handler.check(declared(number), state, context());
      expect(failures).toEqual([]);
      return handler.diff(state.name as string, state, inputs, context());
    }),
  );
  expect(diffs).toEqual(states.map(() => ({ changes: false })));
  expect(calls()).toEqual(Object.keys(ANSWERS).sort());
});
