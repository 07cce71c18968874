import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer as createTlsServer } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AnswerLost, apiBase, type Call, VesslHttp } from "../../launcher/vessl/http.ts";
import { ApiServer, FAST, type Reply, TOKEN } from "../support/api-server.ts";

const READ: Call = { method: "GET", path: "/things", idempotent: true };
const MAKE: Call = { method: "POST", path: "/things", body: { secret: "planted-body-2c" }, idempotent: false };

let server: ApiServer;
beforeEach(async () => {
  server = await ApiServer.start();
});
afterEach(() => server.dispose());

/** The first requests get these; all others are answered. */
function first(...replies: Reply[]): void {
  server.reply = (_, count) => replies[count - 1] ?? { json: { answered: count } };
}

const always = (reply: Reply) => {
  server.reply = () => reply;
};
const failure = (work: Promise<unknown>): Promise<Error> =>
  work.then(
    () => {
      throw new Error("it did not fail");
    },
    (error) => error,
  );

test("a request as the API wants it", async () => {
  const body = { a: [1, "ü"] };
  const call: Call = { method: "POST", path: "/a%2Fb", query: { x: "1 2", limit: 5 }, body, idempotent: true };
  expect(await server.http().request(call)).toEqual({});
  expect(server.requests).toEqual([
    {
      method: "POST",
      path: "/a%2Fb",
      query: { x: "1 2", limit: "5" },
      body,
      authorization: `Token ${TOKEN}`,
      at: expect.any(Number),
    },
  ]);
});

describe("what passes is waited out", () => {
  test.each<[string, Reply]>([
    ["429", { status: 429 }],
    ["500", { status: 500, text: "<html>oops" }],
    ["502", { status: 502 }],
    ["503", { status: 503 }],
    ["504", { status: 504 }],
    ["a closed connection", { fault: "drop" }],
    ["half of an answer", { json: { long: "enough" }, fault: "truncate" }],
    ["a page instead of JSON", { text: "<html>sign in" }],
    ["no answer in time", { fault: "hang" }],
  ])("%s, three times", async (_, reply) => {
    first(reply, reply, reply);
    const http = server.http();
    expect(await http.request(READ)).toEqual({ answered: 4 });
    expect(http.callsMade).toBe(4);
  });

  test("but not for ever: five attempts", async () => {
    always({ status: 503, json: { code: "Unavailable", message: "maintenance" } });
    await expect(server.http().request(READ)).rejects.toThrow(
      /^the GPU cloud refused GET \/things \(503 Unavailable\): maintenance; the service is in trouble or busy: try again later/,
    );
    expect(server.requests).toHaveLength(5);
  });

  test("nor for longer than the total", async () => {
    always({ fault: "hang" });
    const error = await failure(server.http({ attemptMs: 100, totalMs: 150 }).request(READ));
    expect(error.message).toMatch(/did not answer GET \/things within 0\.1 s/);
    expect(server.requests.length).toBeLessThanOrEqual(3);
  });

  test("Retry-After is a lower bound, in seconds or as a date; one past the total ends it at once", async () => {
    first({ status: 429, headers: { "retry-after": "1" } });
    await server.http().request(READ);
    const [one, two] = server.requests;
    expect((two?.at ?? 0) - (one?.at ?? 0)).toBeGreaterThanOrEqual(990);
    const later = new Date(Date.now() + 3_600_000).toUTCString();
    always({ status: 503, headers: { "retry-after": later } });
    await expect(server.http().request(READ)).rejects.toThrow(/503/);
    expect(server.requests).toHaveLength(3);
  });

  test("the waits are spread over everything below a bound that grows", async () => {
    const waits: number[][] = [[], []];
    for (let round = 0; round < 12; round += 1) {
      server.requests.length = 0;
      first({ status: 503 }, { status: 503 });
      await server.http({ backoff: { firstMs: 60, factor: 4, longestMs: 1_000 } }).request(READ);
      const [a, b, c] = server.requests.map(({ at }) => at) as [number, number, number];
      waits[0]?.push(b - a);
      waits[1]?.push(c - b);
    }
    const [short, long] = waits as [number[], number[]];
    expect(Math.max(...short)).toBeLessThan(160); // 60, and what a busy machine adds
    expect(Math.max(...long)).toBeLessThan(340);
    expect(Math.max(...long)).toBeGreaterThan(70);
    expect(Math.max(...long) - Math.min(...long)).toBeGreaterThan(40);
  });
});

