import { pause } from "../../launcher/pause.ts";

test("an aborted pause throws the reason of the abort, at once", async () => {
  const stop = new AbortController();
  const waiting = pause(60_000, stop.signal);
  stop.abort(new Error("Ctrl-C"));
  await expect(waiting).rejects.toThrow("Ctrl-C");
  await expect(pause(60_000, stop.signal)).rejects.toThrow("Ctrl-C");
});
