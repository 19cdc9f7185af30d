// Takes events off the disk in small steps: retention and erasure. A step is one op in a group like any other, so
// ingest waits for at most one step.

import { isId, msOfSeq, seqOfId, tailOfId } from "../../base/id.ts";
import type { Actor } from "../store.ts";
import { prepareCancelWaiting } from "./ack.ts";
import { BY_SERVER, prepareForgetCallers, prepareRecord } from "./audit.ts";
import type { Context } from "./context.ts";
import { DEDUP_WINDOW_MS } from "./dedup.ts";
import { prepareForgetKeys } from "./organizations.ts";
import { STATUSES_SQL, status, statusSql } from "./status.ts";

type Seen = { seq: number; org: number; status: number; type: string };

/** Removes one event and all that belongs to it, but its dedup record, which has its own time. */
export function prepareRemoveEvent(ctx: Context): (org: number, seq: number) => void {
  const statements = [
    "DELETE FROM attempts WHERE event = +?",
    "DELETE FROM deliveries WHERE event = +?",
    "DELETE FROM acks WHERE event = +?",
    "DELETE FROM leased WHERE event = +?",
    "DELETE FROM given_up WHERE event = +?",
    "DELETE FROM scheduled WHERE event = +?",
    "DELETE FROM events WHERE seq = +?",
  ].map((sql) => ctx.db.prepare<void, [number]>(sql));
  const untomb = ctx.db.prepare<void, [number, number]>(
    "DELETE FROM tombstones WHERE org = +? AND event = +?",
  );
  const unindex = ctx.db.prepare<void, [number, number]>(
    `DELETE FROM inbox WHERE org = +?1 AND status IN ${STATUSES_SQL} AND event = +?2`,
  );
  // Else, with the clock set back before the next start, another event would get its place: a stream that saw the first
  // one would pass by the second. What is sealed is below a mark already.
  const raise = ctx.db.prepare<void, [number]>(
    "UPDATE marks SET value = max(value, ?) WHERE name = 'removed_unsealed'",
  );
  return (org, seq) => {
    for (const statement of statements) statement.run(seq);
    untomb.run(org, seq);
    if (seq <= ctx.sealing) unindex.run(org, seq);
    if (seq > ctx.sealed.inbox) raise.run(seq);
  };
}

type Deletable = { org: number; tail: string; dedup_id: string | null };

/**
 * Deletes events for their owner: they are gone for all reads. While its dedup id still holds, an event's row stays,
 * with nothing in it but that id; then retention takes it.
 */
export function prepareDeleteEvents(ctx: Context) {
  const removeEvent = prepareRemoveEvent(ctx);
  const cancelWaiting = prepareCancelWaiting(ctx);
  const find = ctx.db.prepare<Deletable, [number]>(
    "SELECT org, tail, dedup_id FROM events WHERE seq = +? AND type <> ''",
  );
  const insert = ctx.db.prepare<void, [number, number, string, string | null]>(
    "INSERT INTO events (seq, org, tail, type, dedup_id, payload) VALUES (?, ?, ?, '', ?, '')",
  );
  const tomb = ctx.db.prepare<void, [number, number]>("INSERT INTO tombstones (org, event) VALUES (?, ?)");
  const remove = (org: number, id: string): boolean => {
    const seq = isId(id) ? seqOfId(id) : null;
    const row = seq === null ? null : find.get(seq);
    if (seq === null || !row || row.org !== org || row.tail !== tailOfId(id)) return false;
    cancelWaiting([seq]);
    removeEvent(org, seq);
    if (row.dedup_id !== null && msOfSeq(seq) > ctx.nowMs - DEDUP_WINDOW_MS) {
      insert.run(seq, org, row.tail, row.dedup_id);
      tomb.run(org, seq);
    }
    return true;
  };
  return ({ org, ids }: { org: number; ids: readonly string[] }): { deleted: number; notFound: string[] } => {
    const notFound = [...new Set(ids)].filter((id) => !remove(org, id));
    return { deleted: new Set(ids).size - notFound.length, notFound };
  };
}

/** What retention takes; not what still has a delivery to make. */
const OVER: readonly number[] = [status.deadLetter, status.delivered];

export type Pruned = { readonly removed: number; readonly nextSeq: number | null };

/**
 * One step of retention: looks at up to `eventsMax` events between the two seqs and removes the delivered, the
 * dead-lettered and the deleted. `nextSeq` continues, null when the range is done.
 */
