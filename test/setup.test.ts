// The scripts of tools/: what they print, what they refuse, and with which words.
import { execFileSync, spawnSync } from "node:child_process";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { completePlatforms } from "../tools/npm-lock.ts";
import { countJest, countJunit, settle } from "../tools/test-summary.ts";

const root = join(import.meta.dirname, "..");
let scratch: string;

beforeEach(() => {
  // A quote and spaces: nothing in a path may be taken for syntax.
  scratch = mkdtempSync(join(tmpdir(), "it's a path "));
});
afterEach(() => rmSync(scratch, { recursive: true, force: true }));

/** A project of nothing but the scripts, at a path with spaces. */
function bareProject(): string {
  const project = join(scratch, "the project");
  mkdirSync(project);
  cpSync(join(root, "Makefile"), join(project, "Makefile"));
  cpSync(join(root, "tools"), join(project, "tools"), { recursive: true });
  for (const file of [".npmrc", "package.json", "package-lock.json"]) cpSync(join(root, file), join(project, file));
  for (const folder of ["policy", "components"]) cpSync(join(root, folder), join(project, folder), { recursive: true });
  mkdirSync(join(project, "trainer"));
  for (const file of ["requirements-dev.lock", "tracker.lock"]) {
    cpSync(join(root, "trainer", file), join(project, "trainer", file));
  }
  return project;
}

/** A PATH that holds the machine's basic commands, and of the others only the scripts given here. */
function machineWith(commands: Record<string, string>): string {
  const bin = join(scratch, "bin");
  mkdirSync(bin);
  const basics = "bash cat cut dirname env grep head id mkdir mv paste rm sed sha256sum sleep tail tr uname date flock";
  for (const name of basics.split(" ")) {
    const found = spawnSync("bash", ["-c", `command -v ${name}`], { encoding: "utf8" }).stdout.trim();
    if (found) symlinkSync(found, join(bin, name));
  }
  for (const [name, script] of Object.entries(commands)) {
    writeFileSync(join(bin, name), `#!/bin/bash\n${script}\n`);
    chmodSync(join(bin, name), 0o755);
  }
  return bin;
}

const wholeMachine = {
  make: "",
  python3: 'if [ "$2" = "import ensurepip" ]; then exit 0; fi; echo "3.11 $0"',
  node: 'echo "20.1.0 $0"',
  npm: "",
  bwrap: "",
  setpriv: "",
  openssl: "",
  go: "echo go1.26.1",
};

function check(commands: Record<string, string>) {
  const result = spawnSync("bash", [join(bareProject(), "tools/setup"), "--check"], {
    encoding: "utf8",
    env: { PATH: machineWith(commands), HOME: scratch },
  });
  return { code: result.status, lines: result.stderr.trim().split("\n") };
}

describe("versions", () => {
  const atLeast = (have: string, want: string) =>
    spawnSync("bash", ["-c", '. tools/lib/common.sh; version_at_least "$1" "$2"', "-", have, want], { cwd: root })
      .status === 0;

  test.each([
    ["1.26.8", "1.26"],
    ["go1.26rc1", "1.26"],
    ["v3.220.0", "3.220"],
    ["v3.221.0-alpha.1+dirty", "3.220"],
    ["4", "3.220"],
    ["24.0.0", "24"],
  ])("%s is at least %s", (have, want) => expect(atLeast(have, want)).toBe(true));

  test.each([
    ["1.3", "1.26"],
    ["v3.219.9", "3.220"],
    ["3.220.0", "3.220.1"],
    ["20.20.2", "24"],
    ["0", "1.26"],
    ["", "3.220"],
  ])("%s is older than %s", (have, want) => expect(atLeast(have, want)).toBe(false));
});

