/** What the MLflow host does from its first boot on, as one `#cloud-config`. The files beside this one are what runs there. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { zlibSync } from "fflate";

export const ADMIN_USER = "wmtp_admin";
export const RUNS_USER = "wmtp_runs";

export interface HostSettings {
  /** @example "eu-north-1" */
  readonly region: string;
  /** Artifacts go to `s3://<bucket>/mlflow-artifacts`, dumps to `s3://<bucket>/mlflow-backups`. */
  readonly bucket: string;
  /** EBS volume of the database; it may be attached minutes after the boot. @example "vol-0123456789abcdef0" */
  readonly dataVolumeId: string;
  /** ARN of the Secrets Manager secret that holds {@link HostSecrets} as JSON; read at boot and every 15 minutes. */
  readonly secretId: string;
  /** Domain or address that clients use; the certificate is for it. */
  readonly hostName: string;
  /** With it the certificate comes from Let's Encrypt by DNS-01 (Route 53), otherwise from the secret. */
  readonly hostedZoneId?: string;
}

export interface HostSecrets {
  readonly adminPassword: string;
  readonly runsPassword: string;
  readonly flaskSecretKey: string;
  /** PEM, the whole chain; not needed with a hosted zone. */
  readonly tlsCertificate?: string;
  readonly tlsPrivateKey?: string;
}

/** EC2's bound on user data, before base64. */
const LIMIT_BYTES = 16_384;
const CERTBOT = "certbot python3-certbot-dns-route53";

/**
 * The text of `#cloud-config`: depends on the settings and on nothing else, and holds no secret.
 *
 * EC2 takes 16 KB, the host's files are twice that: they come as one compressed bundle that the host unpacks. The
 * compressor is a library in JavaScript, because Node's own compresses differently on another kind of processor, and
 * a change of a single byte replaces the host.
 */
export function userData(settings: HostSettings): string {
  const text = [
    "#cloud-config",
    "# The MLflow host. components/mlflow-host/ has in clear what the bundle holds.",
    "write_files:",
    ...block("/etc/wmtp/host.env", environment(settings)),
    ...block("/usr/local/lib/wmtp/unpack", ours("unpack")),
    ...block("/usr/local/lib/wmtp/bundle", bundle(files(settings))),
    "runcmd:",
    "- [python3, /usr/local/lib/wmtp/unpack]",
    "- [systemctl, daemon-reload]",
    ...enabled(settings).map((unit) => `- [systemctl, enable, --now, --no-block, ${unit}]`),
    "",
  ].join("\n");
  if (Buffer.byteLength(text) >= LIMIT_BYTES) {
    throw new Error(
      `the host's user data has ${Buffer.byteLength(text)} bytes and EC2 takes less than ${LIMIT_BYTES}: shorten what components/mlflow-host/ puts on the host`,
    );
  }
  return text;
}

/** Path on the host -> content. What begins with `#!` becomes executable. */
function files(settings: HostSettings): Record<string, string> {
  const letsEncrypt = `/srv/wmtp/letsencrypt/live/${settings.hostName}`;
  const [certificate, key] = settings.hostedZoneId
    ? [`${letsEncrypt}/fullchain.pem`, `${letsEncrypt}/privkey.pem`]
    : ["/run/wmtp/tlsCertificate", "/run/wmtp/tlsPrivateKey"];
  const values = {
    CERTIFICATE: certificate!,
    PRIVATE_KEY: key!,
    DEVICE: device(settings),
    REGION: settings.region,
    HARDENED: ours("units/hardened.conf").trimEnd(),
  };
  const names = Object.entries(PLACES).filter(([name]) => settings.hostedZoneId || !name.includes("certificate"));
  return Object.fromEntries(
    names.map(([name, path]) => [path.replace("*", name.split("/").at(-1)!), fill(ours(name), values)]),
  );
}

