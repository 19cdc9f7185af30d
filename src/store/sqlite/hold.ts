// The hold of an ordered endpoint: its first delivery keeps its place in line, so all of them wait until that one's retry.
// When that one does not wait any more, or somebody wants it now, the line goes on. A Retry-After and the probes of an
// open breaker are another matter: they are about the endpoint, and stay.

import type { Context } from "./context.ts";

/** Nothing is sent to an endpoint before this, whatever the reason; 0: nothing holds it up. */
export const PAUSED_UNTIL_SQL = "max(coalesce(paused_until, 0), coalesce(held_until, 0))";

/** Holds an endpoint for the retry of this event's delivery; of two holds the longer one stays. */
export function prepareHold(ctx: Context): (endpoint: number, event: number, untilMs: number) => void {
  const hold = ctx.db.prepare<void, [number, number, number]>(
    `UPDATE endpoints SET held_for = ?2, held_until = ?3
     WHERE endpoint = +?1 AND (held_until IS NULL OR held_until < ?3)`,
  );
  return (endpoint, event, untilMs) => void hold.run(endpoint, event, untilMs);
}

/** Ends the hold when it is for one of these events, from the older to the younger. */
export function prepareLetGo(ctx: Context): (endpoint: number, older: number, younger: number) => void {
  const letGo = ctx.db.prepare<void, [number, number, number]>(
    "UPDATE endpoints SET held_for = NULL, held_until = NULL WHERE endpoint = +? AND held_for BETWEEN ? AND ?",
  );
  return (endpoint, older, younger) => {
    const { changes } = letGo.run(endpoint, older, younger);
    if (changes > 0) ctx.effects.unheld.push(endpoint);
  };
}
