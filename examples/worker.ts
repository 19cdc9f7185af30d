// Works on events as they come, four at a time, until Ctrl-C or SIGTERM. Start it as often as you like: each event goes
// to one of them, and comes back when its handler fails or its process dies.
//   ZAPIER_TRIGGERS_KEY=zap_live_... bun examples/worker.ts

import { Triggers } from "../src/sdk/client.ts";
import type { InboxEvent } from "../src/sdk/event.ts";

const url = process.env.ZAPIER_TRIGGERS_URL ?? "http://127.0.0.1:3000";
const key = process.env.ZAPIER_TRIGGERS_KEY ?? "";
const triggers = new Triggers({ url, key });

/**
 * Returns, and the event is acknowledged; throws, and it comes back after a while. It may come a second time in any
 * case, so do it in a way that this does no harm. `signal`: the event is another's by now; give it to what you call.
 */
async function handle({ id, type, payloadText, leaseCount }: InboxEvent, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  if (type === "order.broken" && leaseCount === 1) throw new Error("not at the first time");
  console.log(`done: ${type} ${id} ${payloadText}`);
}

// The first signal lets what runs come to its end and gives back the rest; the second ends the process.
const stop = new AbortController();
for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, () => stop.abort());

const summary = await triggers.work((event, { signal }) => handle(event, signal), {
  concurrency: 4,
  max: 20,
  leaseSeconds: 60,
  releaseDelaySeconds: ({ leaseCount }) => Math.min(60, leaseCount ?? 1),
  onError: (error, event) => console.error(`${event?.id ?? "a call"}: ${error}`),
  signal: stop.signal,
});
console.log(JSON.stringify(summary));
