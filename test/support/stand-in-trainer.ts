#!/usr/bin/env node
/**
 * Stands in for the trainer's Python where a test is about the launcher and the engine: keeps the trainer's contract (config, events,
 * checkpoints, marker, exit codes) and learns nothing. Tests steer it by the run's config: `training.seed` is ten times the seconds it
 * takes, and a file `<pipeline>.fail` in its home is what it says before it fails. Its home is STAND_IN_HOME, or the stack's folder.
 */
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { crc32 } from "node:zlib";
import { parse } from "yaml";

const args = process.argv.slice(2);
const option = (name: string) => args[args.indexOf(name) + 1] as string;
const config = parse(readFileSync(option("--config"), "utf8"));
const { pipeline, paths } = config;
const output: string = paths.output;
const home = process.env.STAND_IN_HOME ?? dirname(dirname(dirname(output)));
const fingerprint = process.env.WMTP_FINGERPRINT;
const say = (event: object) => console.log(`[wmtp] ${JSON.stringify(event)}`);

mkdirSync(output, { recursive: true });
appendFileSync(join(home, "trained.log"), `${pipeline} ${fingerprint} ${process.pid}\n`);
if (args.includes("--critic-checkpoint") && !existsSync(join(option("--critic-checkpoint")))) {
  console.error(`error: critic checkpoint ${option("--critic-checkpoint")} does not exist`);
  process.exit(2);
}
const STEPS = 10;
const KEPT = 2;
const seconds = config.training.seed / 10;
const curve = join(output, "curve.jsonl");
const first = committed()[0] ?? 0;
const known = existsSync(curve) ? readFileSync(curve, "utf8").split("\n").slice(0, first) : [];
writeFileSync(curve, known.map((line) => `${line}\n`).join(""));
say({ event: "start", steps: STEPS, effective_batch: 8, resumed_from: first || null });
for (let step = first + 1; step <= STEPS; step += 1) {
  await sleep((seconds * 1000) / STEPS);
  const failure = join(home, `${pipeline}.fail`);
  if (step === 5 && existsSync(failure)) {
    console.error(readFileSync(failure, "utf8"));
    process.exit(1);
  }
  say({ event: "progress", step, steps: STEPS, loss: 10 / step, tokens_per_second: 1234, eta_seconds: STEPS - step });
  appendFileSync(curve, `${JSON.stringify({ step, loss: 10 / step })}\n`);
  checkpoint(step);
}
mkdirSync(join(output, "checkpoint_best"), { recursive: true });
writeFileSync(join(output, "checkpoint_best", "model.safetensors"), `weights of ${pipeline}`);
const now = new Date().toISOString();
const completion = {
  fingerprint,
  pipeline,
  steps: STEPS,
  first_loss: 10,
  final_loss: 1,
  started_at: now,
  finished_at: now,
  duration_seconds: seconds,
  effective_batch: 8,
  mlflow_run_id: "run",
  mlflow_experiment_id: "1",
  checkpoint: "checkpoint_best",
  metrics: {},
};
writeWhole(join(output, "COMPLETED.json"), JSON.stringify(completion));
say({ event: "completed", ...completion });

/** Steps that can be resumed from, newest first. */
function committed(): number[] {
  const directory = join(output, "checkpoints");
  if (!existsSync(directory)) return [];
  const steps = readdirSync(directory).filter((name) => existsSync(join(directory, name, "COMMITTED")));
  return steps.map((name) => Number(name.slice("step-".length))).sort((a, b) => b - a);
}

function checkpoint(step: number): void {
  const directory = (of: number) => join(output, "checkpoints", `step-${String(of).padStart(8, "0")}`);
  const content = `state after step ${step}`;
  mkdirSync(directory(step), { recursive: true });
  writeFileSync(join(directory(step), "__0_0.distcp"), content);
  const files = { "__0_0.distcp": [content.length, crc32(content)] };
  const marker = { fingerprint, world_size: 1, progress: { step }, files };
  writeWhole(join(directory(step), "COMMITTED"), JSON.stringify(marker));
  for (const old of committed().slice(KEPT)) rmSync(directory(old), { recursive: true });
}

function writeWhole(file: string, content: string): void {
  writeFileSync(`${file}.tmp`, content);
  renameSync(`${file}.tmp`, file);
}
