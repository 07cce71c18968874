/** The resource provider: which handler a resource belongs to, and what holds for all of them. */
import type {
  CheckResult,
  CreateResult,
  DiffResult,
  Provider,
  ReadResult,
  UpdateResult,
} from "@pulumi/pulumi/provider/index.js";
import type { ResourceLog } from "./engine-log.ts";
import { Detached } from "./errors.ts";
import type { CallContext, ResourceHandler } from "./resource-handler.ts";
import { secret, secretPaths, unwrap } from "./values.ts";

// biome-ignore lint/suspicious/noExplicitAny: the engine's wire format is untyped; each handler names its own types behind it
type AnyHandler = ResourceHandler<any, any>;

export class LauncherProvider implements Provider {
  readonly version = "0.1.0";
  private readonly handlers: Readonly<Record<string, AnyHandler>>;
  private readonly log: ResourceLog;
  private readonly hurry: (reason: Error) => void;
  private readonly stopped: Promise<never>;
  private stop: (reason: Error) => void = () => undefined;
  private calls = 0;

  /**
   * @param handlers by type token, for example `launcher:index:Run`.
   * @param hurry is called some seconds after a stop: whoever asks another service then asks no more.
   */
  constructor(
    handlers: Readonly<Record<string, AnyHandler>>,
    log: ResourceLog,
    hurry: (reason: Error) => void = () => undefined,
  ) {
    this.handlers = handlers;
    this.log = log;
    this.hurry = hurry;
    this.stopped = new Promise((_, reject) => {
      this.stop = reject;
    });
    this.stopped.catch(() => undefined); // nobody may be waiting when it comes
  }

  /** Whether no resource is being worked on. */
  get idle(): boolean {
    return this.calls === 0;
  }

  /** Ends every wait: a stray rejection, a lost engine or Ctrl-C must never leave `up` hanging. */
  abandon(reason: Error): void {
    this.stop(reason);
    setTimeout(() => this.hurry(reason), HURRY_MS).unref();
  }

  async cancel(): Promise<void> {
    this.abandon(new Detached("cancelled"));
  }

  async check(urn: string, olds: unknown, news: unknown): Promise<CheckResult> {
    const handler = this.handler(urn);
    const secrets = secretPaths(news).filter((path) => !handler.secretInputs?.includes(path));
    if (secrets.length > 0) {
      return {
        inputs: news,
        failures: secrets.map((property) => ({ property, reason: "must not be a secret: pass secrets by reference" })),
      };
    }
    const previous =
      olds !== null && typeof olds === "object" && Object.keys(olds).length > 0 ? unwrap(olds) : undefined;
    const { inputs, failures } = await handler.check(unwrap(news), previous, { urn, log: this.log });
    return { inputs: keepSecrets(handler, inputs), failures };
  }

  async diff(id: string, urn: string, olds: unknown, news: unknown): Promise<DiffResult> {
    return this.handler(urn).diff(id, unwrap(olds), unwrap(news), { urn, log: this.log });
  }

  async create(urn: string, inputs: unknown): Promise<CreateResult> {
    const handler = this.handler(urn);
    const { id, outputs } = await this.race(handler.create(unwrap(inputs), this.context(urn)));
    return { id, outs: keepSecrets(handler, outputs) };
  }

  async update(id: string, urn: string, olds: unknown, news: unknown): Promise<UpdateResult> {
    const handler = this.handler(urn);
    const outputs = await this.race(handler.update(id, unwrap(olds), unwrap(news), this.context(urn)));
    return { outs: keepSecrets(handler, outputs) };
  }

  async read(id: string, urn: string, props?: unknown): Promise<ReadResult> {
    const handler = this.handler(urn);
    const now = await handler.read(id, unwrap(props));
    return now === undefined ? { id: "", props: {} } : { id, props: keepSecrets(handler, now) };
  }

  async delete(id: string, urn: string, props: unknown): Promise<void> {
    await this.race(this.handler(urn).delete(id, unwrap(props), this.context(urn)));
  }

  private context(urn: string): CallContext {
    return { urn, log: this.log, stopped: this.stopped };
  }

  /**
   * A handler that waits races `stopped` itself, to end with its id and properties; one that does not is given this long to end
   * before its call is failed from outside.
   */
  private race<T>(work: Promise<T>): Promise<T> {
    const late = this.stopped.catch(
      (reason: unknown) => new Promise<never>((_, reject) => setTimeout(reject, GRACE_MS, reason).unref()),
    );
    this.calls += 1;
    return Promise.race([work, late]).finally(() => {
      this.calls -= 1;
    });
  }

  private handler(urn: string): AnyHandler {
    const type = urn.split("::")[2]?.split("$").at(-1) ?? "";
    const handler = this.handlers[type];
    if (handler === undefined) throw new Error(`the launcher has no resource ${type}`);
    return handler;
  }
}

const GRACE_MS = 5_000;
/** Within the grace: what is known by then goes back to the engine. */
const HURRY_MS = 3_000;

/** Handlers work on plain values; what may be secret goes back to the engine as a secret, or the state would have it in clear. */
function keepSecrets(handler: AnyHandler, properties: Record<string, unknown>): Record<string, unknown> {
  const secrets = (handler.secretInputs ?? []).filter((name) => properties[name] !== undefined);
  return { ...properties, ...Object.fromEntries(secrets.map((name) => [name, secret(properties[name])])) };
}
