/**
 * A hundred runs and ten thousand files on the GPU cloud's stub, whose runs are over at once: seconds, and requests, of `preview`, of
 * the first `up`, and of both when there is nothing to do. The engine, the launcher and S3 are real. A line of JSON each.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, loadavg, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { PulumiStack } from "../test/support/pulumi-stack.ts";
import { VesslCloud } from "../test/support/vessl-cloud.ts";

const RUNS = 100;
/** Files of each volume; they are of one kibibyte. */
const VOLUMES = { models: 3000, datasets: 6000, checkpoints: 1000 } as const;
const FILES_A_DIRECTORY = 500;
/** Of what changes nothing, and can be done again. */
const REPEATS = 3;
const LONGEST_MS = 900_000;

const PROJECT = resolve(import.meta.dirname, "..");

class BenchStack extends PulumiStack {
  readonly name = "bench";
  readonly project = join(import.meta.dirname, "bench-launcher");
  readonly env: NodeJS.ProcessEnv;
  protected readonly longestMs = LONGEST_MS;
  private readonly configFile: string;

  constructor(root: string, cloud: VesslCloud) {
    super();
    this.configFile = join(root, "Pulumi.bench.yaml");
    mkdirSync(join(root, "state"));
    this.env = {
      ...process.env,
      ...cloud.env,
      PATH: `${join(PROJECT, ".tools", "bin")}:${process.env.PATH}`,
      PULUMI_BACKEND_URL: `file://${join(root, "state")}`,
      PULUMI_CONFIG_PASSPHRASE: "passphrase-of-a-benchmark",
      PULUMI_SKIP_UPDATE_CHECK: "1",
      PULUMI_OPTION_POLICY_PACK: undefined, // the launcher alone
      WMTP_HOME: join(root, "home"),
    };
    const config = {
      runs: RUNS,
      sources: join(root, "sources"),
      storage: "vessl-storage",
      cluster: "vessl-kr-a100-80g-sxm",
      preset: "gpu-a100-80g-large",
      place: {
        target: "vessl",
        organization: cloud.organization,
        project: cloud.project,
        bucket: "wmtp",
        region: cloud.env.AWS_REGION,
        checkpoints: "checkpoints/",
      },
    };
    const named = Object.entries(config).map(([key, value]) => [`bench-launcher:${key}`, value]);
    writeFileSync(this.configFile, JSON.stringify({ config: Object.fromEntries(named) }));
    this.mustRun("stack", "init");
  }

  /** The stack's file is not in the program's folder, which is a part of the checkout. */
  override pulumi(...args: string[]) {
    const takesConfig = args[0] === "stack" ? [] : ["--config-file", this.configFile];
    return super.pulumi(...args, ...takesConfig);
  }
}

function makeSources(root: string): void {
  for (const [volume, files] of Object.entries(VOLUMES)) {
    for (let number = 0; number < files; number += 1) {
      const directory = join(root, "sources", volume, `part-${Math.floor(number / FILES_A_DIRECTORY)}`);
      if (number % FILES_A_DIRECTORY === 0) mkdirSync(directory, { recursive: true });
      writeFileSync(join(directory, `${number}.txt`), `${volume} ${number}\n`.padEnd(1024, "."));
    }
  }
}

const median = (numbers: readonly number[]) => numbers.toSorted((a, b) => a - b)[numbers.length >> 1] as number;
const rounded = (number: number) => Math.round(number * 10) / 10;

/** How many there are of each kind, the most frequent first. */
function counted(kinds: readonly string[]): Record<string, number> {
  const counts = new Map<string, number>();
  for (const kind of kinds) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  return Object.fromEntries([...counts].sort(([, a], [, b]) => b - a));
}

/** `GET run_executions/{id}`: one kind of call, whatever it is about. */
function kindOf({ method, path }: { readonly method: string; readonly path: string }): string {
  const short = path.replace(/^\/api\/v1/, "").replace(/^\/organizations\/[^/]+(\/projects\/[^/]+)?\//, "");
  return `${method} ${short.replace(/\d{2,}/g, "{id}").replace(/(?<=volumes\/)[^/]+/, "{name}")}`;
}

const cloud = await VesslCloud.start();
const root = mkdtempSync(join(tmpdir(), "wmtp-bench-launcher-"));
try {
  await cloud.mode("instant");
  makeSources(root);
  const stack = new BenchStack(root, cloud);

  const measure = (bench: string, repeats: number, args: readonly string[], note: string) => {
    const [load] = loadavg() as [number];
    const seconds: number[] = [];
    let calls: Record<string, number> = {};
    let s3: Record<string, number> = {};
    for (let repeat = 0; repeat < repeats; repeat += 1) {
      const before = { calls: cloud.requests().length, s3: cloud.s3Requests().length };
      const started = performance.now();
      stack.mustRun(...args);
      seconds.push((performance.now() - started) / 1000);
      calls = counted(cloud.requests().slice(before.calls).map(kindOf));
      s3 = counted(
        cloud
          .s3Requests()
          .slice(before.s3)
          .map(({ method }) => method),
      );
    }
    const sum = (counts: Record<string, number>) => Object.values(counts).reduce((total, count) => total + count, 0);
    const line = {
      bench: `launcher ${bench}`,
      unit: "s",
      better: "lower",
      ours: rounded(median(seconds)),
      peers: {},
      runs: repeats,
      calls: sum(calls),
      calls_by_kind: calls,
      s3_requests: sum(s3),
      s3_by_method: s3,
      cpus: availableParallelism(),
      load_before: rounded(load),
      note: `${RUNS} runs, ${Object.values(VOLUMES).reduce((total, files) => total + files, 0)} files in ${Object.keys(VOLUMES).length} volumes; ${note}; the cloud is a stub and S3 a gateway, on the same machine`,
    };
    process.stdout.write(`${JSON.stringify(line)}\n`);
  };

  measure("preview", 1, ["preview"], "nothing is there, files are hashed for the first time");
  measure("first up", 1, ["up", "--yes"], "its own preview included, runs are over at once");
  measure("preview, nothing to do", REPEATS, ["preview", "--expect-no-changes"], "all is there");
  measure("up, nothing to do", REPEATS, ["up", "--yes", "--expect-no-changes"], "its own preview included");
} finally {
  await cloud.dispose();
  rmSync(root, { recursive: true, force: true });
}
