/** Stand-in for the tls provider: makes real keys and certificates. Entry point of its process. */
import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import type { ResourceType } from "./package.ts";
import { serve } from "./server.ts";
import { FIELDS, makeRequest, type Names, type Signer, sign } from "./tls/openssl.ts";
import type { Properties } from "./wire.ts";

const HOUR_MS = 3_600_000;

/** As certificates name what the provider calls `cert_signing`. */
const KEY_USES: Readonly<Record<string, string>> = {
  cert_signing: "keyCertSign",
  content_commitment: "nonRepudiation",
  crl_signing: "cRLSign",
  data_encipherment: "dataEncipherment",
  decipher_only: "decipherOnly",
  digital_signature: "digitalSignature",
  encipher_only: "encipherOnly",
  key_agreement: "keyAgreement",
  key_encipherment: "keyEncipherment",
};
const EXTENDED_USES: Readonly<Record<string, string>> = {
  any_extended: "anyExtendedKeyUsage",
  client_auth: "clientAuth",
  code_signing: "codeSigning",
  email_protection: "emailProtection",
  ocsp_signing: "OCSPSigning",
  server_auth: "serverAuth",
  timestamping: "timeStamping",
};
const CURVES: Readonly<Record<string, string>> = {
  P224: "secp224r1",
  P256: "prime256v1",
  P384: "secp384r1",
  P521: "secp521r1",
};

function generateKey(inputs: Properties): KeyObject {
  switch (inputs.algorithm) {
    case "RSA":
      return generateKeyPairSync("rsa", { modulusLength: Number(inputs.rsaBits ?? 2048) }).privateKey;
    case "ECDSA":
      return generateKeyPairSync("ec", { namedCurve: CURVES[String(inputs.ecdsaCurve ?? "P224")] as string })
        .privateKey;
    case "ED25519":
      return generateKeyPairSync("ed25519").privateKey;
    default:
      throw new Error(`there is no key algorithm ${inputs.algorithm}: choose RSA, ECDSA or ED25519`);
  }
}

function pem(key: KeyObject, type: "pkcs1" | "sec1" | "pkcs8"): string {
  return key.export({ format: "pem", type } as { format: "pem"; type: "pkcs8" }) as string;
}

/** OpenSSH's forms and the fingerprints, which the real one has too, are left out: nobody here reads them. */
function keyOutputs(key: KeyObject): Properties {
  const own = { rsa: "pkcs1", ec: "sec1" } as const;
  return {
    privateKeyPem: pem(key, own[key.asymmetricKeyType as "rsa" | "ec"] ?? "pkcs8"),
    privateKeyPemPkcs8: pem(key, "pkcs8"),
    publicKeyPem: createPublicKey(key).export({ format: "pem", type: "spki" }),
  };
}

function algorithm(keyPem: unknown): string {
  const type = createPrivateKey(String(keyPem)).asymmetricKeyType;
  return type === "ec" ? "ECDSA" : String(type).toUpperCase();
}

function names(inputs: Properties): Names {
  const subject = (inputs.subject ?? {}) as Properties;
  const list = (property: string) => (inputs[property] ?? []) as string[];
  return {
    subject: Object.entries(FIELDS).flatMap(([property, field]) =>
      [subject[property] ?? []].flat().map((value) => [field, String(value)] as const),
    ),
    dnsNames: list("dnsNames"),
    ipAddresses: list("ipAddresses"),
    uris: list("uris"),
  };
}

