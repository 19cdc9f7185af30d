// Sends one event, whose type and payload the compiler checks.
//   ZAPIER_TRIGGERS_KEY=zap_live_... bun examples/send.ts

import { Triggers } from "../src/sdk/client.ts";

const url = process.env.ZAPIER_TRIGGERS_URL ?? "http://127.0.0.1:3000";
const key = process.env.ZAPIER_TRIGGERS_KEY ?? "";

/** Event types and their payloads: the same type may be given to what reads the events. */
type Events = {
  "order.created": { order: number; total: number };
  "order.cancelled": { order: number; reason: string };
};
const triggers = new Triggers<Events>({ url, key });

// When this resolves, the event is on disk. The dedup id makes it safe to send it again after a lost answer, which the
// client then does by itself; what was there already is told as "duplicate", and is no error.
const { id, status } = await triggers.send({
  type: "order.created",
  payload: { order: 1042, total: 129.9 },
  dedupId: "order-1042-created",
});
console.log(`${status}: ${id}`);
