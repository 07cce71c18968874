/** What the workflows say to GitHub, against a server that keeps what it is told; and what the workflows themselves must hold to. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { text as bodyOf } from "node:stream/consumers";
import { parse } from "yaml";
import { accessOf, GitHub } from "../../tools/github/api.ts";
import { commentPlans } from "../../tools/github/comment-plans.ts";
import { settle, start, unfinished } from "../../tools/github/deployment.ts";

const COMMIT = "c".repeat(40);
const BOT = { type: "Bot" };
let server: Server;
let github: GitHub;
let folder: string;
let asked: { method: string; path: string; body: unknown }[];
/** Answers by `METHOD path`; what is not here is `{}`. */
let answers: Record<string, unknown>;

beforeEach(async () => {
  asked = [];
  answers = {};
  folder = mkdtempSync(join(tmpdir(), "wmtp-github-"));
  server = createServer(async (request, response) => {
    const text = await bodyOf(request);
    const path = (request.url ?? "").replace("/repos/my-org/wmtp/", "");
    asked.push({ method: request.method ?? "", path, body: text === "" ? undefined : JSON.parse(text) });
    const answer = answers[`${request.method} ${path}`] ?? {};
    response.writeHead(request.headers.authorization === "Bearer planted-token" ? 200 : 401);
    response.end(JSON.stringify(answer));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  github = new GitHub({ api: `http://127.0.0.1:${port}`, repository: "my-org/wmtp", token: "planted-token" });
});
afterEach(async () => {
  server.close();
  await once(server, "close");
  rmSync(folder, { recursive: true, force: true });
});

const changes = () => asked.filter(({ method }) => method !== "GET");
const plan = (stack: string, text = "plan") => `<!-- wmtp:plan:${stack} -->\n\n${text}\n`;

function plans(number: string, files: Readonly<Record<string, string>>): void {
  writeFileSync(join(folder, "pull-request"), number);
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  answers["GET pulls/7"] = { head: { sha: COMMIT } };
  answers["GET issues/7/comments?per_page=100&page=1"] = [];
}

test("a comment for each stack, edited in place, taken back where the stack is no longer changed", async () => {
  plans("7\n", { "prod.md": plan("prod"), "lr.md": plan("lr"), "other.md": "no plan of ours" });
  answers["GET issues/7/comments?per_page=100&page=1"] = [
    { id: 1, body: plan("prod", "a person's"), user: { type: "User" } },
    { id: 2, body: plan("prod", "old"), user: BOT },
    { id: 3, body: plan("gone"), user: BOT },
    { id: 4, user: null },
  ];
  expect(await commentPlans(github, folder, COMMIT)).toEqual([
    "posted the plan of lr",
    "edited the plan of prod",
    "took back the plan of gone",
  ]);
  const body = (stack: string) => `<!-- wmtp:plan:${stack} -->\n\nplan\n\n<sub>Preview of ${COMMIT}.</sub>`;
  expect(changes()).toEqual([
    { method: "POST", path: "issues/7/comments", body: { body: body("lr") } },
    { method: "PATCH", path: "issues/comments/2", body: { body: body("prod") } },
    {
      method: "PATCH",
      path: "issues/comments/3",
      body: {
        body: expect.stringMatching(/^<!-- wmtp:plan:gone -->\nThis pull request does not change `gone` any more/),
      },
    },
  ]);
});

test("comments of every page are looked at", async () => {
  plans("7", { "prod.md": plan("prod") });
  answers["GET issues/7/comments?per_page=100&page=1"] = Array.from({ length: 100 }, (_, id) => ({ id, user: BOT }));
  answers["GET issues/7/comments?per_page=100&page=2"] = [{ id: 200, body: plan("prod"), user: BOT }];
  expect(await commentPlans(github, folder, COMMIT)).toEqual(["edited the plan of prod"]);
});

test("a stranger's plans reach no other pull request", async () => {
  plans("7", { "prod.md": plan("prod") });
  answers["GET pulls/7"] = { head: { sha: "d".repeat(40) } };
  expect(await commentPlans(github, folder, COMMIT)).toEqual([
    `pull request 7 is not at ${COMMIT} any more: its next preview will say`,
  ]);
  for (const number of ["7/../8", "", "07", "7 8"]) {
    plans(number, {});
    await expect(commentPlans(github, folder, COMMIT)).rejects.toThrow("the plans name no pull request");
  }
  expect(changes()).toEqual([]);
});

test("an error of GitHub's says what was asked, and never the token", async () => {
  const { port } = server.address() as AddressInfo;
  const stranger = new GitHub({ api: `http://127.0.0.1:${port}`, repository: "my-org/wmtp", token: "another-token" });
  answers["POST deployments"] = { message: "Bad credentials" };
  await expect(stranger.send("POST", "deployments", {})).rejects.toThrow(
    /^POST deployments was answered with 401: Bad credentials$/,
  );
  expect(() => accessOf({ GITHUB_API_URL: "x", GITHUB_REPOSITORY: "y" })).toThrow("GITHUB_TOKEN are not all set");
});

const DEPLOYMENTS = [
  { id: 9, sha: "9".repeat(40), environment: "stack/prod" },
  { id: 8, sha: "8".repeat(40), environment: "stack/lr" },
  { id: 7, sha: "7".repeat(40), environment: "stack/prod" },
  { id: 6, sha: "6".repeat(40), environment: "deploy" },
];

test("deployments whose runs went on: the newest of each stack", async () => {
  answers["GET deployments?per_page=100&page=1"] = DEPLOYMENTS;
  for (const [id, state] of [
    [9, "success"],
    [8, "in_progress"],
    [7, "in_progress"],
    [6, "in_progress"],
  ])
    answers[`GET deployments/${id}/statuses?per_page=1`] = [{ state }];
  expect(await unfinished(github)).toEqual([{ stack: "lr", sha: "8".repeat(40), id: 8 }]);
});

test("a new deployment takes over from the one whose runs went on", async () => {
  answers["GET deployments?per_page=100&page=1"] = DEPLOYMENTS;
  for (const id of [9, 8]) answers[`GET deployments/${id}/statuses?per_page=1`] = [{ state: "in_progress" }];
  answers["POST deployments"] = { id: 10 };
  expect(await start(github, "lr", COMMIT)).toBe(10);
  expect(changes()).toEqual([
    {
      method: "POST",
      path: "deployments/8/statuses",
      body: { state: "inactive", description: "a later one took over" },
    },
    {
      method: "POST",
      path: "deployments",
      body: { ref: COMMIT, environment: "stack/lr", auto_merge: false, required_contexts: [] },
    },
  ]);
});

test.each([
  ["done", "success"],
  ["running", "in_progress"],
  ["failed", "failure"],
] as const)("an update that is %s is a deployment in state %s", async (state, expected) => {
  await settle(github, 10, { state, description: "d".repeat(200) }, "https://log");
  const [{ body }] = changes() as unknown as [{ body: { description: string } }];
  expect(body).toMatchObject({ state: expected, log_url: "https://log" });
  expect(body.description).toHaveLength(140);
});

test("as a job runs them: what they print, where they say it, what they exit with", async () => {
  const { port } = server.address() as AddressInfo;
  const script = resolve(import.meta.dirname, "..", "..", "tools", "github", "deployment.ts");
  const job = async (...args: string[]) => {
    const env = {
      PATH: process.env.PATH,
      GITHUB_API_URL: `http://127.0.0.1:${port}`,
      GITHUB_REPOSITORY: "my-org/wmtp",
      GITHUB_TOKEN: "planted-token",
      GITHUB_SHA: COMMIT,
      GITHUB_SERVER_URL: "https://github.example",
      GITHUB_RUN_ID: "77",
      GITHUB_STEP_SUMMARY: join(folder, "summary.md"),
    };
    const child = spawn(process.execPath, [script, ...args], { env, stdio: ["ignore", "pipe", "pipe"] });
    const [stdout, stderr, [code]] = await Promise.all([
      bodyOf(child.stdout),
      bodyOf(child.stderr),
      once(child, "exit"),
    ]);
    return { code, stdout, stderr };
  };
  const events = join(folder, "events.jsonl");
  writeFileSync(events, '{"summaryEvent":{}}\n');
  answers["GET deployments?per_page=100&page=1"] = DEPLOYMENTS;
  answers["GET deployments/8/statuses?per_page=1"] = [{ state: "in_progress" }];
  answers["GET deployments/9/statuses?per_page=1"] = [];
  answers["POST deployments"] = { id: 10 };
  expect(await job("start", "dev")).toEqual({ code: 0, stdout: "id=10\n", stderr: "" });
  expect(await job("unfinished")).toEqual({
    code: 0,
    stdout: `unfinished=[{"stack":"lr","sha":"${"8".repeat(40)}","id":8}]\n`,
    stderr: "",
  });
  expect(await job("settle", "10", "dev", events)).toMatchObject({
    code: 0,
    stdout: "done: everything is as the stack file says\n",
  });
  expect(changes().at(-1)).toMatchObject({
    path: "deployments/10/statuses",
    body: { state: "success", log_url: "https://github.example/my-org/wmtp/actions/runs/77" },
  });
  expect(await job("settle", "10", "dev", join(folder, "none"))).toMatchObject({
    code: 1,
    stdout: "failed: the update was cut off, or never began\n",
  });
  expect(readFileSync(join(folder, "summary.md"), "utf8")).toBe(
    "**dev**: done: everything is as the stack file says\n**dev**: failed: the update was cut off, or never began\n",
  );
  expect(await job("attach", "10", "dev", events)).toEqual({ code: 0, stdout: "goes on\n", stderr: "" });
  const statuses = changes().length;
  const metadata = { op: "replace", urn: "urn:pulumi:dev::wmtp::launcher:index:Run::ntp", type: "launcher:index:Run" };
  writeFileSync(events, `${JSON.stringify({ resourcePreEvent: { metadata } })}\n{"summaryEvent":{}}\n`);
  const refused = "what it would do is not what was approved: deploy it again (replace ntp)";
  expect(await job("attach", "10", "dev", events)).toMatchObject({ code: 1, stdout: `failed: ${refused}\n` });
  expect(changes().slice(statuses)).toMatchObject([
    { path: "deployments/10/statuses", body: { state: "failure", description: refused } },
  ]);
  expect(await job("stop")).toEqual({
    code: 1,
    stdout: "",
    stderr: "::error::no command stop: start, settle, attach, unfinished\n",
  });
});

// ---- the workflows ----------------------------------------------------------------------------------------------

interface Job {
  readonly uses?: string;
  readonly permissions?: Readonly<Record<string, string>>;
  readonly "timeout-minutes"?: number;
  readonly environment?: string;
}
interface Workflow {
  readonly on: unknown;
  readonly permissions: object;
  readonly concurrency: unknown;
  readonly jobs: Readonly<Record<string, Job>>;
}

const GITHUB = resolve(import.meta.dirname, "..", "..", ".github");
const files = [
  ...readdirSync(join(GITHUB, "workflows")).map((name) => join("workflows", name)),
  ...readdirSync(join(GITHUB, "actions")).map((name) => join("actions", name, "action.yaml")),
];
const textOf = (file: string) => readFileSync(join(GITHUB, file), "utf8");
const workflow = (name: string): Workflow => parse(textOf(join("workflows", `${name}.yaml`)));
const NAMES = ["comment", "deploy", "pull-request", "reattach"];

test.each(files)("%s pins every action by commit, and says its version", (file) => {
  const uses = textOf(file).match(/uses:.*/g) ?? [];
  for (const line of uses)
    expect(line).toMatch(/^uses: (\.\/\.github\/actions\/(setup|up)|[\w-]+\/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+)$/);
});

test("an action is of one version everywhere", () => {
  const pins = new Map<string, Set<string>>();
  for (const [, action = "", pin = ""] of files
    .map(textOf)
    .join("\n")
    .matchAll(/uses: ([\w-]+\/[\w-]+)@(.*)/g))
    pins.set(action, (pins.get(action) ?? new Set()).add(pin));
  expect([...pins].filter(([, versions]) => versions.size > 1)).toEqual([]);
  expect([...pins.keys()]).toContain("actions/checkout");
});

test("every workflow asks for no more than it needs, one at a time, and ends", () => {
  expect(readdirSync(join(GITHUB, "workflows")).sort()).toEqual(NAMES.map((name) => `${name}.yaml`));
  const granted = NAMES.map((name) => {
    const { permissions, concurrency, jobs } = workflow(name);
    expect(permissions).toEqual({});
    expect(concurrency).toBeDefined();
    for (const job of Object.values(jobs)) expect(job["timeout-minutes"]).toBeLessThanOrEqual(120);
    return [name, Object.fromEntries(Object.entries(jobs).map(([job, { permissions: own }]) => [job, own]))];
  });
  expect(Object.fromEntries(granted)).toEqual({
    comment: { comment: { contents: "read", actions: "read", "pull-requests": "write" } },
    deploy: { up: { contents: "read", "id-token": "write", deployments: "write" } },
    "pull-request": { check: { contents: "read" }, preview: { contents: "read", "id-token": "write" } },
    reattach: {
      find: { contents: "read", deployments: "read" },
      up: { contents: "read", "id-token": "write", deployments: "write" },
    },
  });
});

test("a stranger's code meets no secret and no token that may write", () => {
  expect(textOf("workflows/pull-request.yaml")).not.toMatch(/secrets\.|pull_request_target/);
  expect(workflow("pull-request").on).toBe("pull_request");
  // What posts the comments runs none of it.
  expect(textOf("workflows/comment.yaml")).not.toMatch(/ref:|actions\/setup\b(?!-)|make /);
  for (const file of files)
    expect(textOf(file)).not.toMatch(/aws-(access-key-id|secret-access-key)|persist-credentials: true/);
  const checkouts = files.map(textOf).join("\n");
  expect(checkouts.match(/actions\/checkout@/g)?.length).toBe(checkouts.match(/persist-credentials: false/g)?.length);
});

test("only an approved environment deploys, and what goes on is the commit that was approved", () => {
  expect(workflow("deploy").jobs.up?.environment).toBe("deploy");
  expect(workflow("reattach").jobs.up?.environment).toBe("reattach");
  const reattach = textOf("workflows/reattach.yaml");
  const [preview, decision, up] = ["make preview ", "deployment.ts attach ", "uses: ./.github/actions/up"].map((text) =>
    reattach.indexOf(text),
  ) as [number, number, number];
  expect(0 < preview && preview < decision && decision < up).toBe(true);
  expect(reattach).not.toMatch(/continue-on-error|if: always/);
  expect(reattach).toMatch(/ref: \$\{\{ matrix\.deployment\.sha \}\}/);
});
