/** Models by way of the bucket: uploaded once, fetched by the runs that read them. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { RunSpec } from "../../launcher/backend.ts";
import { manifestOf } from "../../launcher/manifest.ts";
import { type BackendUnderTest, ended, specOf } from "../contract/backend-contract.ts";
import { makeVessl, onCloud } from "./backend-on-stub.ts";

jest.setTimeout(60_000);

describe("delivery by the bucket", () => {
  let given: BackendUnderTest;
  const home = mkdtempSync(join(tmpdir(), "wmtp-vessl-models-"));
  beforeAll(async () => {
    given = await makeVessl();
  });
  afterAll(async () => {
    await given.dispose();
    rmSync(home, { recursive: true, force: true });
  });

  test("models go up once, a run fetches those it reads, and other directories of the bucket stay", async () => {
    const { backend } = given;
    const bucket = { storage: "s3://wmtp", name: "models" };
    for (const model of ["tiny-mtp", "unread"]) {
      mkdirSync(join(home, model));
      writeFileSync(join(home, model, "model.safetensors"), `weights of ${model}`);
    }
    const manifest = await manifestOf(home, join(home, ".hashes"));
    await backend.upload(bucket, home, manifest, () => undefined);
    rmSync(join(home, "unread"), { recursive: true });
    await backend.upload(bucket, home, await manifestOf(home, join(home, ".hashes")), () => undefined);
    expect(await backend.missingFiles(bucket, manifest)).toEqual([]);

    const spec = onCloud(specOf(backend), 0.1);
    const fetching = {
      ...spec,
      volumes: { ...spec.volumes, models: bucket },
      cloud: { ...spec.cloud, delivery: "s3" },
    };
    await backend.submit(fetching as RunSpec);
    const { status } = await ended(backend, spec);
    const log = (await backend.logTail(spec.stack, spec.name, 200)).join("\n");
    expect(`${status}\n${log}`).toMatch(/^completed\n/);
    expect(log).toMatch(/fetch tiny-mtp/);
    expect(log).not.toContain("unread");
  });
});
