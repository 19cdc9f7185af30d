// Stores one event with its dedup record and its deliveries. Only right edges of b-trees are touched here.

import { tailOfId } from "../../base/id.ts";
import type { Context } from "./context.ts";
import { ageKey } from "./due.ts";
import type { IngestOp } from "./op.ts";

/** 0 when stored; `ORGANIZATION_GONE`; else the id of the event that holds the dedup id. */
export type IngestResult = 0 | typeof ORGANIZATION_GONE | string;
export const ORGANIZATION_GONE = 1;

export function prepareIngest(ctx: Context): (op: IngestOp) => IngestResult {
  const insertEvent = ctx.db.prepare<void, [number, number, string, string, string | null, string]>(
    "INSERT INTO events (seq, org, tail, type, dedup_id, payload) VALUES (?, ?, ?, ?, ?, ?)",
  );
  const insertDelivery = ctx.db.prepare<void, [number, number, number]>(
    `INSERT INTO deliveries (event, endpoint, state, attempts, attempts_before, due_at, queued, updated_at)
     VALUES (?, ?, 0, 0, 0, ?, 0, 0)`,
  );
  const hide = ctx.db.prepare<void, [number, number, number]>(
    "INSERT INTO scheduled (event, org, appear_at) VALUES (?, ?, ?)",
  );
  return ({ seq, org, id, type, dedupId, payload, appearAtMs }) => {
    // A call that was let in before may come behind the last step of the erasure, which would leave the event for good.
    const endpoints = ctx.fanOut.endpoints(org, type);
    if (endpoints === null) return ORGANIZATION_GONE;
    if (dedupId !== null) {
      const first = ctx.dedup.claim(org, dedupId, seq, ctx.nowMs);
      if (first !== null) return first;
    }
    insertEvent.run(seq, org, tailOfId(id), type, dedupId, payload);
    if (appearAtMs !== null) hide.run(seq, org, appearAtMs);
    for (const endpoint of endpoints) {
      insertDelivery.run(seq, endpoint, appearAtMs ?? ageKey(seq));
      if (appearAtMs === null) ctx.effects.due.push(seq, endpoint);
      else ctx.effects.later.push(seq, endpoint, appearAtMs);
    }
    ctx.effects.inserted++;
    ctx.effects.lastSeq = seq;
    return 0;
  };
}
