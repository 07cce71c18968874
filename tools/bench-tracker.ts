/**
 * Fifty clients log to an MLflow host for a minute: requests/s, and errors (goal: none). One line of JSON.
 * The host is the one of the tests: its real user data in a container, on this machine beside the clients.
 */
import { readFileSync } from "node:fs";
import { Agent, request } from "node:https";
import { Tracker } from "../test/host/tracker.ts";

const CLIENTS = 50;
const SECONDS = 60;
const METRICS = 10;

const tracker = await Tracker.create("wmtp-bench-tracker", "198.51.100.20", 5020);
try {
  const boot = await tracker.boot();
  const agent = new Agent({ keepAlive: true, maxSockets: CLIENTS, ca: readFileSync(tracker.ca) });
  const latencies: number[] = [];
  const failures = new Map<string, number>();

  const post = (path: string, body: unknown) =>
    new Promise<Record<string, unknown>>((resolve) => {
      const started = performance.now();
      const failed = (what: string) => {
        failures.set(what, (failures.get(what) ?? 0) + 1);
        resolve({});
      };
      const headers = { "content-type": "application/json" };
      const options = { host: tracker.address, path: `/api/2.0/mlflow/${path}`, method: "POST", auth: tracker.runs };
      const sent = request({ ...options, agent, headers }, (answer) => {
        let text = "";
        answer.on("data", (part) => {
          text += part;
        });
        answer.on("end", () => {
          latencies.push(performance.now() - started);
          if (answer.statusCode === 200) resolve(JSON.parse(text));
          else failed(`${answer.statusCode} ${text.slice(0, 120)}`);
        });
      });
      sent.on("error", (error) => failed(error.message));
      sent.end(JSON.stringify(body));
    });

  const { experiment_id } = await post("experiments/create", { name: "bench" });
  const deadline = Date.now() + SECONDS * 1000;
  const client = async () => {
    const { run } = (await post("runs/create", { experiment_id, start_time: Date.now() })) as {
      run?: { info: { run_id: string } };
    };
    for (let step = 0; run && Date.now() < deadline; step++) {
      const metrics = Array.from({ length: METRICS }, (_, i) => ({
        key: `m${i}`,
        value: step,
        timestamp: Date.now(),
        step,
      }));
      await post("runs/log-batch", { run_id: run.info.run_id, metrics });
    }
    if (run) await post("runs/update", { run_id: run.info.run_id, status: "FINISHED" });
  };
  await Promise.all(Array.from({ length: CLIENTS }, client));
  latencies.sort((a, b) => a - b);
  const at = (share: number) => Math.round(latencies[Math.floor(latencies.length * share)]!);
  process.stdout.write(
    `${JSON.stringify({
      bench: "tracker",
      unit: "requests/s",
      better: "higher",
      ours: Math.round((10 * latencies.length) / SECONDS) / 10,
      peers: {},
      runs: 1,
      errors: [...failures.values()].reduce((sum, count) => sum + count, 0),
      failures: Object.fromEntries(failures),
      median_ms: at(0.5),
      p99_ms: at(0.99),
      boot_to_healthy_s: boot,
      note: `${CLIENTS} clients, ${SECONDS} s, ${METRICS} metrics a request; TLS, password and PostgreSQL included; clients on the same machine`,
    })}\n`,
  );
  agent.destroy();
} finally {
  tracker.destroy();
}
