/** Where secrets may be, and how strong those are that the stack makes. */
import { unpacked } from "./packed-text.ts";
import type { Policy, Verdict } from "./policy.ts";
import { namesSecret, secretIn } from "./secret-patterns.ts";
import {
  at,
  between,
  demand,
  hasUnknown,
  is,
  isObject,
  isText,
  list,
  notLiteral,
  texts,
  UNKNOWN,
  type Value,
} from "./values.ts";

const INSTANCE = "aws:ec2/instance:Instance";
const TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate";
const RUN = "launcher:index:Run";
const remedy =
  "Take it out and make it invalid where it came from: it is in the state. Secrets go through secret config keys and are read by role";

const USER_DATA = ["userData", "userDataBase64"] as const;

const userData: Policy = {
  id: "secret-in-user-data",
  demands: "User data holds no secret, packed or not, and nothing that cannot be read",
  severity: "critical",
  controls: ["CIS AWS 3.0: 1.18", "CIS AWS 5.0: 1.17", "cdk-nag ECS2", "checkov CKV_AWS_46"],
  remedy,
  types: [INSTANCE, TEMPLATE],
  eachOf(resource, verdict) {
    for (const property of USER_DATA) {
      const data = at(resource.props, property);
      if (data === UNKNOWN) verdict.undecided(property);
      else if (data !== undefined) lookIn(property, data, verdict);
    }
  },
};

function lookIn(property: string, data: Value, verdict: Verdict): void {
  const all = isText(data) ? unpacked(data) : undefined;
  const kind = all?.map(secretIn).find((found) => found !== undefined);
  if (all === undefined) verdict.violated(`${property} holds something packed that cannot be read`);
  else if (kind !== undefined) verdict.violated(`${property} holds what looks like ${kind}`);
}

/** A key of a map may be a secret itself. */
const shown = (path: string) =>
  path
    .split(".")
    .map((key) => (secretIn(key) === undefined ? key : "(a key)"))
    .join(".");

/** Names of the organization's secrets, which the launcher looks up. */
const SECRET_NAME = /^WMTP_[A-Z0-9_]{1,128}$/;
/** The document of a submission says again what the other inputs say. */
const DERIVED = ["submission", "trains"];

const runs: Policy = {
  id: "secret-in-run",
  demands: "A run's spec names its secrets and holds none: not in variables, trainer config, tags or commands",
  severity: "critical",
  controls: ["cdk-nag ECS2", "checkov CKV_AWS_45", "checkov CKV_SECRET_2, 6"],
  remedy: `${remedy}; a run names the organization's secret`,
  types: [RUN],
  eachOf({ props }, verdict) {
    const { cloud, ...rest } = Object.fromEntries(Object.entries(props).filter(([key]) => !DERIVED.includes(key)));
    const { secrets, env, ...others } = isObject(cloud) ? cloud : {};
    for (const [path, text] of texts({ ...rest, cloud: { ...others, env } })) {
      const kind = secretIn(text);
      if (kind !== undefined) verdict.violated(`${shown(path)} holds what looks like ${kind}`);
    }
    for (const [name, value] of isObject(env) ? Object.entries(env) : [])
      if (namesSecret(name) && value !== "" && value !== undefined)
        verdict.violated(`${name} is a plain variable, and by its name a secret`);
    if (cloud === UNKNOWN || secrets === UNKNOWN) verdict.violated(notLiteral("cloud.secrets"));
    for (const [name, value] of isObject(secrets) ? Object.entries(secrets) : [])
      if (!isText(value) || !SECRET_NAME.test(value))
        verdict.violated(`cloud.secrets.${name} is no name of an organization's secret`);
  },
};

/** Made to hold a secret, and encrypted in the state. */
const FOR_SECRETS: Readonly<Record<string, readonly string[] | "all">> = {
  [INSTANCE]: USER_DATA,
  [TEMPLATE]: USER_DATA,
  [RUN]: "all",
  "aws:secretsmanager/secretVersion:SecretVersion": ["secretString", "secretBinary"],
  "launcher:index:OrgSecret": ["value"],
  "docker:index/image:Image": ["registry"],
};
const FOR_SECRETS_ALL = /^(random|tls):|^pulumi:providers:/;
/** Maps whose keys are names that somebody chose for what is in them. */
const NAMED = ["environment", "env", "build.args", "tags"];

const inputs: Policy = {
  id: "secret-in-input",
  demands: "No input holds a secret, but for those made to hold one: commands, build arguments, tags, components",
  severity: "critical",
  controls: ["checkov CKV_AWS_45", "checkov CKV_SECRET_2, 6"],
  remedy,
  types: "every",
  eachOf({ type, props }, verdict) {
    const exempt = FOR_SECRETS[type] ?? [];
    if (exempt === "all" || FOR_SECRETS_ALL.test(type)) return;
    const own = Object.fromEntries(Object.entries(props).filter(([key]) => !exempt.includes(key)));
    for (const [path, text] of texts(own)) {
      const kind = secretIn(text);
      if (kind !== undefined) verdict.violated(`${shown(path)} holds what looks like ${kind}`);
    }
    for (const path of NAMED) {
      const named = at(own, path);
      for (const [name, value] of isObject(named) ? Object.entries(named) : [])
        if (namesSecret(name) && isText(value))
          verdict.violated(`${path}.${name} is a literal, and by its name a secret`);
    }
  },
};

