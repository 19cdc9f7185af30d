// Acknowledges events by their consumer: the event is delivered, what was outstanding is cancelled. All of a call at
// once: a statement over a list of a hundred costs a tenth of a hundred statements.

import { idOfSeq, isId, seqOfId } from "../../base/id.ts";
import type { AckResult } from "../store.ts";
import type { Context } from "./context.ts";
import { prepareLetGo } from "./hold.ts";
import { status } from "./status.ts";

/** What an acknowledged event is of which nothing waits, and what it was before, as an SQL list. */
const ACKED = status.delivered;
const OTHERS_SQL = `(${Object.values(status)
  .filter((number) => number !== ACKED)
  .join(", ")})`;

/** Cancels what waits of these events. */
export function prepareCancelWaiting(ctx: Context): (events: readonly number[]) => void {
  const letGo = prepareLetGo(ctx);
  const cancel = ctx.db.prepare<{ event: number; endpoint: number; tried: number }, [number, string]>(
    `UPDATE deliveries SET state = 3, due_at = NULL, queued = 0, updated_at = ?
     WHERE event IN (SELECT value FROM json_each(?)) AND state = 0 RETURNING event, endpoint,
       attempts > attempts_before AS tried`,
  );
  return (events) => {
    for (const { event, endpoint, tried } of cancel.all(ctx.nowMs, JSON.stringify(events))) {
      // Nothing is held for what it never got.
      if (tried !== 0) letGo(endpoint, event, event);
    }
  };
}

/** Acknowledges events of this organization; one that was acknowledged keeps its first time. */
export function prepareAckEvents(ctx: Context): (org: number, events: readonly number[]) => void {
  const cancelWaiting = prepareCancelWaiting(ctx);
  const insert = ctx.db.prepare<void, [number, string]>(
    "INSERT OR IGNORE INTO acks (event, acked_at) SELECT value, ? FROM json_each(?)",
  );
  const unlease = ctx.db.prepare<void, [string]>(
    "DELETE FROM leased WHERE event IN (SELECT value FROM json_each(?))",
  );
  const unindex = ctx.db.prepare<{ event: number }, [number, string]>(
    `DELETE FROM inbox WHERE org = +? AND status IN ${OTHERS_SQL} AND event IN (SELECT value FROM json_each(?))
     RETURNING event`,
  );
  const index = ctx.db.prepare<void, [number, string]>(
    `INSERT INTO inbox (org, status, event) SELECT ?, ${ACKED}, value FROM json_each(?)`,
  );
  return (org, events) => {
    const list = JSON.stringify(events);
    insert.run(ctx.nowMs, list);
    unlease.run(list);
    cancelWaiting(events);
    // What is not sealed yet has no row: the sealing will write its status as it is by then.
    const sealed = events.filter((event) => event <= ctx.sealing);
    const moved = unindex.all(org, JSON.stringify(sealed)).map(({ event }) => event);
    index.run(org, JSON.stringify(moved));
  };
}

type Found = { seq: number; org: number; tail: string; acked_at: number | null };

export function prepareAck(ctx: Context): (op: { org: number; ids: readonly string[] }) => AckResult {
  const ackEvents = prepareAckEvents(ctx);
  const find = ctx.db.prepare<Found, [string]>(
    `SELECT e.seq, e.org, e.tail, a.acked_at FROM json_each(?) j CROSS JOIN events e ON e.seq = j.value AND e.type <> ''
     LEFT JOIN acks a ON a.event = e.seq`,
  );
  return ({ org, ids }) => {
    const seqs = ids.flatMap((id) => (isId(id) ? (seqOfId(id) ?? []) : []));
    const own = new Map<string, Found>();
    for (const row of find.all(JSON.stringify(seqs))) {
      if (row.org === org) own.set(idOfSeq(row.seq, row.tail), row);
    }
    ackEvents(
      org,
      [...own.values()].map((row) => row.seq),
    );
    const acknowledged = ids.flatMap((id) => {
      const row = own.get(id);
      return row ? [{ id, acknowledgedAtMs: row.acked_at ?? ctx.nowMs }] : [];
    });
    return { acknowledged, notFound: ids.filter((id) => !own.has(id)) };
  };
}
