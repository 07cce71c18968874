/** The stand-ins for aws, tls, random and command under the real engine. */
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { connect, createServer } from "node:tls";
import { SmallStack } from "../stand-ins/small-stack.ts";

jest.setTimeout(120_000);

const PLANTED = "planted-in-a-test-0123456789";
let small: SmallStack;
afterEach(() => small.dispose());

/** What the engine sums up in the end: `+ 3 created`, `15 unchanged`. */
function summary(text: string): string[] {
  return [...text.matchAll(/^ {4}[-+~ ]*(\d+ (?:created|updated|replaced|deleted|unchanged|to \w+))$/gm)].map(
    (match) => match[1] as string,
  );
}

/** Whether a client that knows this CA alone gets through to a server with this certificate. */
async function handshake(ca: string, cert: string, key: string): Promise<boolean> {
  const server = createServer({ cert, key }, (socket) => socket.end());
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  try {
    return await new Promise((resolve) => {
      const client = connect({ host: "127.0.0.1", port, ca }, () => resolve(client.authorized));
      client.on("error", () => resolve(false));
    });
  } finally {
    server.close();
  }
}

const PROGRAM = `
  const planted = pulumi.secret(process.env.PLANTED);
  const bucket = new aws.s3.Bucket("store", { tags: { of: "us" } });
  new aws.s3.BucketVersioning("versions", { bucket: bucket.bucket, versioningConfiguration: { status: "Enabled" } });
  const address = new aws.ec2.Eip("address", { domain: "vpc" });
  const accessKey = new aws.iam.AccessKey("access", { user: new aws.iam.User("runs").name });
  const password = new random.RandomPassword("password", { length: 24, special: false, minNumeric: 3 });
  new aws.secretsmanager.SecretVersion("value", {
    secretId: new aws.secretsmanager.Secret("secret").id,
    secretString: pulumi.jsonStringify({ password: password.result, planted }),
  });
  const caKey = new tls.PrivateKey("ca-key", { algorithm: "ECDSA", ecdsaCurve: "P256" });
  const ca = new tls.SelfSignedCert("ca", {
    privateKeyPem: caKey.privateKeyPem, isCaCertificate: true, validityPeriodHours: 100,
    allowedUses: ["cert_signing", "crl_signing"], subject: { commonName: "CA / of a = test", organization: "wmtp" },
  });
  const key = new tls.PrivateKey("key", { algorithm: "RSA", rsaBits: 2048 });
  const request = new tls.CertRequest("request", {
    privateKeyPem: key.privateKeyPem, subject: { commonName: "host" }, ipAddresses: [address.publicIp, "127.0.0.1"],
  });
  const host = new tls.LocallySignedCert("host", {
    certRequestPem: request.certRequestPem, caPrivateKeyPem: caKey.privateKeyPem, caCertPem: ca.certPem,
    validityPeriodHours: 10, earlyRenewalHours: Number(process.env.EARLY), allowedUses: ["digital_signature", "server_auth"],
  });
  const greet = new command.local.Command("greet", {
    create: "cat; echo hello $WORD; echo oops $WORD >&2", stdin: "in ", environment: { WORD: planted },
  });
  Object.assign(exports, {
    ip: address.publicIp, ca: ca.certPem, cert: host.certPem, key: key.privateKeyPem, said: greet.stdout,
    password: password.result, access: accessKey.secret, arn: bucket.arn, region: aws.getRegionOutput().region,
  });
`;

test("a stack of every package, from a preview to nothing: real keys, nothing to do again, no secret in clear", async () => {
  small = new SmallStack({ PLANTED, EARLY: "2" });
  small.program(PROGRAM);
  const texts = [small.mustRun("preview", "--diff")];
  expect(summary(texts[0] as string)).toEqual(["15 to create"]);
  texts.push(small.mustUp());
  expect(summary(texts[1] as string)).toEqual(["15 created"]);

  const outputs = small.outputs();
  const bucket = small.resources().store?.outputs;
  expect(bucket?.bucket).toMatch(/^store-[0-9a-f]{7}$/);
  expect(bucket).toMatchObject({
    arn: outputs.arn,
    bucketRegionalDomainName: `${bucket?.bucket}.s3.eu-north-1.amazonaws.com`,
    tagsAll: { of: "us" },
  });
  expect(outputs).toMatchObject({ ip: "203.0.113.10", said: `in hello ${PLANTED}`, region: "eu-north-1" });
  expect(outputs.password).toMatch(/^[0-9A-Za-z]{24}$/);
  const { ca, cert, key } = outputs as { ca: string; cert: string; key: string };
  expect(await handshake(ca, cert, key)).toBe(true);
  expect(await handshake(cert, cert, key)).toBe(false);

  texts.push(small.mustUp());
  expect(summary(texts[2] as string)).toEqual(["15 unchanged"]);
  texts.push(small.mustRun("refresh", "--yes", "--skip-preview"));
  expect(summary(texts[3] as string)).toEqual(["15 unchanged"]);

  // Ten hours of validity, and eleven hours before its end a certificate shall be made anew.
  small.env.EARLY = "11";
  texts.push(small.mustUp());
  expect(summary(texts[4] as string)).toEqual(["1 replaced", "14 unchanged"]);
  expect(small.outputs().cert).not.toBe(cert);
  expect(small.outputs().ca).toBe(ca);

  texts.push(small.mustRun("destroy", "--yes", "--skip-preview"));
  expect(summary(texts[5] as string)).toEqual(["15 deleted"]);

  const seen = texts.join("\n") + small.written();
  const middleOfKey = key.split("\n")[5] as string;
  for (const word of [PLANTED, outputs.password, outputs.access, middleOfKey]) expect(seen).not.toContain(word);
});

