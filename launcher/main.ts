/** Entry point of the provider process that the Pulumi engine starts. */
import { main } from "@pulumi/pulumi/provider/index.js";
import { EngineLog } from "./engine-log.ts";
import { Detached } from "./errors.ts";
import { LocalBackend } from "./local/backend.ts";
import { Layout, PROJECT } from "./local/layout.ts";
import { LocalTracker } from "./local/tracker.ts";
import { LauncherProvider } from "./provider.ts";
import { RunHandler } from "./resources/run.ts";
import { RunConductor } from "./resources/run-conductor.ts";
import { TrackingServerHandler } from "./resources/tracking-server.ts";
import { UploadHandler } from "./resources/upload.ts";
import { VolumeHandler } from "./resources/volume.ts";
import { Slots } from "./slots.ts";

/** How often we look whether the engine is still our parent. */
const PARENT_POLL_MS = 500;

const args = process.argv.slice(2);
const layout = new Layout();
const backend = new LocalBackend(layout);
const provider = new LauncherProvider(
  {
    "launcher:index:Volume": new VolumeHandler(backend),
    "launcher:index:Upload": new UploadHandler(backend, PROJECT, layout.hashCache, process.platform !== "linux"),
    "launcher:index:TrackingServer": new TrackingServerHandler(new LocalTracker(layout)),
    "launcher:index:Run": new RunHandler(backend, new RunConductor(backend, new Slots())),
  },
  new EngineLog(args.at(-1) as string),
);

process.on("unhandledRejection", (reason) =>
  provider.abandon(reason instanceof Error ? reason : new Error(String(reason))),
);
// Ctrl-C in a terminal reaches every process of its group; ours is told by the engine, which then still gets an answer.
process.on("SIGINT", () => undefined);

// An engine that was killed tells nobody. The runs have supervisors of their own; we only must not stay behind.
const engine = process.ppid;
setInterval(() => {
  if (process.ppid === engine) return;
  provider.abandon(new Detached("the engine is gone"));
  process.exit(1);
}, PARENT_POLL_MS).unref();

await main(provider, args);