describe("what must not be done twice", () => {
  test.each<[string, Reply]>([
    ["a closed connection", { fault: "drop" }],
    ["no answer in time", { fault: "hang" }],
    ["half of an answer", { json: { long: "enough" }, fault: "truncate" }],
    ["500", { status: 500 }],
    ["504", { status: 504 }],
  ])("%s: sent once, and the caller told to look", async (_, reply) => {
    always(reply);
    const error = await failure(server.http().request(MAKE));
    expect(error).toBeInstanceOf(AnswerLost);
    expect(error.message).toMatch(/^the answer to POST \/things was lost \(.*may have taken effect/);
    expect(server.requests).toHaveLength(1);
  });

  test("too many requests: it was surely not done, so it is sent again", async () => {
    first({ status: 429 }, { status: 429 });
    expect(await server.http().request(MAKE)).toEqual({ answered: 3 });
  });

  test("nobody listens: surely not done, an error and no lost answer", async () => {
    const { url } = server;
    server.dispose();
    const error = await failure(new VesslHttp(TOKEN, { base: url, timing: FAST }).request(MAKE));
    expect(error).not.toBeInstanceOf(AnswerLost);
    expect(error.message).toMatch(/cannot be reached \(ECONNREFUSED at POST \/things\): check the network/);
  });
});

describe("what is refused", () => {
  test.each([
    [400, /^the GPU cloud refused GET \/things \(400 Bad\): said, name must be short; correct what it names/],
    [401, /the login has expired or is unknown there: log in with `vessl configure`.*VESSL Cloud.*another product/],
    [403, /your account may not do this: ask an owner/],
    [404, /it does not exist, or your account cannot see it/],
    [409, /it is there already/],
  ])("%d is an error with a remedy, at once", async (status, message) => {
    const fields = [{ name: "name", value: "planted-value", message: "must be short" }];
    always({ status, json: { code: "Bad", message: "said", fields } });
    const error = await failure(server.http().request(READ));
    expect(error).toMatchObject({ status, code: "Bad" });
    expect(error.message).toMatch(message);
    expect(error.message).not.toMatch(/planted/);
    expect(server.requests).toHaveLength(1);
  });

  test("neither token nor body is in an error, even if the server says them", async () => {
    always({ status: 400, json: { code: `c ${TOKEN}`, message: `no ${TOKEN} here\nplease` } });
    const said = await failure(server.http().request(READ));
    expect(said.message).toContain("no [token] here please");
    always({ status: 400, json: { code: "planted-body-2c", message: "planted-body-2c is bad" } });
    const quiet = await failure(server.http().request({ ...MAKE, confidential: true }));
    for (const text of [said.message, said.stack, quiet.message, quiet.stack, JSON.stringify([said, quiet])])
      expect(text).not.toMatch(/planted/);
  });

  test("a redirect is not followed: the token goes nowhere else", async () => {
    const other = await ApiServer.start();
    always({ status: 302, headers: { location: `${other.url}/api/v1/things` } });
    await expect(server.http().request(READ)).rejects.toThrow(/302\); check VESSL_API_HOST/);
    expect(other.requests).toEqual([]);
    other.dispose();
  });

  test("a token that cannot be sent is not shown", () => {
    expect(() => new VesslHttp("planted 1\n", { base: server.url })).toThrow(/^the access token holds spaces/);
    expect(() => new VesslHttp("planted 1\n", { base: server.url })).not.toThrow(/planted/);
  });

  test("a certificate that nobody vouches for", async () => {
    const directory = mkdtempSync(join(tmpdir(), "wmtp-tls-"));
    const [key, cert] = [join(directory, "key.pem"), join(directory, "cert.pem")];
    const made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "1"];
    execFileSync("openssl", [...made, "-keyout", key, "-out", cert], { stdio: "ignore" });
    const tls = await ApiServer.start((listener) =>
      createTlsServer({ key: readFileSync(key), cert: readFileSync(cert) }, listener),
    );
    const http = new VesslHttp(TOKEN, { base: `https://localhost:${tls.port}`, timing: FAST });
    await expect(http.request(READ)).rejects.toThrow(
      /^the certificate of https:\/\/localhost:\d+ is not trusted \(DEPTH_ZERO_SELF_SIGNED_CERT\).*NODE_EXTRA_CA_CERTS/,
    );
    expect([http.callsMade, tls.requests.length]).toEqual([1, 0]);
    tls.dispose();
    rmSync(directory, { recursive: true });
  });
});

test.each([
  ["a wait", { status: 503, headers: { "retry-after": "2" } } as Reply],
  ["a request", { fault: "hang" } as Reply],
])("%s ends when the work is stopped, with the reason", async (_, reply) => {
  always(reply);
  const stop = new AbortController();
  const began = Date.now();
  setTimeout(() => stop.abort(new Error("cancelled")), 100);
  await expect(server.http({ attemptMs: 5_000, totalMs: 60_000 }, stop.signal).request(READ)).rejects.toThrow(
    /^cancelled$/,
  );
  expect(Date.now() - began).toBeLessThan(1_500);
});

describe("the API's address", () => {
  test.each([
    [{}, "https://api.vessl.ai"],
    [{ VESSL_API_HOST: "" }, "https://api.vessl.ai"],
    [{ VESSL_API_HOST: "https://api.example.com//" }, "https://api.example.com"],
    [{ VESSL_API_HOST: "https://example.com/vessl/" }, "https://example.com/vessl"],
    [{ VESSL_API_HOST: "http://127.0.0.1:8787" }, "http://127.0.0.1:8787"],
    [{ VESSL_API_HOST: "http://localhost:8787/" }, "http://localhost:8787"],
    [{ VESSL_API_HOST: "http://[::1]:1" }, "http://[::1]:1"],
  ])("%j is %s", (env, base) => {
    expect(apiBase(env)).toBe(base);
  });

  test.each([
    [{ VESSL_API_HOST: "http://api.vessl.ai" }, /would travel in clear text; use https/],
    [{ VESSL_API_HOST: "http://localhost.evil.example" }, /clear text/],
    [{ VESSL_API_HOST: "api.vessl.ai" }, /is no address like https:\/\/api\.vessl\.ai/],
    [{ VESSL_API_HOST: "ftp://x" }, /is no address/],
    [{ VESSL_API_HOST: "https://user:planted@x" }, /is no address/],
    [{ NODE_TLS_REJECT_UNAUTHORIZED: "0" }, /turns off the check of certificates: unset it/],
  ])("%j is refused", (env, message) => {
    expect(() => apiBase(env)).toThrow(message);
    expect(() => apiBase(env)).not.toThrow(/planted/);
  });
});
