// Acknowledges events by their consumer: the event is delivered, what was outstanding is cancelled.

import { isId, seqOfId } from "../../base/id.ts";
import type { AckResult } from "../store.ts";
import type { Context } from "./context.ts";
import { prepareIndexStatus } from "./index_status.ts";
import { prepareUnpause } from "./unpause.ts";

/** Cancels what waits of an event. */
export function prepareCancelWaiting(ctx: Context): (event: number) => void {
  const unpause = prepareUnpause(ctx);
  const cancel = ctx.db.prepare<{ endpoint: number }, [number, number]>(
    `UPDATE deliveries SET state = 3, due_at = NULL, queued = 0, updated_at = ? WHERE event = ? AND state = 0
     RETURNING endpoint`,
  );
  return (event) => {
    for (const { endpoint } of cancel.all(ctx.nowMs, event)) unpause(endpoint, event);
  };
}

/** Acknowledges one event of this organization; again keeps its first time, which is returned. */
export function prepareAckEvent(ctx: Context): (org: number, event: number) => number {
  const indexStatus = prepareIndexStatus(ctx);
  const cancelWaiting = prepareCancelWaiting(ctx);
  const insert = ctx.db.prepare<void, [number, number]>(
    "INSERT OR IGNORE INTO acks (event, acked_at) VALUES (?, ?)",
  );
  const unlease = ctx.db.prepare<void, [number]>("DELETE FROM leased WHERE event = ?");
  const ackedAt = ctx.db.prepare<{ acked_at: number }, [number]>("SELECT acked_at FROM acks WHERE event = ?");
  return (org, event) => {
    const isNew = insert.run(event, ctx.nowMs).changes > 0;
    unlease.run(event);
    cancelWaiting(event);
    indexStatus(org, event);
    return isNew ? ctx.nowMs : (ackedAt.get(event)?.acked_at ?? ctx.nowMs);
  };
}

export function prepareAck(ctx: Context): (op: { org: number; ids: readonly string[] }) => AckResult {
  const ackEvent = prepareAckEvent(ctx);
  const owner = ctx.db.prepare<{ org: number; id: string }, [number]>(
    "SELECT org, id FROM events WHERE seq = ? AND type <> ''",
  );

  return ({ org, ids }) => {
    const acknowledged: { id: string; acknowledgedAtMs: number }[] = [];
    const notFound: string[] = [];
    for (const id of ids) {
      const seq = isId(id) ? seqOfId(id) : null;
      const row = seq === null ? null : owner.get(seq);
      if (seq === null || !row || row.org !== org || row.id !== id) notFound.push(id);
      else acknowledged.push({ id, acknowledgedAtMs: ackEvent(org, seq) });
    }
    return { acknowledged, notFound };
  };
}
