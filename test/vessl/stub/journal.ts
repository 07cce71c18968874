/** Every request, one JSON line each, for tests that look at what was said and how often. */
import { appendFileSync } from "node:fs";
import { join } from "node:path";

export interface ApiRequest {
  readonly at: number;
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly body: unknown;
  /** 0: the connection was closed without an answer. */
  readonly status: number;
  readonly authorization: string | undefined;
}

export interface S3Request {
  readonly at: number;
  readonly method: string;
  /** `/bucket/key?query`, percent-encoded. */
  readonly url: string;
  readonly status: number;
}

export class Journal {
  private readonly directory: string;

  constructor(directory: string) {
    this.directory = directory;
  }

  api(request: Omit<ApiRequest, "at">): void {
    this.append("requests.jsonl", request);
  }

  s3(request: Omit<S3Request, "at">): void {
    this.append("s3-requests.jsonl", request);
  }

  private append(file: string, request: object): void {
    appendFileSync(join(this.directory, file), `${JSON.stringify({ at: Date.now(), ...request })}\n`);
  }
}
