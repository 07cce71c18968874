/** The container's own entry point on a machine of the stub: fetches, trains, uploads; and resumes after its machine was taken away. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { eventually } from "../support/eventually.ts";
import { VesslCloud } from "../support/vessl-cloud.ts";

const PROJECT = resolve(import.meta.dirname, "..", "..");
const ENDS_MS = 60_000;
const FINGERPRINT = "f".repeat(64);
const PREFIX = `checkpoints/dev/ntp/${FINGERPRINT}`;
const P = "/organizations/acme/projects/infra";
let cloud: VesslCloud;

jest.setTimeout(120_000);
beforeAll(async () => {
  cloud = await VesslCloud.start();
}, 360_000);
afterAll(() => cloud.dispose());

async function call(path: string, body: unknown): Promise<Response> {
  const headers = { authorization: `Token ${cloud.token}` };
  const answer = await fetch(`${cloud.url}/api/v1${path}`, { method: "POST", headers, body: JSON.stringify(body) });
  if (!answer.ok) throw new Error(await answer.text());
  return answer;
}

/** A run of the ntp pipeline that takes so many seconds. */
function run(seconds: number): string {
  const python = join(PROJECT, ".tools", "trainer", "bin", "python");
  const print = `from weighted_mtp.config import TrainConfig; print(TrainConfig(pipeline="ntp").model_dump_json())`;
  const config = JSON.parse(execFileSync(python, ["-c", print], { encoding: "utf8" }));
  config.training.seed = seconds * 10;
  const output = "/app/checkpoints/ntp";
  config.paths = { models: "/app/models", datasets: "/app/datasets", output, scores: `${output}/scores` };
  const command = [
    "python -m weighted_mtp.entry --fetch s3://wmtp/models/tiny=/app/models/tiny",
    `--checkpoints s3://wmtp/${PREFIX} -- python -m weighted_mtp.pipelines.run_ntp --config /app/run.yaml`,
  ].join(" ");
  return JSON.stringify({
    name: "wmtp-dev-ntp-ffffffff",
    resources: { preset: "gpu-h100-1" },
    image: "wmtp",
    env: {
      WMTP_CONFIG: JSON.stringify(config),
      WMTP_FINGERPRINT: FINGERPRINT,
      AWS_DEFAULT_REGION: cloud.env.AWS_REGION,
      AWS_ACCESS_KEY_ID: { secret: "KEY" },
      AWS_SECRET_ACCESS_KEY: { secret: "SECRET" },
    },
    run: [{ command, workdir: "/app" }],
  });
}

const create = (seconds: number) => call(`${P}/run/spec/create_from_yaml`, { yaml_spec: run(seconds) });
const newest = async () => (await cloud.runs()).at(-1);

async function ends(status: string): Promise<string[]> {
  const over = new Set(["completed", "failed", "terminated"]);
  await eventually(async () => over.has((await newest())?.status ?? ""), ENDS_MS);
  const run = await newest();
  const log = await cloud.runLog(String(run?.id));
  if (run?.status !== status)
    throw new Error(`the run ended ${run?.status}, ${run?.status_reason}:\n${log.join("\n")}`);
  return log;
}

test("fetched, trained, preempted, resumed where the bucket says, completed", async () => {
  for (const [secret_name, value] of [
    ["KEY", cloud.env.AWS_ACCESS_KEY_ID],
    ["SECRET", cloud.env.AWS_SECRET_ACCESS_KEY],
  ])
    await call("/organizations/acme/secrets/generic_secret", { secret_name, value });
  const credentials = { accessKeyId: cloud.env.AWS_ACCESS_KEY_ID!, secretAccessKey: cloud.env.AWS_SECRET_ACCESS_KEY! };
  const s3 = new S3Client({ endpoint: cloud.s3Url, region: "eu-north-1", forcePathStyle: true, credentials });
  await s3.send(new PutObjectCommand({ Bucket: "wmtp", Key: "models/tiny/model.safetensors", Body: "weights" }));

  await create(40);
  const uploaded = () => Object.keys(cloud.bucketFiles(PREFIX)).filter((path) => path.endsWith("/COMMITTED"));
  await eventually(() => uploaded().length >= 1, ENDS_MS);
  await cloud.preempt("wmtp-dev-ntp-ffffffff");
  expect((await newest())?.status_reason).toBe("Preempted: spot node reclaimed");

  await create(2);
  const log = await ends("completed");
  const start = log.find((line) => line.includes('"event":"start"'));
  expect(start).toMatch(/"resumed_from":[1-9]/);
  const files = cloud.bucketFiles(`${PREFIX}/`);
  expect(JSON.parse(files["COMPLETED.json"] as string)).toMatchObject({ fingerprint: FINGERPRINT, steps: 10 });
  expect(files["checkpoint_best/model.safetensors"]).toBe("weights of ntp");
  const steps = (files["curve.jsonl"] as string).trim().split("\n");
  expect(steps.map((line) => JSON.parse(line).step)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  expect(readFileSync(join(cloud.standIn, "trained.log"), "utf8").trim().split("\n")).toHaveLength(2);
});
