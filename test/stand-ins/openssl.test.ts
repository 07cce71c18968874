import { generateKeyPairSync, X509Certificate } from "node:crypto";
import { makeRequest, sign } from "../../tools/stand-ins/tls/openssl.ts";

const keyPem = generateKeyPairSync("ec", { namedCurve: "prime256v1" })
  .privateKey.export({ format: "pem", type: "sec1" })
  .toString();
const validity = { from: new Date("2026-01-02T03:04:05Z"), to: new Date("2026-01-02T05:04:05Z") };
const names = {
  subject: [["CN", "a/b=c, d"]],
  dnsNames: ["a.example"],
  ipAddresses: ["203.0.113.10", "2001:db8::1"],
  uris: [],
};

test("a certificate has the names of its request, its validity to the second, and a serial number of its own", async () => {
  const request = await makeRequest(names as never, keyPem);
  const { certificatePem, serial } = await sign(request, { keyPem }, validity, [
    "basicConstraints = critical, CA:TRUE",
  ]);
  const certificate = new X509Certificate(certificatePem);
  expect(certificate.subject).toBe("CN=a/b=c\\, d");
  expect(certificate.issuer).toBe(certificate.subject);
  expect(certificate.ca).toBe(true);
  expect(certificate.subjectAltName).toBe("DNS:a.example, IP Address:203.0.113.10, IP Address:2001:DB8:0:0:0:0:0:1");
  expect(certificate.validFromDate).toEqual(validity.from);
  expect(certificate.validToDate).toEqual(validity.to);
  expect(BigInt(`0x${certificate.serialNumber}`).toString()).toBe(serial);
  expect(certificate.verify(certificate.publicKey)).toBe(true);
});

test("what is no key is refused, and openssl's words are the reason", async () => {
  await expect(makeRequest(names as never, "no key at all")).rejects.toThrow(/^openssl req ended with 1: /);
});
