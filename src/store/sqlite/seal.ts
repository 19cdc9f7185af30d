// Seals the tail: writes what needs another order than acceptance, in one sorted run per index, between groups.
// Reads find unsealed events by scanning the tail, so its length bounds their cost; the run's length bounds the
// pause of the writer (5-6 ms at 2 000-4 000 events, 27-53 ms at 20 000) and divides the pages written.

import type { Context } from "./context.ts";
import { statusSql } from "./status.ts";

/** Events in the tail before it is sealed. */
export const SEAL_EVENTS = 2_000;

/** Seals everything up to `last`, the seq of the newest event, in the caller's transaction. */
export function prepareSeal(ctx: Context): (last: number) => void {
  const indexInbox = ctx.db.prepare<void, [number, number]>(
    `INSERT INTO inbox (org, status, event)
     SELECT org, ${statusSql("events.seq")}, seq FROM events WHERE seq > ? AND seq <= ? ORDER BY 1, 2, 3`,
  );
  const queueWaiting = ctx.db.prepare<void, [number, number]>(
    "UPDATE deliveries SET queued = 1 WHERE event > ? AND event <= ? AND state = 0",
  );
  const mark = ctx.db.prepare<void, [number]>("UPDATE marks SET value = ? WHERE name = 'sealed'");
  return (last) => {
    indexInbox.run(ctx.sealed, last);
    queueWaiting.run(ctx.sealed, last);
    ctx.dedup.writeRun(last);
    mark.run(last);
  };
}
