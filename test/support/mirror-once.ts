/** One upload in a process of its own, to be killed in the middle. Its arguments: endpoint, prefix, source directory, work directory. */
import { join } from "node:path";
import { manifestOf } from "../../launcher/manifest.ts";
import { mirror } from "../../launcher/s3/mirror.ts";
import { S3Prefix } from "../../launcher/s3/prefix.ts";

const [endpoint, prefix, source, work] = process.argv.slice(2) as [string, string, string, string];
const access = {
  bucket: "bucket",
  prefix,
  region: "us-east-1",
  endpoint,
  forcePathStyle: true,
  credentials: { accessKeyId: "test-access-key", secretAccessKey: "test-secret-key" },
};
const hashCache = join(work, "hashes");
await mirror(new S3Prefix(async () => access), source, await manifestOf(source, hashCache), {
  journal: join(work, "journal"),
  hashCache,
  label: "disk/models",
  progress: () => undefined,
});
