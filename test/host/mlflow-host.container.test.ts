/** The host's user data, run as it is by Debian's cloud-init: what it serves, refuses, survives and brings back. */
import { join } from "node:path";
import { attachVolume, bootMachine, destroyMachine, detachVolume, inMachine, run } from "./machine.ts";
import { BUCKET, seconds, Tracker, writeForeignVolume } from "./tracker.ts";

jest.setTimeout(400_000);

let tracker: Tracker;
let run1: string;
const experiments = "/api/2.0/mlflow/experiments/search?max_results=10";
const report: Record<string, number> = {};

beforeAll(async () => {
  tracker = await Tracker.create("wmtp-test-host-1", "198.51.100.11", 5011);
  report["boot to healthy, s"] = await tracker.boot();
});

afterAll(() => {
  process.stderr.write(`MLflow host: ${JSON.stringify(report)}\n`);
  tracker?.destroy();
});

describe("what it serves", () => {
  test("nothing without a password but /health", async () => {
    expect((await tracker.ask("GET", "/health")).status).toBe(200);
    for (const path of [
      "/",
      experiments,
      "/static-files/index.html",
      "/signup",
      "/health/../api",
      "/version",
      "/metrics",
    ]) {
      const answer = await tracker.ask("GET", path);
      expect([path, answer.status]).toEqual([path, 401]);
      expect(answer.headers["www-authenticate"]).toBe('Basic realm="mlflow"');
    }
    expect((await tracker.ask("GET", experiments, tracker.runs)).status).toBe(200);
    expect((await tracker.ask("GET", experiments, tracker.admin)).status).toBe(200);
    expect((await tracker.ask("GET", experiments, "wmtp_runs:wrong-password-1")).status).toBe(401);
  });

  test("TLS from 1.2 on, with headers that keep browsers on it", async () => {
    const answer = await tracker.ask("GET", "/health");
    expect(answer.headers["strict-transport-security"]).toMatch(/max-age=\d{8}/);
    expect(answer.headers["x-content-type-options"]).toBe("nosniff");
    expect(answer.headers.server).toBe("nginx");
    const old = ["s_client", "-connect", `${tracker.address}:443`, "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"];
    expect(() => run("openssl", old)).toThrow();
  });

  test("port 443 and no other", async () => {
    const open = await Promise.all(
      [22, 80, 111, 443, 5000, 5432, 8080].map(async (port) => [port, await tracker.open(port)]),
    );
    expect(open.filter(([, is]) => is)).toEqual([[443, true]]);
    const listening = tracker.shell("ss -Hltn | awk '{print $4}'").split("\n");
    expect(listening.filter((socket) => !socket.startsWith("127.")).sort()).toEqual(["0.0.0.0:443"]);
  });

  test("MLflow's client: a run, and an artifact that lands in the bucket", () => {
    run1 = tracker.client("log", "first").split("\n").at(-1)!;
    expect(JSON.parse(tracker.client("runs", "first"))).toEqual({ [run1]: 1 / 50 });
    const keys = tracker.cloud.keys(BUCKET, "mlflow-artifacts/");
    expect(keys).toEqual([expect.stringMatching(`^mlflow-artifacts/.*${run1}/artifacts/weights with space.txt$`)]);
  });
});

