/** What it takes to break the policies on secrets. */
import { type Cases, host, run, set } from "./breaking.ts";

export const secrets = {
  "secret-in-user-data": [
    [
      "a password",
      host("userData", "#!/bin/sh\nexport PGPASSWORD=mlflow-password\n"),
      ["secret-in-user-data: tracker"],
      "userData holds what looks like a literal value of password",
    ],
    [
      "an access key in base64",
      host("userDataBase64", Buffer.from(`${"# a comment\n".repeat(20)}AKIAIOSFODNN7EXAMPLE`).toString("base64")),
      ["secret-in-user-data: tracker"],
      "userDataBase64 holds what looks like an access key of AWS",
    ],
    [
      "what nobody can read",
      host("userData", "\u00a7x9K".repeat(80).replaceAll("\u00a7", "~")),
      ["secret-in-user-data: tracker"],
      "userData holds something packed that cannot be read",
    ],
  ],
  "secret-in-run": [
    [
      "a variable",
      run("cloud.env.HF_TOKEN", "abc"),
      ["secret-in-run: baseline"],
      "HF_TOKEN is a plain variable, and by its name a secret",
    ],
    [
      "a token in the config",
      run("trainerConfig.models.tokenizer", `hf_${"aB3".repeat(12)}`),
      ["secret-in-run: baseline"],
      "trainerConfig.models.tokenizer holds what looks like a token of Hugging Face",
    ],
    [
      "a secret in place of its name",
      run("cloud.secrets.HF_TOKEN", "the token itself"),
      ["secret-in-run: baseline"],
      "cloud.secrets.HF_TOKEN is no name of an organization's secret",
    ],
  ],
  "secret-in-input": [
    [
      "a command",
      (find) => set(find("command:local:Command"), "create", "psql postgresql://mlflow:mlflow@localhost/db"),
      ["secret-in-input: tracker"],
      "create holds what looks like a password in an address",
    ],
    [
      "a build argument",
      (find) => set(find("docker:index/image:Image"), "build.args.HF_TOKEN", "abc"),
      ["secret-in-input: image"],
      "build.args.HF_TOKEN is a literal, and by its name a secret",
    ],
  ],
  "secret-recoverable": [
    [
      "at once",
      (find) => set(find("aws:secretsmanager/secret:Secret"), "recoveryWindowInDays", 0),
      ["secret-recoverable: tracker"],
      "recoveryWindowInDays is not 7 to 30",
    ],
  ],
  "password-strength": [
    [
      "short",
      (find) => set(find("random:index/randomPassword:RandomPassword", "tracker-runs"), "length", 8),
      ["password-strength: tracker-runs"],
      "length is less than 24",
    ],
  ],
  "key-strength": [
    [
      "RSA of 1024",
      (find) => set(find("tls:index/privateKey:PrivateKey", "tracker-ca"), "algorithm", "RSA"),
      ["key-strength: tracker-ca"],
      "its algorithm, curve or size is weak, or not said",
    ],
  ],
  "certificate-bounded": [
    [
      "ten years",
      (find) => set(find("tls:index/locallySignedCert:LocallySignedCert"), "validityPeriodHours", 87_600),
      ["certificate-bounded: tracker"],
      "validityPeriodHours is not 1 to 9552",
    ],
  ],
} satisfies Cases;
