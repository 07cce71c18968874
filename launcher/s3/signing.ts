/** Signed requests whose body is not hashed once more by the client library. */
import type { PutObjectCommand, UploadPartCommand } from "@aws-sdk/client-s3";

/**
 * Signs `hash` as the SHA-256 of the command's body; the store refuses a body of another. `UNSIGNED-PAYLOAD` leaves it to the body's
 * checksum, which must then be asked for.
 */
export function withPayloadHash<T extends PutObjectCommand | UploadPartCommand>(command: T, hash: string): T {
  (command.middlewareStack as PutObjectCommand["middlewareStack"]).add(
    (next) => (args) => {
      (args.request as { headers: Record<string, string> }).headers["x-amz-content-sha256"] = hash;
      return next(args);
    },
    { step: "build", name: "payloadHash" },
  );
  return command;
}