describe("make env", () => {
  const plain = { PATH: "/usr/local/bin:/usr/bin:/bin", HOME: "/nowhere" };

  test("prints exports alone, and they survive eval in a path with spaces and a quote", () => {
    const project = bareProject();
    const printed = execFileSync("make", ["env"], { cwd: project, encoding: "utf8", env: plain });
    for (const line of printed.trim().split("\n")) expect(line).toMatch(/^export [A-Z_]+=/);

    const seen = execFileSync("bash", ["--norc", "-euc", 'eval "$(make env)"; env -0'], {
      cwd: project,
      encoding: "utf8",
      env: plain,
    });
    const variables = new Map(seen.split("\0").map((line) => line.split(/=(.*)/s) as [string, string]));
    expect(variables.get("PATH")).toBe(`${project}/.tools/bin:${project}/node_modules/.bin:${plain.PATH}`);
    expect(variables.get("PULUMI_BACKEND_URL")).toBe(`file://${project}/.wmtp/state`);
    expect(variables.get("PULUMI_HOME")).toBe(`${project}/.tools/pulumi-home`);
    expect(variables.get("PULUMI_CONTINUE_ON_ERROR")).toBe("true");
    expect(variables.get("PULUMI_OPTION_POLICY_PACK")).toBe(`${project}/.tools/policy`);
    const passphrase = variables.get("PULUMI_CONFIG_PASSPHRASE_FILE") ?? "";
    expect(statSync(passphrase).mode & 0o777).toBe(0o600);
    expect(readFileSync(passphrase, "utf8")).toMatch(/^[0-9a-f]{64}$/);
    expect(printed).not.toContain(readFileSync(passphrase, "utf8"));
  });

  test("keeps the passphrase that is there, and what the user has set", () => {
    const project = bareProject();
    const run = (more: Record<string, string>) =>
      execFileSync("tools/env", { cwd: project, encoding: "utf8", env: { ...plain, ...more } });
    run({});
    const first = readFileSync(join(project, ".wmtp/passphrase"), "utf8");
    run({});
    expect(readFileSync(join(project, ".wmtp/passphrase"), "utf8")).toBe(first);
    const own = run({
      PULUMI_BACKEND_URL: "s3://state",
      PULUMI_CONFIG_PASSPHRASE: "",
      PULUMI_PARALLEL: "4",
      PULUMI_OPTION_POLICY_PACK: "",
    });
    expect(own).not.toMatch(/BACKEND_URL|PASSPHRASE|POLICY_PACK/);
    const another = run({ PULUMI_OPTION_POLICY_PACK: "/elsewhere/.tools/policy" });
    expect(another).toContain("the project/.tools/policy'");
    expect(own).toContain("PULUMI_PARALLEL='4'");
  });

  test("a salt that cannot be ours is dropped from local stacks without secrets", () => {
    const project = bareProject();
    const local = "# ours\nencryptionsalt: v1:old\nconfig:\n  wmtp:launcher:\n    target: local\n";
    const cloud = "encryptionsalt: v1:old\nconfig:\n  wmtp:launcher:\n    target: vessl\n";
    const secret = `${local}  wmtp:hfToken:\n    secure: v1:x\n`;
    writeFileSync(join(project, "Pulumi.minitest.yaml"), local);
    writeFileSync(join(project, "Pulumi.prod.yaml"), cloud);
    writeFileSync(join(project, "Pulumi.own.yaml"), secret);
    execFileSync("tools/env", { cwd: project, env: plain });
    const read = (name: string) => readFileSync(join(project, name), "utf8");
    expect(read("Pulumi.minitest.yaml")).toBe(local.replace("encryptionsalt: v1:old\n", ""));
    expect(read("Pulumi.prod.yaml")).toBe(cloud);
    expect(read("Pulumi.own.yaml")).toBe(secret);

    // A salt that git does not know was written by a preview here.
    const git = (...args: string[]) =>
      execFileSync("git", ["-c", "user.name=t", "-c", "user.email=t@t", ...args], {
        cwd: project,
        env: plain,
        stdio: "ignore",
      });
    git("init");
    writeFileSync(join(project, "Pulumi.prod.yaml"), cloud.replace("encryptionsalt: v1:old\n", ""));
    git("add", "Pulumi.prod.yaml");
    git("commit", "-m", "a stack");
    writeFileSync(join(project, "Pulumi.prod.yaml"), cloud);
    execFileSync("tools/env", { cwd: project, env: plain });
    expect(read("Pulumi.prod.yaml")).not.toContain("encryptionsalt");

    // Once the stack has a state here, the salt is ours.
    const stacks = join(project, ".wmtp/state/.pulumi/stacks/wmtp");
    mkdirSync(stacks, { recursive: true });
    writeFileSync(join(stacks, "minitest.json"), "{}");
    writeFileSync(join(project, "Pulumi.minitest.yaml"), local);
    execFileSync("tools/env", { cwd: project, env: plain });
    expect(read("Pulumi.minitest.yaml")).toBe(local);
  });
});

test("no committed stack file of this machine carries a salt, which fits one checkout's passphrase alone", () => {
  const show = spawnSync("git", ["show", "HEAD:Pulumi.minitest.yaml"], { cwd: root, encoding: "utf8" });
  if (show.status === 0) expect(show.stdout).not.toContain("encryptionsalt");
});