test("differences: an update, a new resource, and a new one only after the old one where they would share a name", () => {
  small = new SmallStack();
  const program = (userData: string, role: string, tag: string) => `
    const host = new aws.ec2.Instance("host", { ami: "ami-1", instanceType: "t3.small", userDataReplaceOnChange: true,
      userData: ${JSON.stringify(userData)} });
    new aws.ec2.VolumeAttachment("attached", { deviceName: "/dev/sdf", volumeId: "vol-1", instanceId: host.id });
    new aws.iam.Role("role", { name: "fixed", path: ${JSON.stringify(role)}, assumeRolePolicy: "{}" });
    new aws.ec2.Vpc("net", { cidrBlock: "10.0.0.0/16", tags: { a: ${JSON.stringify(tag)} } });
  `;
  small.program(program("one", "/a/", "x"));
  small.mustUp();
  const before = small.resources();
  small.program(program("two", "/b/", "y"));
  const preview = small.mustRun("preview", "--diff");
  expect(preview).toMatch(/userData\s*: "one" => "two"/);
  expect(summary(preview)).toEqual(["1 to update", "3 to replace"]);
  const text = small.mustUp();
  expect(summary(text)).toEqual(["1 updated", "3 replaced"]);
  expect(text.indexOf("iam:Role role deleted")).toBeLessThan(text.indexOf("iam:Role role created"));

  const after = small.resources();
  expect(after.host?.id).not.toBe(before.host?.id);
  expect(after.attached?.inputs.instanceId).toBe(after.host?.id);
  expect(after.net).toMatchObject({ id: before.net?.id, outputs: { tagsAll: { a: "y" } } });
});

test("what AWS would refuse, and what no stand-in has, is an error that says so", () => {
  small = new SmallStack({ PLANTED });
  small.program(`
    new aws.s3.Bucket("first", { bucket: "the-same" });
    new aws.s3.Bucket("second", { bucket: "the-same" });
    new command.local.Command("broken", { create: "echo bad luck with $WORD >&2; exit 3",
      environment: { WORD: pulumi.secret(process.env.PLANTED) } });
  `);
  const { code, text } = small.pulumi("up", "--yes", "--skip-preview", "--continue-on-error");
  expect(code).not.toBe(0);
  expect(text).toContain("aws:s3/bucket:Bucket the-same exists already");
  expect(text).toMatch(/the command ended with 3:\n *bad luck with \[secret\]/);
  expect(text + small.written()).not.toContain(PLANTED);

  small.program('new aws.sqs.Queue("queue");');
  expect(small.pulumi("preview").text).toContain("the stand-in for aws has no aws:sqs/queue:Queue");
});

test("the hook sees what is made, changed and removed, secrets in clear; what it says becomes outputs, its failure the operation's", () => {
  small = new SmallStack({ PLANTED });
  const hook = join(small.root, "hook");
  const seen = join(small.root, "seen");
  writeFileSync(
    hook,
    `#!/bin/sh
read -r input
echo "$@ $input" >>${seen}
case "$1 $3" in
"create host") echo '{"publicIp": "127.0.0.9"}' ;;
"delete store") echo '{"objects": 2}' ;;
"create value") case $input in *${PLANTED}*) ;; *) echo "no secret" >&2; exit 1 ;; esac ;;
"update store") echo "refused: $input" >&2; exit 1 ;;
esac
`,
  );
  chmodSync(hook, 0o755);
  small.env.WMTP_STAND_IN_HOOK = hook;
  const program = (tag: string, policy = "") => `
    const host = new aws.ec2.Instance("host", { ami: "ami-1", instanceType: "t3.small", tags: { a: ${JSON.stringify(tag)} } });
    new aws.s3.Bucket("store", { policy: ${JSON.stringify(policy)}, tags: { secret: pulumi.secret(process.env.PLANTED) } });
    new aws.secretsmanager.SecretVersion("value", { secretId: "of", secretString: pulumi.secret(process.env.PLANTED) });
    exports.ip = host.publicIp;
  `;
  small.program(program("x"));
  small.mustUp();
  expect(small.outputs().ip).toBe("127.0.0.9");
  small.program(program("y"));
  expect(summary(small.mustUp())).toEqual(["1 updated", "3 unchanged"]);
  expect(small.outputs().ip).toBe("127.0.0.9"); // an update keeps what the hook said at first
  const calls = () =>
    readFileSync(seen, "utf8")
      .trim()
      .split("\n")
      .map((line) => line.split(" ").slice(0, 3).join(" "));
  expect(calls().sort()).toEqual([
    "create aws:ec2/instance:Instance host",
    "create aws:s3/bucket:Bucket store",
    "create aws:secretsmanager/secretVersion:SecretVersion value",
    "update aws:ec2/instance:Instance host",
  ]);

  small.program(program("y", "changed"));
  const refused = small.up();
  expect(refused.code).not.toBe(0);
  expect(refused.text).toContain('"secret":"[secret]"');

  const gone = small.pulumi("destroy", "--yes", "--skip-preview");
  expect(gone.code).not.toBe(0);
  expect(gone.text).toContain("BucketNotEmpty");
  expect(Object.keys(small.resources())).toContain("store");
  expect(refused.text + gone.text + small.written()).not.toContain(PLANTED);
});
