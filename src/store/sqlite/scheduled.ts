// Events with a deliver_at: hidden from the inbox until then. Their deliveries have that time as their due_at, so the
// delivery thread needs no word of it; for consumers they appear by steps, which one timer calls (sqlite_store.ts).

import type { Context } from "./context.ts";
import { prepareIndexStatus } from "./index_status.ts";

export type Appeared = {
  /** When the next hidden event is due; null when none is hidden. May be in the past: then there is more to do. */
  readonly nextAtMs: number | null;
};

/** Lets up to `eventsMax` events appear whose time has come. */
export function prepareAppearStep(ctx: Context): (op: { eventsMax: number }) => Appeared {
  const indexStatus = prepareIndexStatus(ctx);
  const due = ctx.db.prepare<{ event: number; org: number }, [number, number]>(
    `SELECT event, org FROM scheduled WHERE nth IS NULL AND appear_at <= ? ORDER BY appear_at, event LIMIT +?`,
  );
  const appear = ctx.db.prepare<void, [number, number]>("UPDATE scheduled SET nth = ? WHERE event = +?");
  const count = ctx.db.prepare<{ value: number }, []>(
    "UPDATE marks SET value = value + 1 WHERE name = 'appeared' RETURNING value",
  );
  const next = ctx.db.prepare<{ at: number | null }, []>(
    "SELECT min(appear_at) AS at FROM scheduled WHERE nth IS NULL",
  );
  return ({ eventsMax }) => {
    for (const { event, org } of due.all(ctx.nowMs, eventsMax)) {
      appear.run(count.get()?.value ?? 0, event);
      indexStatus(org, event);
      ctx.frontiers.lower(org, event);
      ctx.effects.readable.push(org);
    }
    return { nextAtMs: next.get()?.at ?? null };
  };
}
