/** Certificates by the machine's `openssl`, since Node can read but not make them. Keys go through pipes and touch no disk. */
import { randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execute } from "../execute.ts";

export interface Names {
  /** Fields of the distinguished name as X.509 calls them (`CN`, `O`), in order. */
  readonly subject: readonly (readonly [string, string])[];
  readonly dnsNames: readonly string[];
  readonly ipAddresses: readonly string[];
  readonly uris: readonly string[];
}

export interface Validity {
  readonly from: Date;
  readonly to: Date;
}

export interface Signer {
  readonly keyPem: string;
  /** Absent: the certificate signs itself. */
  readonly certificatePem?: string;
}

export interface Signed {
  readonly certificatePem: string;
  /** Decimal. */
  readonly serial: string;
}

/** A certificate request in PEM. */
export function makeRequest(names: Names, keyPem: string): Promise<string> {
  const alternatives = [
    ...names.dnsNames.map((name, index) => `DNS.${index} = ${name}`),
    ...names.ipAddresses.map((address, index) => `IP.${index} = ${address}`),
    ...names.uris.map((uri, index) => `URI.${index} = ${uri}`),
  ];
  const config = [
    "[req]\nprompt = no\ndistinguished_name = subject\nutf8 = yes\nstring_mask = utf8only",
    alternatives.length > 0 ? "req_extensions = extensions" : "",
    "[subject]\n[extensions]\nsubjectAltName = @names\n[names]",
    ...alternatives,
  ];
  const subject = names.subject.map(([field, value]) => `/${field}=${value.replace(/[\\/+=]/g, "\\$&")}`).join("");
  return inFolder(async (folder) => {
    writeFileSync(join(folder, "config"), config.join("\n"));
    return openssl(folder, keyPem, ["req", "-new", "-key", KEY, "-config", "config", "-subj", subject || "/"]);
  });
}

/** @param extensions lines of openssl's configuration; the alternative names are those of the request. */
export function sign(request: string, by: Signer, validity: Validity, extensions: readonly string[]): Promise<Signed> {
  const serial = randomBytes(16);
  serial[0] = (serial[0] as number) & 0x7f || 1; // positive, and not shorter
  const config = [
    "[ca]\ndefault_ca = ca_itself\n[ca_itself]\ndatabase = index\nserial = serial\nnew_certs_dir = .\nunique_subject = no",
    "default_md = default\npolicy = any\npreserve = yes\nemail_in_dn = no\ncopy_extensions = copy",
    "x509_extensions = extensions\n[any]",
    ...Object.values(FIELDS).map((field) => `${field} = optional`),
    "[extensions]",
    ...extensions,
  ];
  return inFolder(async (folder) => {
    writeFileSync(join(folder, "config"), config.join("\n"));
    writeFileSync(join(folder, "request"), request);
    writeFileSync(join(folder, "index"), "");
    writeFileSync(join(folder, "serial"), serial.toString("hex").toUpperCase());
    if (by.certificatePem !== undefined) writeFileSync(join(folder, "ca"), by.certificatePem);
    const signer = by.certificatePem === undefined ? ["-selfsign"] : ["-cert", "ca"];
    const dates = ["-startdate", stamp(validity.from), "-enddate", stamp(validity.to)];
    const files = ["-config", "config", "-in", "request", "-out", "certificate", "-notext", "-batch"];
    await openssl(folder, by.keyPem, ["ca", ...files, ...signer, ...dates, "-keyfile", KEY]);
    const certificatePem = readFileSync(join(folder, "certificate"), "utf8");
    return { certificatePem, serial: BigInt(`0x${serial.toString("hex")}`).toString() };
  });
}

/** The provider's names for the fields of a subject, and X.509's. */
export const FIELDS: Readonly<Record<string, string>> = {
  country: "C",
  province: "ST",
  locality: "L",
  streetAddresses: "street",
  postalCode: "postalCode",
  organization: "O",
  organizationalUnit: "OU",
  commonName: "CN",
  serialNumber: "serialNumber",
};

const KEY = "/dev/stdin";

/** @throws Error with what openssl says, which names no key. */
async function openssl(folder: string, keyPem: string, args: readonly string[]): Promise<string> {
  // Node's own pipe is a socket, which cannot be opened as /dev/stdin; that of a shell can.
  const { code, stdout, stderr } = await execute(["sh", "-c", 'cat | openssl "$@"', "sh", ...args], {
    stdin: keyPem,
    cwd: folder,
    env: process.env,
  });
  if (code !== 0)
    throw new Error(`openssl ${args[0]} ended with ${code}: ${stderr.trim()}. Is openssl 1.1 or newer installed?`);
  return stdout;
}

/** With a folder for what is no secret: requests, certificates, configuration. */
async function inFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), "wmtp-tls-"));
  try {
    return await work(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** 20260102030405Z, to the second. */
function stamp(date: Date): string {
  return `${date.toISOString().replace(/\.\d+Z$|[-:T]/g, "")}Z`;
}