export function preparePruneStep(ctx: Context) {
  const removeEvent = prepareRemoveEvent(ctx);
  const forgetKeys = prepareForgetKeys(ctx);
  const look = ctx.db.prepare<Seen, [number, number, number]>(
    `SELECT seq, org, type, ${statusSql("events.seq")} AS status FROM events
     WHERE seq > ? AND seq < ? AND seq <= (SELECT value FROM marks WHERE name = 'inbox_sealed') ORDER BY seq LIMIT +?`,
  );
  return (op: { afterSeq: number; beforeSeq: number; eventsMax: number }): Pruned => {
    const moreExpired = ctx.dedup.deleteExpired(ctx.nowMs);
    forgetKeys();
    const seen = look.all(op.afterSeq, op.beforeSeq, op.eventsMax);
    const over = seen.filter((one) => one.type === "" || OVER.includes(one.status));
    for (const { org, seq } of over) removeEvent(org, seq);
    const last = seen.at(-1)?.seq ?? op.afterSeq;
    const done = seen.length < op.eventsMax && !moreExpired;
    return { removed: over.length, nextSeq: done ? null : last };
  };
}

/** Marks an organization as being erased: its keys are dead from here on, and its name is forgotten. */
export function prepareStartErase(ctx: Context) {
  const start = ctx.db.prepare<void, [number, number]>(
    "UPDATE organizations SET disabled = 1, erasing = 1, name = '', updated_at = ? WHERE org = +?",
  );
  return ({ org }: { org: number }): "started" | "not_found" => {
    ctx.fanOut.forget(org); // no event of it is taken any more
    return start.run(ctx.nowMs, org).changes > 0 ? "started" : "not_found";
  };
}

/** One step of erasure; `done` when nothing of the organization is left but its row. */
export function prepareEraseStep(ctx: Context) {
  const removeEvent = prepareRemoveEvent(ctx);
  const indexed = ctx.db.prepare<{ seq: number }, [number, number]>(
    "SELECT event AS seq FROM inbox WHERE org = +? LIMIT +?",
  );
  const tombs = ctx.db.prepare<{ seq: number }, [number, number]>(
    "SELECT event AS seq FROM tombstones WHERE org = +? LIMIT +?",
  );
  const unsealed = ctx.db.prepare<{ seq: number }, [number, number, number]>(
    "SELECT seq FROM events WHERE seq > ? AND org = +? LIMIT +?",
  );
  const endpoints = ctx.db.prepare<{ endpoint: number }, [number]>(
    "SELECT endpoint FROM endpoints WHERE org = +?",
  );
  const rest = [
    "DELETE FROM leases WHERE org = +?",
    "DELETE FROM replays WHERE org = +?",
    "DELETE FROM endpoints WHERE org = +?",
    "DELETE FROM api_keys WHERE org = +?",
  ].map((sql) => ctx.db.prepare<void, [number]>(sql));
  const forgetCallers = prepareForgetCallers(ctx);

  return ({ org, eventsMax }: { org: number; eventsMax: number }): { done: boolean } => {
    const rows = [...tombs.all(org, eventsMax)];
    if (rows.length < eventsMax) rows.push(...indexed.all(org, eventsMax - rows.length));
    if (rows.length < eventsMax) rows.push(...unsealed.all(ctx.sealed.inbox, org, eventsMax - rows.length));
    for (const { seq } of rows) removeEvent(org, seq);
    if (rows.length === eventsMax) return { done: false };
    for (const { endpoint } of endpoints.all(org)) ctx.effects.endpoints.push(endpoint);
    for (const statement of rest) statement.run(org);
    forgetCallers(org);
    ctx.fanOut.forget(org);
    ctx.effects.erased = true;
    return { done: true };
  };
}

const LATE_EVENTS = 200;

/** The end of an erasure, when the files are clean: the row that would begin it again after a restart. */
export function prepareEndErase(ctx: Context) {
  const record = prepareRecord(ctx);
  const eraseStep = prepareEraseStep(ctx);
  // A call that was let in before the erasure began may have been written behind its last step.
  const late = ctx.db.prepare<{ one: number }, [number]>(
    "SELECT 1 AS one FROM api_keys WHERE org = +?1 UNION ALL SELECT 1 FROM endpoints WHERE org = +?1 LIMIT 1",
  );
  const remove = ctx.db.prepare<{ id: string }, [number]>(
    "DELETE FROM organizations WHERE org = +? RETURNING id",
  );
  return ({ org, by = BY_SERVER }: { org: number; by?: Actor }): { done: boolean } => {
    if (late.get(org)) eraseStep({ org, eventsMax: LATE_EVENTS });
    if (!ctx.scrubbed || ctx.effects.erased) return { done: false };
    const row = remove.get(org);
    if (row) record(row.id, by, { action: "organization.erased", subjectId: null });
    return { done: true };
  };
}
