/** Entry point of the provider process that the Pulumi engine starts. */
import { main } from "@pulumi/pulumi/provider/index.js";
import { Backends } from "./backends.ts";
import { ByPlace, type Place } from "./by-place.ts";
import { EngineLog } from "./engine-log.ts";
import { Detached } from "./errors.ts";
import { Layout, PROJECT } from "./local/layout.ts";
import { LocalTracker } from "./local/tracker.ts";
import { LauncherProvider } from "./provider.ts";
import { OrgSecretHandler, SECRET_INPUTS, type SecretStore } from "./resources/org-secret.ts";
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
const slots = new Slots();
const hurry = new AbortController();
const backends = new Backends(layout, { stop: hurry.signal });

function storeOf(place: Place): SecretStore {
  if (place.target === "local") throw new Error("target local has no secrets: its runs need none");
  return backends.cloud(place).api;
}

// Where nothing is trained on this machine, a source that is not here is unknown and not an error.
const previewOnly = (place: Place) => place.target !== "local" || process.platform !== "linux";
const provider = new LauncherProvider(
  {
    "launcher:index:Volume": new ByPlace((place) => new VolumeHandler(backends.of(place)), ["organization"]),
    "launcher:index:Upload": new ByPlace(
      (place) => new UploadHandler(backends.of(place), PROJECT, layout.hashCache, previewOnly(place)),
      ["organization", "bucket"],
    ),
    "launcher:index:OrgSecret": new ByPlace(
      (place) => new OrgSecretHandler(() => storeOf(place)),
      ["organization"],
      SECRET_INPUTS,
    ),
    "launcher:index:TrackingServer": new TrackingServerHandler(new LocalTracker(layout)),
    "launcher:index:Run": new ByPlace(
      (place) => {
        const backend = backends.of(place);
        return new RunHandler(backend, new RunConductor(backend, slots));
      },
      ["organization", "project", "bucket", "checkpoints"],
    ),
  },
  new EngineLog(args.at(-1) as string),
  (reason) => hurry.abort(reason),
);

process.on("unhandledRejection", (reason) =>
  provider.abandon(reason instanceof Error ? reason : new Error(String(reason))),
);
// The engine ends its providers with SIGINT, and waits five seconds for those that do not go. Where a terminal sends it,
// the engine tells us by `cancel`, and gets its answer: what is being worked on ends with its id and properties.
process.on("SIGINT", () => {
  if (provider.idle) process.exit(0);
});

// An engine that was killed tells nobody. The runs have supervisors of their own; we only must not stay behind.
const engine = process.ppid;
setInterval(() => {
  if (process.ppid === engine) return;
  provider.abandon(new Detached("the engine is gone"));
  process.exit(1);
}, PARENT_POLL_MS).unref();

await main(provider, args);
