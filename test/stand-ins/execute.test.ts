import { execute } from "../../tools/stand-ins/execute.ts";

test("exit code and both outputs are told, and the input arrives", async () => {
  const ended = await execute(["sh", "-c", "cat; echo oops >&2; exit 3"], { stdin: "in" });
  expect(ended).toEqual({ code: 3, stdout: "in", stderr: "oops\n" });
});

test("a cancelled program goes with all it has started", async () => {
  const abort = new AbortController();
  const started = Date.now();
  const running = execute(["sh", "-c", "sleep 60 & echo up; wait"], {
    signal: abort.signal,
    onOutput: () => abort.abort(),
  });
  // `close` comes only when the last holder of the pipe is gone.
  expect(await running).toMatchObject({ code: "SIGTERM", stdout: "up\n" });
  expect(Date.now() - started).toBeLessThan(30_000);
  abort.abort();
});

test("a program that is not there is an error that names it", async () => {
  await expect(execute(["/no/such/program"], {})).rejects.toThrow("/no/such/program");
});
