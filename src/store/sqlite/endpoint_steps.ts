// What concerns all that waits for one endpoint: done in small steps, each an op in a group like any other, so that
// others wait for one step at most. The caller repeats them until they are done, also after a restart.

import type { Context } from "./context.ts";
import { ageKey } from "./due.ts";
import { prepareIndexStatus } from "./index_status.ts";
import type { AgeCursor } from "./op.ts";

/** Cancels up to `deliveriesMax` waiting deliveries of a deleted endpoint; `done` when none is left. */
export function prepareCancelStep(ctx: Context) {
  const indexStatus = prepareIndexStatus(ctx);
  const waiting = ctx.db.prepare<{ event: number; org: number }, [number, number, number]>(
    `SELECT d.event, e.org FROM deliveries d JOIN events e ON e.seq = d.event
     WHERE d.endpoint = +?1 AND d.queued = 1
     UNION ALL
     SELECT d.event, e.org FROM deliveries d JOIN events e ON e.seq = d.event
     WHERE d.event > ?2 AND d.endpoint = +?1 AND d.state = 0 LIMIT +?3`,
  );
  const cancel = ctx.db.prepare<void, [number, number, number]>(
    `UPDATE deliveries SET state = 3, due_at = NULL, queued = 0, updated_at = ? WHERE event = +? AND endpoint = +?`,
  );
  return ({ endpoint, deliveriesMax }: { endpoint: number; deliveriesMax: number }): { done: boolean } => {
    const rows = waiting.all(endpoint, ctx.sealed.due, deliveriesMax);
    for (const { event, org } of rows) {
      cancel.run(ctx.nowMs, event, endpoint);
      indexStatus(org, event);
    }
    return { done: rows.length < deliveriesMax };
  };
}

type Waiting = { event: number; due_at: number };

/**
 * Puts what waits for an endpoint in the order of age: one step looks at up to `looksMax` deliveries. The endpoint is
 * marked as aging and sends nothing until the last step, so the oldest event is the first to go. `next` continues.
 */
export function prepareAgeStep(ctx: Context) {
  const look = ctx.db.prepare<Waiting, [number, number, number, number]>(
    `SELECT event, due_at FROM deliveries
     WHERE endpoint = +?1 AND queued = 1 AND (due_at, event) > (?2, ?3) ORDER BY due_at, event LIMIT +?4`,
  );
  const tail = ctx.db.prepare<Waiting, [number, number]>(
    "SELECT event, due_at FROM deliveries WHERE event > ? AND endpoint = +? AND state = 0",
  );
  // One that waits for its deliver_at keeps its time.
  const age = ctx.db.prepare<void, [number, number, number]>(
    `UPDATE deliveries SET due_at = ?1 WHERE event = +?2 AND endpoint = +?3
     AND NOT EXISTS (SELECT 1 FROM scheduled WHERE event = +?2 AND nth IS NULL)`,
  );
  const finish = ctx.db.prepare<void, [number]>("UPDATE endpoints SET aging = 0 WHERE endpoint = +?");

  const ageRows = (endpoint: number, rows: readonly Waiting[]) => {
    for (const { event, due_at } of rows) {
      if (due_at !== ageKey(event)) age.run(ageKey(event), event, endpoint);
    }
  };
  return (op: {
    endpoint: number;
    after: AgeCursor | null;
    looksMax: number;
  }): { next: AgeCursor | null } => {
    const { endpoint, after, looksMax } = op;
    // First: what is sealed between two steps may get a place that the walk is past already.
    if (after === null) ageRows(endpoint, tail.all(ctx.sealed.due, endpoint));
    const rows = look.all(endpoint, after?.dueAt ?? -Number.MAX_SAFE_INTEGER, after?.event ?? 0, looksMax);
    ageRows(endpoint, rows);
    const last = rows.at(-1);
    // A row that was moved went to a smaller key: the walk does not meet it again.
    if (last && rows.length === looksMax) return { next: { dueAt: last.due_at, event: last.event } };
    finish.run(endpoint);
    ctx.effects.aged.push(endpoint);
    return { next: null };
  };
}
