/** The provider as the process that the engine starts, spoken to over gRPC: what main.ts wires up and no class alone can show. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { credentials, type ServiceError } from "@grpc/grpc-js";
import providerGrpc from "@pulumi/pulumi/proto/provider_grpc_pb.js";
import providerProto from "@pulumi/pulumi/proto/provider_pb.js";
import emptyProto from "google-protobuf/google/protobuf/empty_pb.js";
import structProto from "google-protobuf/google/protobuf/struct_pb.js";
import { LocalBackend } from "../../launcher/local/backend.ts";
import { Layout } from "../../launcher/local/layout.ts";
import { eventually } from "../support/eventually.ts";
import { runInputs } from "../support/run-inputs.ts";

jest.setTimeout(60_000);
const PROJECT = resolve(import.meta.dirname, "../..");
const STAND_IN = join(PROJECT, "test", "support", "stand-in-python");
const URN = "urn:pulumi:dev::wmtp::launcher:index:Run::baseline";

let home: string;
let provider: ChildProcess;
let backend: LocalBackend;
const name = () => inputs().name;
const inputs = () => ({
  ...runInputs({ trainerConfig: { pipeline: "baseline", training: { seed: 6000 } } }),
  checkpointUri: backend.checkpointUri("dev", "baseline", "fingerprint-baseline"),
});

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "wmtp-launcher-"));
  backend = new LocalBackend(new Layout(home), STAND_IN);
});
afterEach(async () => {
  provider.kill("SIGKILL");
  await backend.terminate("dev", name(), "end of the test");
  rmSync(home, { recursive: true, force: true });
});

/** Starts the provider; `preload` is a module that is loaded into it before anything else. */
async function start(preload: string): Promise<InstanceType<typeof providerGrpc.ResourceProviderClient>> {
  const module = join(home, "preload.mjs");
  writeFileSync(module, preload);
  provider = spawn(process.execPath, ["--import", module, join(PROJECT, "launcher", "main.ts"), "127.0.0.1:1"], {
    env: {
      PATH: process.env.PATH,
      HOME: process.env.HOME,
      WMTP_HOME: home,
      WMTP_PYTHON: STAND_IN,
    },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [port] = (await once(provider.stdout as NodeJS.ReadableStream, "data")) as [Buffer];
  return new providerGrpc.ResourceProviderClient(`127.0.0.1:${port.toString().trim()}`, credentials.createInsecure());
}

/** Creates a run that takes ten minutes; resolves to the error that the call ends with. */
function create(client: InstanceType<typeof providerGrpc.ResourceProviderClient>): Promise<ServiceError> {
  const request = new providerProto.CreateRequest();
  request.setUrn(URN);
  request.setProperties(structProto.Struct.fromJavaScript(inputs() as never));
  return new Promise((done, fail) =>
    client.create(request, (error: ServiceError | null) =>
      error === null ? fail(new Error("the create ended well")) : done(error),
    ),
  );
}

/** Id, status and reasons in the detail by which the engine keeps a resource that is not done. */
function incomplete(error: ServiceError): { id: string; status: unknown; reasons: string[] } {
  const [bytes] = error.metadata.get("grpc-status-details-bin") as [Buffer];
  const text = bytes.toString("latin1");
  expect(text).toContain("pulumirpc.ErrorResourceInitFailed");
  const start = text.indexOf("pulumirpc.ErrorResourceInitFailed") + "pulumirpc.ErrorResourceInitFailed".length;
  // Behind the type of the Any come its tag (one byte) and its length (a varint).
  let at = start + 1;
  while (((bytes[at] as number) & 0x80) !== 0) at += 1;
  const detail = providerProto.ErrorResourceInitFailed.deserializeBinary(bytes.subarray(at + 1));
  return {
    id: detail.getId(),
    status: (detail.getProperties()?.toJavaScript() as { status?: unknown } | undefined)?.status,
    reasons: detail.getReasonsList(),
  };
}

const running = () => eventually(async () => (await backend.findRun("dev", name()))?.status === "running", 20_000);

test("a stray rejection ends a create that waits, with the run's id and facts; the run goes on", async () => {
  const client = await start(
    'import { existsSync } from "node:fs";\n' +
      `const timer = setInterval(() => { if (!existsSync(${JSON.stringify(join(home, "now"))})) return; clearInterval(timer); Promise.reject(new Error("a stray rejection")); }, 20);\n`,
  );
  const failed = create(client);
  await running();
  writeFileSync(join(home, "now"), "");
  expect(incomplete(await failed)).toEqual({ id: name(), status: "running", reasons: ["a stray rejection"] });
  expect((await backend.findRun("dev", name()))?.status).toBe("running");
  client.close();
});

test("cancel detaches; Ctrl-C in the terminal alone does not end the provider", async () => {
  const client = await start("");
  const failed = create(client);
  await running();
  provider.kill("SIGINT");
  await new Promise((done, fail) =>
    client.cancel(new emptyProto.Empty(), (error) => (error === null ? done(undefined) : fail(error))),
  );
  expect(incomplete(await failed)).toEqual({
    id: name(),
    status: "running",
    reasons: ["cancelled: baseline is still running; run pulumi up again to attach"],
  });
  expect((await backend.findRun("dev", name()))?.status).toBe("running");
  client.close();
});

test("the run's files hold nothing of the provider's environment but what is allowed", async () => {
  const client = await start('process.env.PULUMI_CONFIG_PASSPHRASE = "planted-secret";');
  const failed = create(client);
  await running();
  const directory = new Layout(home).runDirectory("dev", name());
  const texts = readdirSync(directory).map((file) => readFileSync(join(directory, file), "utf8"));
  expect(texts.length).toBeGreaterThan(3);
  expect(texts.filter((text) => text.includes("planted-secret"))).toEqual([]);
  const { runId } = (await backend.findRun("dev", name())) ?? {};
  expect(readFileSync(`/proc/${runId}/environ`, "utf8")).not.toContain("planted-secret");
  provider.kill("SIGKILL");
  await failed;
  client.close();
});
