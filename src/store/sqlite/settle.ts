// Records one attempt, moves its delivery along the state machine, and keeps its endpoint's health. A delivery that was
// cancelled, or settled twice after a crash, keeps its state: a late failure undoes nothing, a late success is recorded.
// One that was put back while it was in flight has begun another round, of which a failure of the old one uses up nothing.

import type { Changes } from "bun:sqlite";
import type { DisabledReason } from "../../wire/tiers.ts";
import { prepareRecordOfEndpoint } from "./audit.ts";
import type { Context } from "./context.ts";
import { ageKey } from "./due.ts";
import { prepareHold, prepareLetGo } from "./hold.ts";
import { prepareIndexStatus } from "./index_status.ts";
import type { SettleOp } from "./op.ts";
import { state } from "./status.ts";

/** Kept of one delivery: retries and replays by hand have no end. */
const ATTEMPTS_KEPT = 100;

type Row = {
  state: number;
  attempts: number;
  attempts_before: number;
  due_at: number | null;
  org: number;
  ordered: number;
};

export function prepareSettle(ctx: Context): (op: SettleOp) => 0 {
  const indexStatus = prepareIndexStatus(ctx);
  const insertAttempt = prepareInsertAttempt(ctx);
  const settleEndpoint = prepareSettleEndpoint(ctx);
  const hold = prepareHold(ctx);
  const letGo = prepareLetGo(ctx);
  const find = ctx.db.prepare<Row, [number, number]>(
    `SELECT d.state, d.attempts, d.attempts_before, d.due_at, e.org, p.ordered FROM deliveries d JOIN events e ON e.seq = d.event
     JOIN endpoints p ON p.endpoint = d.endpoint WHERE d.event = +? AND d.endpoint = +?`,
  );
  const update = ctx.db.prepare<
    void,
    [number, number, number, number | null, number, number, number, number]
  >(
    `UPDATE deliveries SET state = ?, attempts = ?, attempts_before = ?, due_at = ?, queued = ?, updated_at = ?
     WHERE event = +? AND endpoint = +?`,
  );

  return (op) => {
    settleEndpoint(op);
    const row = find.get(op.event, op.endpoint);
    if (!row) return 0; // deleted, erased or pruned meanwhile: nobody is left to tell
    const isOfOldRound = row.state === state.waiting && row.attempts_before !== op.round;
    const attempt = row.attempts + 1;
    insertAttempt(op, attempt);
    const next = nextState(row.state, op, isOfOldRound);
    const waits = next === state.waiting;
    const dueAt = waits ? nextDueAt(op, row, isOfOldRound) : null;
    const queued = waits && op.event <= ctx.sealed.due ? 1 : 0;
    const before = row.attempts_before + (isOfOldRound ? 1 : 0);
    update.run(next, attempt, before, dueAt, queued, ctx.nowMs, op.event, op.endpoint);
    indexStatus(row.org, op.event);
    if (row.ordered === 0) return 0;
    if (!waits) letGo(op.endpoint, op.event, op.event);
    else if (!isOfOldRound && op.outcome === "retry") hold(op.endpoint, op.event, op.dueAtMs ?? ctx.nowMs);
    return 0;
  };
}

function nextState(from: number, { outcome }: SettleOp, isOfOldRound: boolean): number {
  if (outcome === "delivered") return state.delivered;
  if (isOfOldRound) return state.waiting;
  if (from !== state.waiting) return from;
  return outcome === "dead_letter" ? state.deadLetter : state.waiting;
}

/** On an ordered endpoint it keeps its place in line, and the endpoint is held instead; after 410 it is held in its place. */
function nextDueAt(op: SettleOp, { due_at, ordered }: Row, isOfOldRound: boolean): number {
  if (isOfOldRound && due_at !== null) return due_at;
  if (ordered !== 0) return ageKey(op.event);
  return op.dueAtMs ?? due_at ?? ageKey(op.event);
}

function prepareInsertAttempt(ctx: Context): (op: SettleOp, attempt: number) => void {
  const insert = ctx.db.prepare<
    void,
    [number, number, number, number, number, number | null, string | null, string | null]
  >(
    `INSERT INTO attempts (event, endpoint, attempt, started_at, duration_ms, response_status, error, response_excerpt)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
  );
  const forget = ctx.db.prepare<void, [number, number, number]>(
    "DELETE FROM attempts WHERE event = +? AND endpoint = +? AND attempt <= ?",
  );
  return (op, attempt) => {
    insert.run(
      op.event,
      op.endpoint,
      attempt,
      op.startedAtMs,
      op.durationMs,
      op.responseStatus,
      op.error,
      op.responseExcerpt,
    );
    if (attempt > ATTEMPTS_KEPT) forget.run(op.event, op.endpoint, attempt - ATTEMPTS_KEPT);
  };
}

/** The endpoint's side of an attempt: its health when that changed, and the reasons to disable it. */
function prepareSettleEndpoint(ctx: Context): (op: SettleOp) => void {
  const saveClock = prepareSaveClock(ctx);
  // A result from before it was enabled neither brings its failures back nor disables it again: that forgot since when
  // it had been failing.
  const saveHealth = ctx.db.prepare<void, [number, number | null, number | null, number]>(
    `UPDATE endpoints SET failures = ?1, failing_since = ?2, paused_until = ?3
     WHERE endpoint = +?4 AND (?1 <= 1 OR failing_since = +?2)`,
  );
  const disableHopeless = ctx.db.prepare<void, [number, number, number | null]>(
    `UPDATE endpoints SET disabled_at = ?, disabled_reason = 'failing'
     WHERE endpoint = +? AND failing_since = +? AND disabled_at IS NULL`,
  );
  const disableGone = ctx.db.prepare<void, [number, number]>(
    "UPDATE endpoints SET disabled_at = ?, disabled_reason = 'gone' WHERE endpoint = +? AND disabled_at IS NULL",
  );
  const record = prepareRecordOfEndpoint(ctx);
  const recordWhere = ({ changes }: Changes, endpoint: number, reason: DisabledReason) => {
    if (changes > 0) record(endpoint, { action: "endpoint.disabled", details: { reason } });
  };
  return (op) => {
    saveClock(op.clockMs);
    if (op.hopeless && op.health) {
      recordWhere(disableHopeless.run(ctx.nowMs, op.endpoint, op.health[1]), op.endpoint, "failing");
    }
    if (op.health) saveHealth.run(...op.health, op.endpoint);
    if (op.outcome === "gone") recordWhere(disableGone.run(ctx.nowMs, op.endpoint), op.endpoint, "gone");
    if (op.hopeless || op.outcome === "gone") ctx.effects.endpoints.push(op.endpoint);
  };
}

/** How far behind the mark may be: after a restart it tells how far the clock was set back (engine.ts). */
const CLOCK_MARK_MS = 10_000;

function prepareSaveClock(ctx: Context): (clockMs: number) => void {
  const save = ctx.db.prepare<void, [number]>(
    "UPDATE marks SET value = max(value, ?) WHERE name = 'delivery_clock'",
  );
  let savedMs = 0;
  return (clockMs) => {
    if (clockMs < savedMs + CLOCK_MARK_MS) return;
    save.run(clockMs);
    savedMs = clockMs;
  };
}