describe("prerequisites", () => {
  test("a whole machine passes", () => {
    expect(check(wholeMachine)).toMatchObject({ code: 0 });
  });

  test.each([
    ["make", {}, "make (Debian: make; macOS: xcode-select --install)"],
    ["python3", {}, "Python 3.11 or 3.12 (Debian 12: python3"],
    ["python3", { python3: 'echo "3.9 $0"' }, "Python 3.11 or 3.12 (found only 3.9; "],
    ["python3", { python3: '[ "$2" != "import ensurepip" ] && echo "3.11 $0"' }, "python3-venv (this Python"],
    ["node", {}, "Node (Debian: nodejs; any version that runs npm will do"],
    ["npm", {}, "npm (Debian: npm)"],
    ["go", {}, "Go 1.26 or newer (it builds the Pulumi engine"],
    ["go", { go: "echo go1.19.8" }, "Go 1.26 or newer (found go1.19.8; it builds"],
    ["go", { pulumi: "echo v3.100.0" }, "or put a pulumi 3.220 or newer on PATH)"],
  ])("without a fitting %s (%j) one line says so", (name, replacement, message) => {
    const { [name as keyof typeof wholeMachine]: _, ...rest } = wholeMachine;
    const { code, lines } = check({ ...rest, ...replacement } as Record<string, string>);
    expect(code).toBe(1);
    expect(lines).toEqual([expect.stringContaining(message)]);
    expect(lines[0]).toMatch(/^error: missing: .*Install what is named, then run the same command again$/);
  });

  test("everything that is missing is named at once", () => {
    const { lines } = check({ make: "" });
    expect(lines).toHaveLength(1);
    for (const name of ["Python 3.11", "Node (", "npm", "Go 1.26"]) expect(lines[0]).toContain(name);
  });

  test("no Go is needed where the machine has a pulumi", () => {
    const { go: _, ...rest } = wholeMachine;
    expect(check({ ...rest, pulumi: "echo v3.230.0" })).toMatchObject({ code: 0 });
  });
});

describe("steps", () => {
  const script = (body: string) => {
    const project = bareProject();
    const text = `set -euo pipefail\n. tools/lib/common.sh\n. tools/lib/steps.sh\nmkdir -p "$stamps" "$logs"\n${body}\n`;
    return (more = "") => spawnSync("bash", ["-c", text + more], { cwd: project, encoding: "utf8" });
  };

  test("a stamped step is not done again; one that failed is, and says why in one line", () => {
    const run = script(`
work() { echo "npm error code ENOTFOUND"; echo "npm error network request to https://user:pw@mirror.example/x failed"; false; echo reached; }
fine() { echo hello; }`);
    const failed = run('step it "fetch it" "1 s" "Check the network" v1 work');
    expect(failed.status).toBe(1);
    const lines = failed.stderr.trim().split("\n");
    expect(lines).toHaveLength(2); // what it does, and how it ended
    expect(lines[1]).toContain(
      "error: fetch it failed: network request to mirror.example failed. Check the network, then",
    );
    expect(lines[1]).toContain("full log: .tools/logs/it.log");
    expect(lines[1]).not.toContain("pw");

    const again = 'step it "fetch it" "1 s" "Check the network" v1 fine';
    expect(run(again).stderr).toContain("fetch it: done in");
    expect(run(again).stderr).toBe("");
    expect(run(again.replace("v1", "v2")).stderr).toContain("fetch it: done in");
  });

  test("a failed lane stops the other one with all it started", () => {
    const run = script(`
bad() { while [ ! -s slow.pid ]; do sleep 0.05; done; step bad "bad step" "1 s" "Mend it" v1 false; }
slow() { step slow "slow step" "1 s" "Mend it" v1 bash -c 'echo $$ >slow.pid; sleep 60; echo'; }`);
    const begin = Date.now();
    const result = run('lanes slow bad; echo "not reached"');
    expect(result.status).toBe(1);
    expect(result.stdout).toBe("");
    expect(Date.now() - begin).toBeLessThan(10_000);
    expect(result.stderr).toContain("error: bad step failed");
    expect(result.stderr).not.toMatch(/Terminated|slow step failed/);
    const left = run(
      "for _ in {1..50}; do kill -0 $(cat slow.pid) 2>&1 || exit 0; sleep 0.1; done; ps -o pid,ppid,stat,args; exit 1",
    );
    expect(left).toMatchObject({ status: 0 });
  });

  test("when every lane fails, one line says so", () => {
    const run = script(`
one() { step one "step one" "1 s" "Mend it" v1 false; }
two() { step two "step two" "1 s" "Mend it" v1 false; }`);
    const lines = run("lanes one two").stderr.trim().split("\n");
    expect(lines.filter((line) => line.startsWith("error:"))).toHaveLength(1);
  });
});

