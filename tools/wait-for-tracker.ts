// Waits until the tracker answers through TLS: the gate behind the tracker's URL.
//   TRACKER_URL=https://... TRACKER_CA=PEM node tools/wait-for-tracker.ts
import { request } from "node:https";
import { setTimeout as sleep } from "node:timers/promises";

const DEADLINE_SECONDS = 20 * 60;
const USUAL = "usually 3 to 5 minutes";
const POLL_MS = 2_000;
const REPORT_SECONDS = 15;
const ANSWER_MS = 5_000;

const url = process.env.TRACKER_URL;
const ca = process.env.TRACKER_CA;
if (!url) throw new Error("TRACKER_URL is missing: this is started by the stack, with the tracker's address");

const began = Date.now();
const seconds = () => Math.round((Date.now() - began) / 1000);
const clock = (all: number) => `${Math.floor(all / 60)}:${String(all % 60).padStart(2, "0")}`;

/** Why the tracker is not healthy yet; undefined when it is. */
function problem(): Promise<string | undefined> {
  return new Promise((resolve) => {
    const call = request(`${url}/health`, { ...(ca ? { ca } : {}), timeout: ANSWER_MS }, (response) => {
      response.resume();
      resolve(response.statusCode === 200 ? undefined : `it answers ${response.statusCode}`);
    });
    call.on("timeout", () => call.destroy(new Error("no answer")));
    call.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    call.end();
  });
}

/** What a cause most likely means to who started this. */
function remedy(cause: string): string {
  if (/ETIMEDOUT|no answer|EHOSTUNREACH/.test(cause)) {
    return "is the address of this machine in wmtp:tracking.allowedCidrs?";
  }
  if (/CERT|SELF_SIGNED|ISSUER|ALTNAME/.test(cause)) return "another machine may have the tracker's address";
  return "look at the host by Session Manager: aws ssm start-session, then cloud-init status --long and journalctl -u 'wmtp-*'";
}

let reported = 0;
for (;;) {
  const cause = await problem();
  if (cause === undefined) {
    console.log(`the tracker answers after ${clock(seconds())}`);
    break;
  }
  if (seconds() > DEADLINE_SECONDS) {
    console.error(`error: ${url} did not answer within ${DEADLINE_SECONDS / 60} minutes (${cause}): ${remedy(cause)}`);
    process.exit(1);
  }
  if (seconds() - reported >= REPORT_SECONDS) {
    reported = seconds();
    console.log(`waiting for the tracker, ${clock(reported)} so far, ${USUAL} (${cause})`);
  }
  await sleep(POLL_MS);
}
