/**
 * The provider process the engine talks to. Not `main` of @pulumi/pulumi/provider: that one cannot answer previews of creates and updates
 * (every output would be unknown there), cannot say which property made the difference, and prints errors as they are.
 */
import grpc from "@grpc/grpc-js";
import pluginProto from "@pulumi/pulumi/proto/plugin_pb.js";
import providerGrpc from "@pulumi/pulumi/proto/provider_grpc_pb.js";
import proto from "@pulumi/pulumi/proto/provider_pb.js";
import empty from "google-protobuf/google/protobuf/empty_pb.js";
import struct from "google-protobuf/google/protobuf/struct_pb.js";
import { EngineLog } from "../../launcher/engine-log.ts";
import type { Package } from "./package.ts";
import { RENEWAL, Resources } from "./resources.ts";
import { type Properties, plain, redact, secretWords } from "./wire.ts";

type Struct = struct.Struct;
/** How often we look whether the engine is still our parent. */
const PARENT_POLL_MS = 500;
/** Between a SIGINT and our end, if nothing is being done. */
const SIGINT_GRACE_MS = 200;
/** Calls of the engine that have no answer yet. */
let inFlight = 0;

/** Serves `pack` until the engine ends the process. */
export async function serve(pack: Package): Promise<void> {
  const abort = new AbortController();
  const resources = new Resources(pack, new EngineLog(process.argv.at(-1) as string), abort.signal);
  const server = new grpc.Server({ "grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1 });
  server.addService(providerGrpc.ResourceProviderService, methods(pack, resources, abort));
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  // The engine ends a provider with SIGINT, and kills it after five seconds. Ctrl-C is the same signal to the whole group, but the
  // engine then still asks us to cancel and waits for its answers.
  process.on("SIGINT", () => setInterval(() => inFlight > 0 || process.exit(0), SIGINT_GRACE_MS));
  const engine = process.ppid;
  setInterval(() => process.ppid === engine || process.exit(1), PARENT_POLL_MS).unref();
  process.stdout.write(`${port}\n`);
}

/** The methods that a stand-in does not need are missing: gRPC answers "unimplemented" for them, which the engine takes well. */
function methods(pack: Package, resources: Resources, abort: AbortController): grpc.UntypedServiceImplementation {
  return {
    getPluginInfo: answer(() => {
      const info = new pluginProto.PluginInfo();
      info.setVersion(pack.version);
      return info;
    }),
    checkConfig: answer((request) => checked(properties(request.getNews()))),
    diffConfig: answer(() => new proto.DiffResponse()),
    configure: answer((request) => {
      pack.configure?.(plain(properties(request.getArgs())));
      const response = new proto.ConfigureResponse();
      response.setAcceptsecrets(true);
      response.setSupportspreview(true);
      return response;
    }),
    invoke: answer(async (request) => {
      const token = request.getTok();
      const call = pack.functions[token];
      if (call === undefined) throw new Error(`the stand-in for ${pack.name} has no function ${token}`);
      const response = new proto.InvokeResponse();
      response.setReturn(toStruct(await call(plain(properties(request.getArgs())))));
      return response;
    }),
    check: answer((request) =>
      checked(resources.check(request.getUrn(), properties(request.getOlds()), properties(request.getNews()))),
    ),
    diff: answer((request) => {
      const { changed, replaces, deleteFirst } = resources.diff(request.getUrn(), {
        id: request.getId(),
        olds: properties(request.getOlds()),
        oldInputs: properties(request.getOldInputs()),
        news: properties(request.getNews()),
      });
      const response = new proto.DiffResponse();
      response.setChanges(
        changed.size > 0 ? proto.DiffResponse.DiffChanges.DIFF_SOME : proto.DiffResponse.DiffChanges.DIFF_NONE,
      );
      response.setReplacesList([...replaces]);
      response.setDeletebeforereplace(deleteFirst);
      response.setDiffsList([...changed.keys()]);
      response.setHasdetaileddiff(true);
      for (const [property, how] of changed) {
        const difference = new proto.PropertyDiff();
        const kind = replaces.includes(property) ? (`${how}_REPLACE` as const) : how;
        difference.setKind(proto.PropertyDiff.Kind[kind]);
        difference.setInputdiff(property !== RENEWAL);
        response.getDetaileddiffMap().set(property, difference);
      }
      return response;
    }),
    create: answer(async (request) => {
      const inputs = properties(request.getProperties());
      const { id, outputs } = await resources.create(request.getUrn(), inputs, request.getPreview());
      const response = new proto.CreateResponse();
      response.setId(id);
      response.setProperties(toStruct(outputs));
      return response;
    }),
    update: answer(async (request) => {
      const change = {
        id: request.getId(),
        olds: properties(request.getOlds()),
        oldInputs: properties(request.getOldInputs()),
        news: properties(request.getNews()),
      };
      const outputs = await resources.update(request.getUrn(), change, request.getPreview());
      const response = new proto.UpdateResponse();
      response.setProperties(toStruct(outputs));
      return response;
    }),
    read: answer((request) => {
      const outputs = resources.read(request.getUrn(), request.getId(), properties(request.getProperties()));
      const response = new proto.ReadResponse();
      response.setId(request.getId());
      response.setProperties(toStruct(outputs));
      response.setInputs(request.getInputs());
      return response;
    }),
    delete: answer(async (request) => {
      await resources.delete(request.getUrn(), request.getId(), properties(request.getProperties()));
      return new empty.Empty();
    }),
    cancel: answer(() => {
      abort.abort(new Error("cancelled"));
      return new empty.Empty();
    }),
  };
}

// biome-ignore lint/suspicious/noExplicitAny: each method names the getters of its own request
type AnyMessage = any;

/** One gRPC method: what `handle` throws becomes its error, without any word that was secret in the request. */
function answer(handle: (request: AnyMessage) => unknown): grpc.handleUnaryCall<AnyMessage, AnyMessage> {
  return async ({ request }, callback) => {
    inFlight += 1;
    try {
      callback(null, await handle(request));
    } catch (error) {
      const words = REQUEST_STRUCTS.flatMap((get) => secretWords(properties(request[get]?.())));
      const message = redact(error instanceof Error ? error.message : String(error), words);
      callback({ code: grpc.status.UNKNOWN, details: message });
    } finally {
      inFlight -= 1;
    }
  };
}
const REQUEST_STRUCTS = ["getOlds", "getNews", "getProperties", "getInputs", "getArgs"];

function checked(inputs: Properties): InstanceType<typeof proto.CheckResponse> {
  const response = new proto.CheckResponse();
  response.setInputs(toStruct(inputs));
  return response;
}

function properties(value: Struct | undefined): Properties {
  return (value?.toJavaScript() as Properties | undefined) ?? {};
}

function toStruct(value: Properties): Struct {
  return struct.Struct.fromJavaScript(JSON.parse(JSON.stringify(value))); // drops undefined, which has no wire form
}