describe("make clean", () => {
  test("refuses while another stack's resources are known only to the local state", () => {
    const project = bareProject();
    const stacks = join(project, ".wmtp/state/.pulumi/stacks/wmtp");
    mkdirSync(stacks, { recursive: true });
    mkdirSync(join(project, ".tools"));
    // No tools, but a state: `make down` cannot run, so nothing may be removed.
    writeFileSync(join(stacks, "prod.json"), '{"urn": "x"}');
    const result = spawnSync("tools/clean", ["minitest"], { cwd: project, encoding: "utf8" });
    expect(result.status).toBe(1);
    expect(result.stderr).toContain("the tools are gone: run make setup first");
    expect(existsSync(join(stacks, "prod.json"))).toBe(true);
  });

  test("of an untouched checkout says that nothing is set up, and succeeds", () => {
    const result = spawnSync("tools/clean", ["minitest"], { cwd: bareProject(), encoding: "utf8" });
    expect(result.status).toBe(0);
    expect(result.stderr).toContain("nothing is set up");
  });
});

describe("locks", () => {
  test("name no address and no path of a machine", () => {
    for (const file of [
      "package-lock.json",
      "tools/node/package-lock.json",
      "tools/uv.lock",
      "trainer/requirements.lock",
      "trainer/requirements-dev.lock",
      "trainer/tracker.lock",
    ]) {
      const text = readFileSync(join(root, file), "utf8");
      expect(
        text.match(/"resolved"|--index-url|--find-links|\/home\/|\/root\/|https?:\/\/[^"]*(registry|pypi)/g),
      ).toBeNull();
    }
  });

  test("hold everything that the trainer says it needs", () => {
    const project = readFileSync(join(root, "trainer/pyproject.toml"), "utf8");
    const needed = /^dependencies = \[(.*?)\]/ms
      .exec(project)?.[1]
      ?.match(/[\w-]+(?=[<>=~"])/g)
      ?.filter((n) => /^[a-z]/.test(n));
    const lock = readFileSync(join(root, "trainer/requirements.lock"), "utf8");
    const locked = new Set([...lock.matchAll(/^([\w.-]+)==/gm)].map((match) => match[1]));
    expect(needed?.length).toBeGreaterThan(3);
    expect(needed?.filter((name) => !locked.has(name))).toEqual([]);
  });

  test("client and server of MLflow are the same version", () => {
    const version = (file: string, name: string) =>
      new RegExp(`^${name}==([\\d.]+)`, "m").exec(readFileSync(join(root, "trainer", file), "utf8"))?.[1];
    expect(version("requirements.lock", "mlflow-skinny")).toBe(version("tracker.lock", "mlflow"));
  });

  test("the npm lock gets the platforms that a mirror lacks", () => {
    const complete = completePlatforms({
      "": { version: "1" },
      "node_modules/@x/core": {
        version: "1.2.3",
        dev: true,
        optionalDependencies: {
          "@x/core-linux-x64-gnu": "1.2.3",
          "@x/core-linux-x64-musl": "1.2.3",
          "@x/core-darwin-arm64": "1.2.3",
        },
      },
      "node_modules/@x/core-linux-x64-gnu": { version: "1.2.3", os: ["linux"], cpu: ["x64"], optional: true },
    });
    expect(Object.keys(complete)).toEqual([
      "",
      "node_modules/@x/core",
      "node_modules/@x/core-darwin-arm64",
      "node_modules/@x/core-linux-x64-gnu",
      "node_modules/@x/core-linux-x64-musl",
    ]);
    expect(complete["node_modules/@x/core-linux-x64-musl"]).toEqual({
      version: "1.2.3",
      dev: true,
      os: ["linux"],
      cpu: ["x64"],
      libc: ["musl"],
      optional: true,
    });
  });
});

describe("the sum of the tests", () => {
  test("counts both runners", () => {
    const jest = {
      numPassedTests: 3,
      numFailedTests: 1,
      numPendingTests: 2,
      numTodoTests: 1,
      numRuntimeErrorTestSuites: 1,
    };
    expect(countJest(JSON.stringify(jest))).toEqual({ passed: 3, failed: 2, skipped: 3 });
    const junit =
      '<testsuites name="pytest tests"><testsuite name="pytest" errors="1" failures="2" skipped="3" tests="10">';
    expect(countJunit(junit)).toEqual({ passed: 4, failed: 3, skipped: 3 });
  });

  test("a suite that did not run is a failure", () => {
    expect(settle(undefined, 1).failed).toBe(1);
    expect(settle({ passed: 0, failed: 0, skipped: 0 }, 0).failed).toBe(1);
    expect(settle({ passed: 5, failed: 0, skipped: 0 }, 1).failed).toBe(1);
    expect(settle({ passed: 5, failed: 2, skipped: 0 }, 1).failed).toBe(2);
  });
});
