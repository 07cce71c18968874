/** Uploads in parts that are under way, on disk: what a killed upload must know to go on where it was. One file each. */
import { createHash, randomUUID } from "node:crypto";
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";

const entry = z.object({
  bucket: z.string(),
  key: z.string(),
  uploadId: z.string(),
  size: z.number(),
  sha256: z.string(),
});
export type JournalEntry = z.infer<typeof entry>;

export class UploadJournal {
  private readonly directory: string;

  constructor(directory: string) {
    this.directory = directory;
  }

  async find(bucket: string, key: string): Promise<JournalEntry | undefined> {
    return readEntry(this.fileOf(bucket, key));
  }

  /** Whole or not at all, whatever kills us half way. */
  async write(of: JournalEntry): Promise<void> {
    await mkdir(this.directory, { recursive: true });
    const file = this.fileOf(of.bucket, of.key);
    const draft = `${file}.${randomUUID()}`;
    await writeFile(draft, JSON.stringify(of));
    await rename(draft, file);
  }

  async remove(bucket: string, key: string): Promise<void> {
    await rm(this.fileOf(bucket, key), { force: true });
  }

  async all(): Promise<JournalEntry[]> {
    const names = await readdir(this.directory).catch(() => []); // none has been written yet
    const entries = await Promise.all(
      names.filter((name) => name.endsWith(".json")).map((name) => readEntry(join(this.directory, name))),
    );
    return entries.filter((one) => one !== undefined);
  }

  private fileOf(bucket: string, key: string): string {
    return join(this.directory, `${createHash("sha256").update(`${bucket}/${key}`).digest("hex").slice(0, 32)}.json`);
  }
}

/** Undefined when it is missing, or not of our making: the upload then starts from its beginning. */
async function readEntry(file: string): Promise<JournalEntry | undefined> {
  try {
    return entry.parse(JSON.parse(await readFile(file, "utf8")));
  } catch {
    return undefined;
  }
}
