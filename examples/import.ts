// Sends a file of any size, one JSON value a line, in batches. Run again within 24 hours, it sends what is missing.
//   ZAPIER_TRIGGERS_KEY=zap_live_... bun examples/import.ts orders.ndjson

import { open } from "node:fs/promises";
import { Triggers } from "../src/sdk/client.ts";

const url = process.env.ZAPIER_TRIGGERS_URL ?? "http://127.0.0.1:3000";
const key = process.env.ZAPIER_TRIGGERS_KEY ?? "";
const file = process.argv[2] ?? "/dev/stdin";

const onRetry = (error: Error, waitMs: number) => console.error(`${error.message} (again in ${waitMs} ms)`);
const triggers = new Triggers({ url, key, onRetry });

// payloadText goes out as it is: numbers keep their digits. The dedup id must be the same in each run, and no other
// file's: `orders-` and the number of the line.
async function* events() {
  let line = 0;
  for await (const payloadText of (await open(file)).readLines())
    yield { type: "order.imported", payloadText, dedupId: `orders-${++line}` };
}

const counts = { accepted: 0, duplicate: 0, rejected: 0 };
for await (const { events: sent, results } of triggers.sendAll(events())) {
  for (const [at, result] of results.entries()) {
    counts[result.status]++;
    if (result.status === "rejected") console.error(`${sent[at]?.dedupId}: ${result.detail}`);
  }
  console.log(JSON.stringify(counts));
}
process.exitCode = counts.rejected === 0 ? 0 : 1;
