/** The text of the user data; what it does is shown by mlflow-host.container.test.ts. */
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import { ADMIN_USER, type HostSettings, RUNS_USER, userData } from "../../components/mlflow-host/user-data.ts";

const FOLDER = join(import.meta.dirname, "..", "..", "components", "mlflow-host");
const settings: HostSettings = {
  region: "ap-southeast-1",
  bucket: "a-bucket-with-a-name-that-is-rather-long-as-some-are",
  dataVolumeId: "vol-0123456789abcdef0",
  secretId: "arn:aws:secretsmanager:ap-southeast-1:123456789012:secret:wmtp-production-tracker-host-AbCdEf",
  hostName: "203.0.113.10",
};
const domain = {
  ...settings,
  hostName: "mlflow.research.example-university.org",
  hostedZoneId: "Z0123456789ABCDEFGHIJ",
};

/** Unpacks as the host does, by the same script, into an object. */
function filesOf(given: HostSettings): Record<string, string> {
  const cloudConfig = parse(userData(given)) as { write_files: { path: string; content: string }[] };
  const plain = Object.fromEntries(cloudConfig.write_files.map(({ path, content }) => [path, content]));
  const unpack = readFileSync(join(FOLDER, "unpack"), "utf8")
    .replace(/with open\("\/usr[\s\S]*?:\n/, "if True:\n")
    .replace("bundle.read()", "__import__('sys').stdin.read()")
    .replace(/for path, content in [\s\S]*$/, "print(json.dumps(files))\n");
  const unpacked = execFileSync("python3", ["-c", unpack], {
    input: plain["/usr/local/lib/wmtp/bundle"],
    encoding: "utf8",
  });
  return { ...plain, ...JSON.parse(unpacked) };
}

test.each([
  ["address", settings],
  ["domain", domain],
])("fits EC2's 16 KB and is the same each time: %s", (_, given) => {
  const text = userData(given);
  expect(text.startsWith("#cloud-config\n")).toBe(true);
  expect(Buffer.byteLength(text)).toBeLessThan(16_384);
  expect(userData({ ...given })).toBe(text);
});

test("carries the lock whole: of each package one version and one hash", () => {
  const lock = filesOf(settings)["/etc/wmtp/mlflow.lock"]!;
  expect(lock).toBe(readFileSync(join(FOLDER, "mlflow.lock"), "utf8"));
  expect(lock).toMatch(/^mlflow==3/m);
  for (const line of lock.trim().split("\n")) expect(line).toMatch(/^[a-z0-9._-]+==\S+ --hash=sha256:[0-9a-f]{64}$/);
});

test("the host runs the MLflow that runs log to at home", () => {
  const tracker = readFileSync(join(FOLDER, "..", "..", "trainer", "tracker.in"), "utf8").match(/^mlflow==(\S+)$/m)![1];
  expect(filesOf(settings)["/etc/wmtp/mlflow.lock"]).toContain(`\nmlflow==${tracker} `);
});

test("PostgreSQL listens nowhere, MLflow on the loopback, nginx on 443", () => {
  const files = filesOf(settings);
  expect(files["/etc/postgresql-common/createcluster.conf"]).toContain("listen_addresses = ''");
  expect(files["/usr/local/lib/wmtp/serve"]).toContain("--host 127.0.0.1");
  expect(files["/etc/nginx/nginx.conf"]!.match(/listen .*/g)).toEqual(["listen 443 ssl http2;"]);
  expect(Object.values(files).join("\n")).not.toMatch(/0\.0\.0\.0|\[::\]/);
});

test("the users are those that nginx and MLflow know, and nothing is left to fill in", () => {
  const files = filesOf(domain);
  expect(files["/etc/nginx/nginx.conf"]).toContain(`map $remote_user $who { default runs; ${ADMIN_USER} admin; }`);
  expect(files["/usr/local/lib/wmtp/users.py"]).toContain(`"${RUNS_USER}": ("runsPassword", False)`);
  expect(files["/etc/wmtp/auth.ini"]).toContain(`admin_username = ${ADMIN_USER}`);
  delete files["/usr/local/lib/wmtp/bundle"];
  for (const [path, content] of Object.entries(files))
    expect([path, content.match(/@[A-Z_]+@|undefined/)]).toEqual([path, null]);
});

test("Let's Encrypt only with a hosted zone", () => {
  expect(Object.keys(filesOf(settings)).filter((path) => path.includes("certificate"))).toEqual([]);
  const files = filesOf(domain);
  expect(files["/etc/wmtp/host.env"]).toContain("python3-certbot-dns-route53");
  expect(files["/etc/nginx/nginx.conf"]).toContain(`/srv/wmtp/letsencrypt/live/${domain.hostName}/fullchain.pem`);
  expect(files["/etc/systemd/system/wmtp-certificate.timer"]).toBeDefined();
});

test("every file of the folder has a place on the host", () => {
  const carried = Object.values(filesOf(domain)).join("\n");
  for (const unit of readdirSync(join(FOLDER, "units"))) {
    const last = readFileSync(join(FOLDER, "units", unit), "utf8")
      .trimEnd()
      .split("\n")
      .at(-1)!;
    expect(carried).toContain(last.replace(/@.*@/, ""));
  }
});