/** File of this folder -> its path on the host; `*` is the file's own name. */
const PLACES: Readonly<Record<string, string>> = {
  "mlflow.env": "/etc/wmtp/*",
  "auth.ini": "/etc/wmtp/*",
  "createcluster.conf": "/etc/postgresql-common/*",
  "nginx.conf": "/etc/nginx/*",
  "jail.local": "/etc/fail2ban/*",
  "jail-filter.conf": "/etc/fail2ban/filter.d/wmtp.conf",
  "auto-upgrades.conf": "/etc/apt/apt.conf.d/20auto-upgrades",
  "journald.conf": "/etc/systemd/journald.conf.d/wmtp.conf",
  install: "/usr/local/lib/wmtp/*",
  volume: "/usr/local/lib/wmtp/*",
  database: "/usr/local/lib/wmtp/*",
  serve: "/usr/local/lib/wmtp/*",
  "secrets.py": "/usr/local/lib/wmtp/*",
  "users.py": "/usr/local/lib/wmtp/*",
  "backup.py": "/usr/local/lib/wmtp/*",
  "wmtp-backup": "/usr/local/sbin/*",
  "wmtp-restore": "/usr/local/sbin/*",
  "units/wmtp-install.service": "/etc/systemd/system/*",
  "units/wmtp-volume.service": "/etc/systemd/system/*",
  "units/srv-wmtp.mount": "/etc/systemd/system/*",
  "units/wmtp-database.service": "/etc/systemd/system/*",
  "units/wmtp-secrets.service": "/etc/systemd/system/*",
  "units/wmtp-secrets.timer": "/etc/systemd/system/*",
  "units/wmtp-certificate.service": "/etc/systemd/system/*",
  "units/wmtp-certificate.timer": "/etc/systemd/system/*",
  "units/mlflow-users.service": "/etc/systemd/system/*",
  "units/mlflow.service": "/etc/systemd/system/*",
  "units/wmtp-backup.service": "/etc/systemd/system/*",
  "units/wmtp-backup.timer": "/etc/systemd/system/*",
  "units/wmtp-ssm.service": "/etc/systemd/system/*",
  "units/postgresql.conf": "/etc/systemd/system/postgresql@15-main.service.d/wmtp.conf",
  "units/nginx.conf": "/etc/systemd/system/nginx.service.d/wmtp.conf",
};

/** What the boot starts; the rest is started by these. */
function enabled(settings: HostSettings): string[] {
  return [
    "wmtp-secrets.timer",
    "wmtp-backup.timer",
    "wmtp-ssm.service",
    ...(settings.hostedZoneId ? ["wmtp-certificate.timer"] : []),
  ];
}

function environment(settings: HostSettings): string {
  const values = {
    AWS_DEFAULT_REGION: settings.region,
    BUCKET: settings.bucket,
    DEVICE: device(settings),
    SECRET_ID: settings.secretId,
    HOST_NAME: settings.hostName,
    HOSTED_ZONE_ID: settings.hostedZoneId ?? "",
    EXTRA_PACKAGES: settings.hostedZoneId ? CERTBOT : "",
  };
  return Object.entries(values)
    .map(([name, value]) => `${name}="${value}"\n`)
    .join("");
}

function device(settings: HostSettings): string {
  return `/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_${settings.dataVolumeId.replace("-", "")}`;
}

/** A file of this folder as the host gets it: what only explains stays here. */
function ours(name: string): string {
  return readFileSync(join(import.meta.dirname, name), "utf8")
    .replace(/^\s*#(?!!).*\n/gm, "")
    .replace(/^\s*"""[\s\S]*?"""\n/gm, "");
}

function fill(text: string, values: Readonly<Record<string, string>>): string {
  return text.replace(/@([A-Z_]+)@/g, (_, name: string) => values[name]!);
}

/** Compressed files, then the lock's hashes as bytes: as text they would take a third more. */
function bundle(content: Readonly<Record<string, string>>): string {
  const lock = [...ours("mlflow.lock").matchAll(/^(\S+) --hash=sha256:([0-9a-f]{64})$/gm)];
  const pins = lock.map(([, pin]) => pin).join("\n");
  const packed = zlibSync(Buffer.from(JSON.stringify({ ...content, "/etc/wmtp/mlflow.lock": pins })), { level: 9 });
  return base85(Buffer.concat([packed, Buffer.from(lock.map(([, , hash]) => hash).join(""), "hex")]));
}

/** As Python's base64.b85decode reads it: five characters for four bytes, where base64 takes four for three. */
function base85(bytes: Buffer): string {
  const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~";
  let text = "";
  for (let at = 0; at < bytes.length; at += 4) {
    const group = bytes.subarray(at, at + 4);
    let value = Buffer.concat([group, Buffer.alloc(4 - group.length)]).readUInt32BE();
    let characters = "";
    for (let i = 0; i < 5; i++) {
      characters = alphabet[value % 85] + characters;
      value = Math.floor(value / 85);
    }
    text += characters.slice(0, group.length + 1);
  }
  return text;
}

function block(path: string, content: string): string[] {
  return [
    `- path: ${path}`,
    "  content: |",
    ...content
      .trimEnd()
      .split("\n")
      .map((line) => `    ${line}`),
  ];
}
