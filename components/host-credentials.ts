import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import * as random from "@pulumi/random";
import * as tls from "@pulumi/tls";
import type { HostSecrets } from "./mlflow-host/user-data.ts";
import { type Transform, transform } from "./transform.ts";

export interface HostCredentialsArgs {
  /** What the certificate is about; undefined where Let's Encrypt gives one. */
  readonly address: pulumi.Output<string> | undefined;
  /** A password of one's own for the tracker's admin; made here by default. */
  readonly adminPassword?: pulumi.Output<string> | undefined;
  /** A destroyed secret can be brought back for thirty days, unless ephemeral. @default false */
  readonly ephemeral?: boolean;
  readonly transform?: { readonly secret?: Transform<aws.secretsmanager.SecretArgs> } | undefined;
}

const DAY_HOURS = 24;
const CA_HOURS = 10 * 365 * DAY_HOURS;
const CERTIFICATE_HOURS = 397 * DAY_HOURS;
/** The first `pulumi up` in the last ninety days of a certificate makes a new one; the host fetches it by itself. */
const RENEWAL_HOURS = 90 * DAY_HOURS;

/**
 * What the tracker's host must know and nobody else may: passwords, MLflow's session key, the key of its certificate. All of it is in
 * one secret of Secrets Manager, which the host reads with its role, at boot and every quarter of an hour; so none of it is in the
 * host's user data, and a change of it replaces nothing.
 *
 * ### Cost
 * One secret: 0.40 USD a month.
 */
export class HostCredentials extends pulumi.ComponentResource {
  readonly secretArn: pulumi.Output<string>;
  /** PEM of the stack's own CA; undefined where everybody's CAs do. */
  readonly caCertificate: pulumi.Output<string> | undefined;
  /** Secret. */
  readonly adminPassword: pulumi.Output<string>;
  /** Secret; of the user the training runs log in as. */
  readonly runsPassword: pulumi.Output<string>;

  constructor(name: string, args: HostCredentialsArgs, opts?: pulumi.ComponentResourceOptions) {
    const { address, ephemeral = false } = args;
    super("wmtp:index:HostCredentials", name, {}, opts);
    const own = { parent: this };
    const password = (of: string) =>
      new random.RandomPassword(`${name}-${of}`, { length: 32, special: false }, own).result;
    this.adminPassword = args.adminPassword ?? password("admin");
    this.runsPassword = password("runs");
    const certificate = address === undefined ? undefined : this.makeCertificate(name, address);
    this.caCertificate = certificate?.ca;
    const secret = new aws.secretsmanager.Secret(
      ...transform(
        args.transform?.secret,
        name,
        { description: "What the tracker's host reads at boot", recoveryWindowInDays: ephemeral ? 0 : 30 },
        own,
      ),
    );
    const content: pulumi.Output<HostSecrets> = pulumi.output({
      adminPassword: this.adminPassword,
      runsPassword: this.runsPassword,
      flaskSecretKey: password("session-key"),
      ...(certificate && { tlsCertificate: certificate.chain, tlsPrivateKey: certificate.privateKey }),
    });
    new aws.secretsmanager.SecretVersion(
      name,
      { secretId: secret.arn, secretString: pulumi.secret(pulumi.jsonStringify(content)) },
      own,
    );
    // Not the version's: that one is replaced by a new password, and the host must not be.
    this.secretArn = secret.arn;
    this.registerOutputs({ secretArn: this.secretArn });
  }

  /** A certificate for `address`, signed by a CA that is made for this stack alone and signs nothing else. */
  private makeCertificate(name: string, address: pulumi.Output<string>) {
    const own = { parent: this };
    const key = (of: string) =>
      new tls.PrivateKey(`${name}-${of}`, { algorithm: "ECDSA", ecdsaCurve: "P256" }, own).privateKeyPem;
    const caKey = key("ca");
    const ca = new tls.SelfSignedCert(
      `${name}-ca`,
      {
        privateKeyPem: caKey,
        isCaCertificate: true,
        subject: { commonName: `wmtp ${pulumi.getStack()} CA` },
        allowedUses: ["cert_signing", "crl_signing"],
        validityPeriodHours: CA_HOURS,
        setSubjectKeyId: true,
      },
      own,
    ).certPem;
    const privateKey = key("server");
    const request = new tls.CertRequest(
      name,
      { privateKeyPem: privateKey, subject: { commonName: address }, ipAddresses: [address] },
      own,
    );
    const certificate = new tls.LocallySignedCert(
      name,
      {
        certRequestPem: request.certRequestPem,
        caPrivateKeyPem: caKey,
        caCertPem: ca,
        allowedUses: ["digital_signature", "server_auth"],
        validityPeriodHours: CERTIFICATE_HOURS,
        earlyRenewalHours: RENEWAL_HOURS,
        setSubjectKeyId: true,
      },
      own,
    );
    return { ca, chain: certificate.certPem, privateKey };
  }
}
