/**
 * Lines on the resource's row of `pulumi up`. `pulumi.log` and stdout of a provider are not shown; the engine's own log RPC is.
 */
import grpc from "@grpc/grpc-js";
import engineGrpc from "@pulumi/pulumi/proto/engine_grpc_pb.js";
import engineProto from "@pulumi/pulumi/proto/engine_pb.js";

export interface ResourceLog {
  /** Replaces the status on the resource's row; saying the same again says nothing. */
  status(urn: string, message: string): void;
  /** Kept, and repeated under Diagnostics. */
  info(urn: string, message: string): void;
  warn(urn: string, message: string): void;
}

export class EngineLog implements ResourceLog {
  private readonly client: InstanceType<typeof engineGrpc.EngineClient>;
  private readonly shown = new Map<string, string>();

  /** @param address of the engine, the first argument a provider is started with. */
  constructor(address: string) {
    this.client = new engineGrpc.EngineClient(address, grpc.credentials.createInsecure());
  }

  status(urn: string, message: string): void {
    if (this.shown.get(urn) === message) return; // without a terminal every repetition is a line
    this.shown.set(urn, message);
    this.send(engineProto.LogSeverity.INFO, urn, message, true);
  }

  info(urn: string, message: string): void {
    this.send(engineProto.LogSeverity.INFO, urn, message, false);
  }

  warn(urn: string, message: string): void {
    this.send(engineProto.LogSeverity.WARNING, urn, message, false);
  }

  private send(severity: 0 | 1 | 2 | 3, urn: string, message: string, ephemeral: boolean): void {
    const request = new engineProto.LogRequest();
    request.setSeverity(severity);
    request.setUrn(urn);
    request.setMessage(message);
    request.setEphemeral(ephemeral);
    // A status line that gets lost is not worth failing a training run for.
    this.client.log(request, () => undefined);
  }
}