function extensions(inputs: Properties, isSelfSigned: boolean): string[] {
  const uses = (inputs.allowedUses ?? []) as string[];
  const unknown = uses.filter((use) => KEY_USES[use] === undefined && EXTENDED_USES[use] === undefined);
  if (unknown.length > 0) throw new Error(`the stand-in for tls knows no use ${unknown.join(", ")}`);
  const isCa = inputs.isCaCertificate === true;
  const path = isCa && Number(inputs.maxPathLength ?? -1) >= 0 ? `, pathlen:${inputs.maxPathLength}` : "";
  const line = (name: string, values: (string | undefined)[]) => {
    const set = values.filter((value) => value !== undefined);
    return set.length > 0 ? [`${name} = ${set.join(", ")}`] : [];
  };
  return [
    `basicConstraints = critical, CA:${isCa ? "TRUE" : "FALSE"}${path}`,
    ...(uses.some((use) => KEY_USES[use]) ? line("keyUsage", ["critical", ...uses.map((use) => KEY_USES[use])]) : []),
    ...line(
      "extendedKeyUsage",
      uses.map((use) => EXTENDED_USES[use]),
    ),
    ...(isCa || inputs.setSubjectKeyId === true ? ["subjectKeyIdentifier = hash"] : []),
    ...(isSelfSigned && inputs.setAuthorityKeyId !== true ? [] : ["authorityKeyIdentifier = keyid"]),
  ];
}

async function certify(request: string, by: Signer, inputs: Properties): Promise<{ id: string; outputs: Properties }> {
  const from = new Date(Math.floor(Date.now() / 1000) * 1000);
  const validity = { from, to: new Date(from.getTime() + Number(inputs.validityPeriodHours) * HOUR_MS) };
  const { certificatePem, serial } = await sign(
    request,
    by,
    validity,
    extensions(inputs, by.certificatePem === undefined),
  );
  const outputs = {
    certPem: certificatePem,
    readyForRenewal: false,
    validityStartTime: validity.from.toISOString(),
    validityEndTime: validity.to.toISOString(),
  };
  return { id: serial, outputs };
}

/** From `earlyRenewalHours` before its end, the next `up` makes a certificate anew. */
const certificate: Omit<ResourceType, "create"> = {
  replaces: "all",
  mustReplace: (changed) => changed.filter((property) => property !== "earlyRenewalHours"),
  isDue: (old, inputs) =>
    Date.now() >= Date.parse(String(old.validityEndTime)) - Number(inputs.earlyRenewalHours ?? 0) * HOUR_MS,
};

const types: Readonly<Record<string, ResourceType>> = {
  "tls:index/privateKey:PrivateKey": {
    replaces: "all",
    secretOutputs: ["privateKeyPem", "privateKeyPemPkcs8"],
    create: async (inputs) => {
      const outputs = keyOutputs(generateKey(inputs));
      return { id: createHash("sha1").update(String(outputs.publicKeyPem)).digest("hex"), outputs };
    },
  },
  "tls:index/certRequest:CertRequest": {
    replaces: "all",
    create: async (inputs) => {
      const certRequestPem = await makeRequest(names(inputs), String(inputs.privateKeyPem));
      const id = createHash("sha1").update(certRequestPem).digest("hex");
      return { id, outputs: { certRequestPem, keyAlgorithm: algorithm(inputs.privateKeyPem) } };
    },
  },
  "tls:index/selfSignedCert:SelfSignedCert": {
    ...certificate,
    create: async (inputs) => {
      const keyPem = String(inputs.privateKeyPem);
      const { id, outputs } = await certify(await makeRequest(names(inputs), keyPem), { keyPem }, inputs);
      return { id, outputs: { ...outputs, keyAlgorithm: algorithm(keyPem) } };
    },
  },
  "tls:index/locallySignedCert:LocallySignedCert": {
    ...certificate,
    create: async (inputs) => {
      const signer = { keyPem: String(inputs.caPrivateKeyPem), certificatePem: String(inputs.caCertPem) };
      const { id, outputs } = await certify(String(inputs.certRequestPem), signer, inputs);
      return { id, outputs: { ...outputs, caKeyAlgorithm: algorithm(signer.keyPem) } };
    },
  },
};

await serve({ name: "tls", version: "5.6.1", types, functions: {} });
