// Reads what nobody has dealt with yet, the oldest first, and acknowledges it. For one consumer; several share the
// work by leases, see worker.ts.
//   ZAPIER_TRIGGERS_KEY=zap_live_... bun examples/inbox.ts

import { Triggers } from "../src/sdk/client.ts";

const url = process.env.ZAPIER_TRIGGERS_URL ?? "http://127.0.0.1:3000";
const key = process.env.ZAPIER_TRIGGERS_KEY ?? "";
const triggers = new Triggers({ url, key });

for await (const event of triggers.inbox({ status: "undelivered", order: "asc" })) {
  // payloadText is the payload as it was sent; payload is what JSON.parse made of it.
  console.log(event.createdAt, event.type, event.payloadText);
  await triggers.ack(event.id);
}
