// Ends the pause of an ordered endpoint. It pauses until the retry of the delivery that is first in line; when that one
// does not wait any more, or somebody wants it now, the line goes on. A pause for an older event stays: each early try
// would use up its schedule.

import { BREAKER_FAILURES } from "../../webhook/breaker.ts";
import type { Context } from "./context.ts";
import { ageKey } from "./due.ts";

/** Call after the change to this event's delivery. An open breaker's pause is another matter. */
export function prepareUnpause(ctx: Context): (endpoint: number, event: number) => void {
  const unpause = ctx.db.prepare<void, [number, number, number, number, number]>(
    `UPDATE endpoints SET paused_until = NULL
     WHERE endpoint = +?1 AND ordered = 1 AND failures < ?2 AND paused_until IS NOT NULL
       AND NOT EXISTS (SELECT 1 FROM deliveries WHERE endpoint = +?1 AND queued = 1 AND (due_at, event) < (?3, ?4))
       AND NOT EXISTS (SELECT 1 FROM deliveries WHERE event > ?5 AND event < ?4 AND endpoint = +?1 AND state = 0
         AND NOT EXISTS (SELECT 1 FROM scheduled s WHERE s.event = deliveries.event))`,
  );
  return (endpoint, event) => {
    const { changes } = unpause.run(endpoint, BREAKER_FAILURES, ageKey(event), event, ctx.sealed.due);
    if (changes > 0) ctx.effects.unpaused.push(endpoint);
  };
}
