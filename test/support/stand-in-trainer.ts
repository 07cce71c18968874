#!/usr/bin/env node
/**
 * Stands in for the trainer's Python where a test is about the launcher and the engine: keeps the trainer's contract (config, events,
 * marker, exit codes) and learns nothing. Tests steer it by the run's config: `training.seed` is the seconds it takes, and a file
 * `<stack folder>/<pipeline>.fail` is what it says before it fails.
 */
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parse } from "yaml";

const args = process.argv.slice(2);
const option = (name: string) => args[args.indexOf(name) + 1] as string;
const config = parse(readFileSync(option("--config"), "utf8"));
const { pipeline, paths } = config;
const output: string = paths.output;
const home = dirname(dirname(dirname(output)));
const say = (event: object) => console.log(`[wmtp] ${JSON.stringify(event)}`);

mkdirSync(output, { recursive: true });
appendFileSync(join(home, "trained.log"), `${pipeline} ${process.env.WMTP_FINGERPRINT} ${process.pid}\n`);
if (args.includes("--critic-checkpoint") && !existsSync(join(option("--critic-checkpoint")))) {
  console.error(`error: critic checkpoint ${option("--critic-checkpoint")} does not exist`);
  process.exit(2);
}
const STEPS = 10;
const seconds = config.training.seed / 10;
const stepFile = join(output, "step");
const first = existsSync(stepFile) ? Number(readFileSync(stepFile, "utf8")) : 0;
say({ event: "start", steps: STEPS, effective_batch: 8, resumed_from: first || null });
for (let step = first + 1; step <= STEPS; step += 1) {
  await sleep((seconds * 1000) / STEPS);
  const failure = join(home, `${pipeline}.fail`);
  if (step === 5 && existsSync(failure)) {
    console.error(readFileSync(failure, "utf8"));
    process.exit(1);
  }
  say({ event: "progress", step, steps: STEPS, loss: 10 / step, tokens_per_second: 1234, eta_seconds: STEPS - step });
  appendFileSync(join(output, "curve.jsonl"), `${JSON.stringify({ step, loss: 10 / step })}\n`);
  writeFileSync(stepFile, String(step));
}
mkdirSync(join(output, "checkpoint_best"), { recursive: true });
const now = new Date().toISOString();
const completion = {
  fingerprint: process.env.WMTP_FINGERPRINT,
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
writeFileSync(join(output, "COMPLETED.json"), JSON.stringify(completion));
say({ event: "completed", ...completion });
