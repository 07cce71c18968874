import type { z } from "zod";
import { invalid } from "./answers.ts";

/** @throws 400 with one field for everything that is wrong. */
export function parseBody<T>(schema: z.ZodType<T>, body: unknown): T {
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  const fields = parsed.error.issues.map(({ path, message }) => ({ name: path.join("."), value: "", message }));
  throw invalid("Invalid parameters", ...fields);
}