describe("what the runs' user may not do", () => {
  test("delete a run by MLflow's client", () => {
    expect(tracker.client("delete", run1)).toMatch(/403/);
    expect(JSON.parse(tracker.client("runs", "first"))).toEqual({ [run1]: 1 / 50 });
  });

  test("anything that changes something but what a run has to", async () => {
    const program =
      "from mlflow.server.auth import create_app; import mlflow.server as s; create_app(); print('\\n'.join(f'{m} {r}' for r in s.app.url_map.iter_rules() for m in r.methods))";
    const lines = tracker.shell(
      `cd /tmp && MLFLOW_FLASK_SERVER_SECRET_KEY=x MLFLOW_AUTH_CONFIG_PATH=/etc/wmtp/auth.ini runuser -u mlflow -- env $(grep = /etc/wmtp/mlflow.env | grep -v '^#') MLFLOW_FLASK_SERVER_SECRET_KEY=x /opt/mlflow/bin/python - 2>/dev/null`,
      program,
    );
    const rules = lines.split("\n").filter((line) => /^(POST|PUT|PATCH|DELETE) /.test(line));
    expect(rules.length).toBeGreaterThan(150);
    const passed: string[] = [];
    for (const rule of rules) {
      const [method, path] = rule.split(" ") as [string, string];
      const answer = await tracker.ask(
        method,
        path.replace("<path:artifact_path>", "1/x").replace(/<[^>]*>/g, "x"),
        tracker.runs,
        {},
      );
      if (answer.status !== 403) passed.push(rule);
    }
    expect(passed.sort()).toEqual([
      "POST /api/2.0/mlflow/experiments/create",
      "POST /api/2.0/mlflow/experiments/search",
      "POST /api/2.0/mlflow/runs/create",
      "POST /api/2.0/mlflow/runs/log-batch",
      "POST /api/2.0/mlflow/runs/log-inputs",
      "POST /api/2.0/mlflow/runs/log-metric",
      "POST /api/2.0/mlflow/runs/log-model",
      "POST /api/2.0/mlflow/runs/log-parameter",
      "POST /api/2.0/mlflow/runs/outputs",
      "POST /api/2.0/mlflow/runs/search",
      "POST /api/2.0/mlflow/runs/set-tag",
      "POST /api/2.0/mlflow/runs/update",
      "PUT /api/2.0/mlflow-artifacts/artifacts/<path:artifact_path>",
    ]);
  });

  test.each([
    ["POST", "/api/2.0/mlflow/runs/create/../delete"],
    ["POST", "/api/2.0/mlflow/runs/%64elete"],
    ["POST", "/api/2.0/mlflow//runs/delete"],
    ["POST", "/api/2.0/mlflow/runs/delete?x=/api/2.0/mlflow/runs/create"],
    ["POST", "/ajax-api/2.0/mlflow/runs/delete"],
    ["POST", "/graphql"],
    ["DELETE", "/api/2.0/mlflow-artifacts/artifacts/1/x"],
    ["GET", "/api/2.0/mlflow/users/list"],
    ["POST", "/gateway/x"],
  ])("%s %s", async (method, path) => {
    expect((await tracker.ask(method, path, tracker.runs, { run_id: run1 })).status).toBe(403);
  });
});

describe("what it survives", () => {
  test("kill -9 of MLflow and of PostgreSQL", async () => {
    for (const [what, unit] of [
      ["MLflow", "mlflow"],
      ["PostgreSQL", "postgresql@15-main"],
    ] as const) {
      const pid = tracker.shell(`systemctl show -P MainPID ${unit}`);
      const started = Date.now();
      tracker.shell(`kill -9 ${pid}`);
      const changed = async () => ![pid, "0"].includes(tracker.shell(`systemctl show -P MainPID ${unit}`));
      await tracker.until(changed, 30_000);
      await tracker.until(async () => (await tracker.ask("GET", experiments, tracker.runs)).status === 200, 60_000);
      report[`${what} healed, s`] = seconds(started);
    }
    expect(JSON.parse(tracker.client("runs", "first"))).toEqual({ [run1]: 1 / 50 });
  });

  test("a rotated password and certificate are applied, the old password is worth nothing", async () => {
    const before = tracker.runs;
    tracker.rotate({ runsPassword: "planted-runs-password-2", ...tracker.newCertificate() });
    const started = Date.now();
    tracker.shell("systemctl start wmtp-secrets.service"); // what its timer does every 15 minutes
    await tracker.until(async () => (await tracker.ask("GET", experiments, tracker.runs)).status === 200);
    report["rotation applied, s"] = seconds(started);
    expect((await tracker.ask("GET", experiments, before)).status).toBe(401);
    expect((await tracker.ask("GET", experiments, tracker.admin)).status).toBe(200);
  });

  test("wrong passwords lock the address out, requests without one do not", async () => {
    for (let i = 0; i < 15; i++) await tracker.ask("GET", "/");
    expect((await tracker.ask("GET", experiments, tracker.runs)).status).toBe(200);
    for (let i = 0; i < 11; i++) await tracker.ask("GET", "/", `wmtp_admin:guess-number-${i}`).catch(() => undefined);
    await tracker.until(async () => !(await tracker.open(443)), 20_000);
    tracker.shell("fail2ban-client unban --all");
    await tracker.untilHealthy();
  });

  test("no secret is anywhere but in memory", () => {
    const { tlsCertificate: _, ...secrets } = tracker.secrets;
    const key = secrets.tlsPrivateKey!.split("\n")[1]!;
    const planted = [...Object.values({ ...secrets, tlsPrivateKey: key }), "planted-runs-password-1"];
    for (const secret of planted) expect(tracker.userData).not.toContain(secret);
    const places = [
      "journalctl --no-pager -o export",
      "ps axww -o args",
      "runuser -u nobody -- sh -c 'cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline /run/wmtp/* /run/credentials/*/*' 2>/dev/null",
      "grep -rlaF -f /dev/fd/3 --exclude-dir=proc --exclude-dir=sys --exclude-dir=run --exclude-dir=dev / 3<&0 2>/dev/null",
    ];
    for (const place of places) {
      const found = tracker.shell(
        place.startsWith("grep") ? `${place} || true` : `(${place}) | grep -aF -f /dev/fd/3 3<&0 || true`,
        planted.join("\n"),
      );
      expect([place, found]).toEqual([place, ""]);
    }
  });
});

