// Records one attempt and moves its delivery along the state machine. A delivery that was cancelled, or settled
// twice after a crash, keeps its state: a late failure undoes nothing, a late success is recorded.

import type { Context } from "./context.ts";
import { prepareIndexStatus } from "./index_status.ts";
import type { SettleOp } from "./op.ts";
import { state } from "./status.ts";

type Row = { state: number; attempts: number; org: number };

export function prepareSettle(ctx: Context): (op: SettleOp) => 0 {
  const indexStatus = prepareIndexStatus(ctx);
  const find = ctx.db.prepare<Row, [number, number]>(
    `SELECT d.state, d.attempts, e.org FROM deliveries d JOIN events e ON e.seq = d.event
     WHERE d.event = ? AND d.endpoint = ?`,
  );
  const update = ctx.db.prepare<void, [number, number, number | null, number, number, number, number]>(
    `UPDATE deliveries SET state = ?, attempts = ?, due_at = ?, queued = ?, updated_at = ?
     WHERE event = ? AND endpoint = ?`,
  );
  const insertAttempt = ctx.db.prepare<
    void,
    [number, number, number, number, number, number | null, string | null, string | null]
  >(
    `INSERT INTO attempts (event, endpoint, attempt, started_at, duration_ms, response_status, error, response_excerpt)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
  );
  const disable = ctx.db.prepare<void, [number, string, number]>(
    "UPDATE endpoints SET disabled_at = ?, disabled_reason = ? WHERE endpoint = ? AND disabled_at IS NULL",
  );

  return (op) => {
    const row = find.get(op.event, op.endpoint);
    if (!row) return 0; // erased or pruned meanwhile: nobody is left to tell
    const attempt = row.attempts + 1;
    insertAttempt.run(
      op.event,
      op.endpoint,
      attempt,
      op.startedAtMs,
      op.durationMs,
      op.responseStatus,
      op.error,
      op.responseExcerpt,
    );
    const next = nextState(row.state, op);
    const waits = next === state.waiting;
    const queued = waits && op.event <= ctx.sealed.due ? 1 : 0;
    update.run(
      next,
      attempt,
      waits ? (op.dueAtMs ?? ctx.nowMs) : null,
      queued,
      ctx.nowMs,
      op.event,
      op.endpoint,
    );
    if (op.outcome === "gone") {
      disable.run(ctx.nowMs, "the endpoint answered 410 Gone", op.endpoint);
      ctx.effects.endpoints.push(op.endpoint);
    }
    indexStatus(row.org, op.event);
    return 0;
  };
}

function nextState(from: number, { outcome }: SettleOp): number {
  if (outcome === "delivered") return state.delivered;
  if (from !== state.waiting) return from;
  return outcome === "dead_letter" ? state.deadLetter : state.waiting;
}
