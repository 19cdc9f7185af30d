// Follows events as they are committed, until Ctrl-C or SIGTERM; a connection that breaks is made again without a gap.
//   ZAPIER_TRIGGERS_KEY=zap_live_... bun examples/stream.ts [STREAM_ID]

import { Triggers } from "../src/sdk/client.ts";

const url = process.env.ZAPIER_TRIGGERS_URL ?? "http://127.0.0.1:3000";
const key = process.env.ZAPIER_TRIGGERS_KEY ?? "";
const triggers = new Triggers({ url, key });

const stop = new AbortController();
for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, () => stop.abort());

// Keep the last streamId, and a later run goes on behind it. Without one, the last hour comes first: from the inbox,
// where events have no streamId.
const after = process.argv[2];
const from = after === undefined ? { since: new Date(Date.now() - 3_600_000) } : { after };
for await (const event of triggers.stream({ ...from, signal: stop.signal }))
  console.log(event.streamId || "-", event.type, event.payloadText);