const recoverable: Policy = {
  id: "secret-recoverable",
  demands: "A destroyed secret can be brought back for a week at least, unless the stack is ephemeral",
  severity: "medium",
  controls: [],
  remedy: "Set recoveryWindowInDays to 7 or more, up to 30",
  types: ["aws:secretsmanager/secret:Secret"],
  eachOf(resource, verdict, { ephemeral }) {
    if (!ephemeral) demand(verdict, resource, "recoveryWindowInDays", between(7, 30), "is not 7 to 30");
  },
};

const SHORTEST_PASSWORD = 24;

const passwords: Policy = {
  id: "password-strength",
  demands: `Passwords that the stack makes have ${SHORTEST_PASSWORD} characters at least, of letters of both cases and digits`,
  severity: "high",
  controls: ["CIS AWS 3.0: 1.8", "checkov CKV_AWS_9, 10"],
  remedy: `Set length to ${SHORTEST_PASSWORD} or more, and leave lower, upper and numeric out`,
  types: ["random:index/randomPassword:RandomPassword", "random:index/randomString:RandomString"],
  eachOf(resource, verdict) {
    demand(verdict, resource, "length", between(SHORTEST_PASSWORD, 4096), `is less than ${SHORTEST_PASSWORD}`);
    for (const kind of ["lower", "upper", "numeric"])
      demand(verdict, resource, kind, (wanted) => wanted !== false, "is false");
    // Whatever it is compared with, it could be found by trying.
    demand(
      verdict,
      resource,
      "overrideSpecial",
      (characters) => characters === undefined || isText(characters),
      "is empty",
    );
  },
};

const keys: Policy = {
  id: "key-strength",
  demands: "Private keys are of ECDSA P256 or larger, Ed25519, or RSA of 3072 bits",
  severity: "high",
  controls: ["FSBP ACM.2"],
  remedy: "Set algorithm ECDSA with ecdsaCurve P256, P384 or P521",
  types: ["tls:index/privateKey:PrivateKey"],
  eachOf(resource, verdict) {
    const [algorithm, curve, bits] = ["algorithm", "ecdsaCurve", "rsaBits"].map((key) => at(resource.props, key));
    if (hasUnknown([algorithm, curve, bits])) return verdict.violated(notLiteral("algorithm"));
    const fine =
      algorithm === "ED25519" ||
      (algorithm === "ECDSA" && ["P256", "P384", "P521"].some((strong) => strong === curve)) ||
      (algorithm === "RSA" && between(3072, 16_384)(bits));
    if (!fine) verdict.violated("its algorithm, curve or size is weak, or not said");
  },
};

const SIGNED = "tls:index/locallySignedCert:LocallySignedCert";
const AUTHORITY = "tls:index/selfSignedCert:SelfSignedCert";
/** What browsers take, and ten years of a CA that signs nothing else. */
const LONGEST_HOURS = { [SIGNED]: 398 * 24, [AUTHORITY]: 10 * 365 * 24 } as const;
const USES: Readonly<Record<string, readonly string[]>> = {
  [SIGNED]: ["digital_signature", "key_encipherment", "server_auth"],
  [AUTHORITY]: ["cert_signing", "crl_signing"],
};

const certificates: Policy = {
  id: "certificate-bounded",
  demands:
    "A certificate is for its one use, for 398 days at most, and renewed before; a CA signs, and lives ten years at most",
  severity: "medium",
  controls: ["FSBP ACM.1"],
  remedy: "Set allowedUses, validityPeriodHours and earlyRenewalHours as components/host-credentials.ts does",
  types: [SIGNED, AUTHORITY],
  eachOf(resource, verdict) {
    const { type } = resource;
    const longest = LONGEST_HOURS[type as keyof typeof LONGEST_HOURS];
    demand(verdict, resource, "validityPeriodHours", between(1, longest), `is not 1 to ${longest}`);
    const uses = (named: Value) =>
      list(named).length > 0 && list(named).every((use) => USES[type]?.some((fine) => fine === use));
    demand(verdict, resource, "allowedUses", uses, `is not of ${USES[type]?.join(", ")} alone`);
    if (type === AUTHORITY) return demand(verdict, resource, "isCaCertificate", is(true), "is not true");
    demand(verdict, resource, "isCaCertificate", (ca) => ca === undefined || ca === false, "lets it sign others");
    demand(
      verdict,
      resource,
      "earlyRenewalHours",
      between(24, longest),
      "is less than a day, or not said: it would expire unseen",
    );
  },
};

export const secrets: readonly Policy[] = [userData, runs, inputs, recoverable, passwords, keys, certificates];