describe("what it brings back", () => {
  let name: string;
  // As a unit: the stand-in of AWS is known to systemd's units alone.
  const restore = "systemd-run --quiet --pipe --wait wmtp-restore";

  test("a dump: wiped, restored, the same", async () => {
    const before = tracker.client("runs", "first");
    name = tracker
      .shell("systemctl start wmtp-backup && journalctl --no-pager -u wmtp-backup")
      .match(/mlflow-backups\/(\S+)/)![1]!;
    expect(tracker.cloud.keys(BUCKET, "mlflow-backups/")).toEqual([`mlflow-backups/${name}`]);
    const wipe = "runuser -u postgres -- psql -q mlflow -c 'TRUNCATE experiments CASCADE; TRUNCATE auth.users CASCADE'";
    tracker.shell(wipe);
    const started = Date.now();
    tracker.shell(`${restore} latest`);
    report["restored, s"] = seconds(started);
    await tracker.untilHealthy();
    expect(tracker.client("runs", "first")).toBe(before);
    expect(tracker.shell(`${restore} --list`)).toBe(name);
    expect(() => tracker.shell(`${restore} 2020-01-01T00-00-00Z.dump`)).toThrow(/no dump/);
  });

  test("everything, on a new host with the same volume", async () => {
    const before = tracker.client("runs", "first");
    destroyMachine(tracker.name);
    report["new host to healthy, s"] = await tracker.boot();
    expect(tracker.client("runs", "first")).toBe(before);
    const run2 = tracker.client("log", "first").split("\n").at(-1)!;
    expect(Object.keys(JSON.parse(tracker.client("runs", "first"))).sort()).toEqual([run1, run2].sort());
  });

  test("but no volume of somebody else's: it is left as it is", async () => {
    const image = join(tracker.folder, "foreign.img");
    writeForeignVolume(image);
    const before = run("sha256sum", [image]);
    const machine = "wmtp-test-host-2";
    try {
      bootMachine({
        name: machine,
        address: "198.51.100.12",
        userData: tracker.userData,
        endpoint: tracker.cloud.endpoint,
      });
      attachVolume(machine, "vol-0123456789abcdef0", image);
      await tracker.until(async () => inMachine(machine, "ls /etc/systemd/system/wmtp-volume.service") !== "");
      const said = inMachine(machine, "systemctl start wmtp-volume; journalctl --no-pager -u wmtp-volume");
      expect(said).toMatch(/holds data of an unknown kind.*left as it is/);
    } finally {
      destroyMachine(machine);
      detachVolume(image);
    }
    expect(run("sha256sum", [image])).toBe(before);
  });
});
