// Leases: events handed to one consumer for a time. All of it happens in the writer, one op after the other, so no
// event is in two live leases. A lease that runs out is noticed by the next op of its organization; nothing polls.

import { idOfSeq } from "../../base/id.ts";
import { typeMatcher } from "../../webhook/event_types.ts";
import type { LeaseOutcome } from "../store.ts";
import { prepareAckEvents } from "./ack.ts";
import type { Context } from "./context.ts";
import { EventWalk } from "./event_walk.ts";
import { prepareIndexStatus } from "./index_status.ts";
import { status } from "./status.ts";

/** Leased so often and never acknowledged, an event is a dead letter: it would stop its consumers for ever. */
export const LEASED_TIMES_MAX = 20;
/** Of a rare type: a step of the writer looks at so many events (about 5 ms); the next one goes on behind them. */
const EXAMINED_MAX = 5_000;
/** Payloads of one lease together, unless the first alone is more. */
const LEASE_BYTES_MAX = 8 * 1024 * 1024;
const BATCH = 256;
/** A lease that is over is remembered so long, for acknowledgements that come late. */
const REMEMBERED_MS = 24 * 60 * 60 * 1000;
const LEASES_PER_STEP = 100;

/** Events by their keys, and how often each was leased by now. */
export type LeasedSeqs = {
  readonly seqs: readonly number[];
  readonly times: readonly number[];
  readonly untilMs: number;
  readonly nextFreeAtMs: number | null;
  /** There may be more: a step looks only so far. */
  readonly isCut: boolean;
};

type LeaseRow = { lease: number; until: number; over: number; events: string };

export function prepareLease(ctx: Context) {
  const runOut = prepareRunOut(ctx);
  const candidates = prepareCandidates(ctx);
  const insertLease = ctx.db.prepare<{ lease: number }, [string, number, number, string]>(
    "INSERT INTO leases (id, org, until, over, events) VALUES (?, ?, ?, 0, ?) RETURNING lease",
  );
  const take = ctx.db.prepare<{ event: number; times: number }, [number, number, string]>(
    `INSERT INTO leased (event, org, lease, free, times) SELECT value, ?, ?, 0, 1 FROM json_each(?) WHERE true
     ON CONFLICT (event) DO UPDATE SET lease = excluded.lease, free = 0, times = times + 1 RETURNING event, times`,
  );
  const nextFree = ctx.db.prepare<{ until: number | null }, [number]>(
    "SELECT min(until) AS until FROM leases WHERE org = +? AND over = 0",
  );
  type Op = { org: number; id: string; max: number; leaseMs: number; type: string | null };
  return ({ org, id, max, leaseMs, type }: Op): LeasedSeqs => {
    runOut(org);
    const untilMs = ctx.nowMs + leaseMs;
    const { seqs, isCut } = candidates(org, type, max);
    const list = JSON.stringify(seqs);
    const lease = seqs.length > 0 ? insertLease.get(id, org, untilMs, list)?.lease : undefined;
    const rows = lease === undefined ? [] : take.all(org, lease, list);
    const times = new Map(rows.map((row) => [row.event, row.times]));
    const nextFreeAtMs = nextFree.get(org)?.until ?? null;
    return { seqs, times: seqs.map((seq) => times.get(seq) ?? 1), untilMs, nextFreeAtMs, isCut };
  };
}

type Looked = { seq: number; type: string; bytes: number; taken: number };

/** The oldest events that nobody has: of those that came back, and of those behind the frontier. */
function prepareCandidates(ctx: Context) {
  const walk = new EventWalk(ctx.db);
  const look = ctx.db.prepare<Looked, [string]>(
    `SELECT e.seq, e.type, octet_length(e.payload) AS bytes, l.event IS NOT NULL AS taken
     FROM json_each(?) j CROSS JOIN events e ON e.seq = j.value LEFT JOIN leased l ON l.event = e.seq`,
  );
  const free = ctx.db.prepare<{ event: number }, [number, number]>(
    "SELECT event FROM leased WHERE org = +? AND free = 1 ORDER BY event LIMIT +?",
  );
  const statuses = [status.pending, status.failed];
  /** Of these events in their order. */
  const wanted = (events: readonly number[], matches: (type: string) => boolean) =>
    look.all(JSON.stringify(events)).filter(({ type }) => matches(type));
  /** Up to `max` behind the frontier, and how far was looked. */
  const behind = (org: number, from: number, max: number, matches: (type: string) => boolean) => {
    const found: Looked[] = [];
    let low = from;
    let examined = 0;
    while (found.length < max && examined < EXAMINED_MAX) {
      const range = { org, low, high: Number.MAX_SAFE_INTEGER, order: "ASC" as const, statuses };
      const batch = walk.seqs(range, Math.min(BATCH, max));
      const rest = wanted(batch, matches).filter(({ taken }) => taken === 0);
      found.push(...rest.slice(0, max - found.length));
      // What is over `max` is still to be looked at.
      low = (rest.length > 0 && found.length === max ? found.at(-1)?.seq : batch.at(-1)) ?? low;
      examined += batch.length;
      if (batch.length === 0) return { found, low, isCut: false };
    }
    return { found, low, isCut: found.length < max };
  };
  return (org: number, type: string | null, max: number): { seqs: readonly number[]; isCut: boolean } => {
    const matches = type === null ? () => true : typeMatcher([type]);
    const back = free.all(org, type === null ? max : EXAMINED_MAX).map((row) => row.event);
    const fresh = behind(org, ctx.frontiers.low(org, type), max, matches);
    // With filters by type, what came back may be younger than what another filter passed by.
    const all = [...wanted(back, matches), ...fresh.found].sort((a, b) => a.seq - b.seq);
    const seqs = upToBytes(all.slice(0, max));
    const left = fresh.found.find(({ seq }) => seq > (seqs.at(-1) ?? -1));
    ctx.frontiers.moveTo(org, type, left === undefined ? fresh.low : left.seq - 1);
    return { seqs, isCut: fresh.isCut || seqs.length < all.length };
  };
}

/** As many as fit into one answer, and at least one. */
function upToBytes(rows: readonly Looked[]): readonly number[] {
  let bytes = 0;
  const over = rows.findIndex((row, i) => {
    bytes += row.bytes;
    return i > 0 && bytes > LEASE_BYTES_MAX;
  });
  return rows.slice(0, over < 0 ? rows.length : over).map(({ seq }) => seq);
}

/** Frees what leases of the organization that ran out still hold. */
function prepareRunOut(ctx: Context): (org: number) => void {
  const giveBack = prepareGiveBack(ctx);
  const due = ctx.db.prepare<LeaseRow, [number, number, number]>(
    "SELECT lease, until, over, events FROM leases WHERE org = +? AND over = 0 AND until <= ? ORDER BY until LIMIT +?",
  );
  const setOver = ctx.db.prepare<void, [number]>("UPDATE leases SET over = 1 WHERE lease = +?");
  const forget = ctx.db.prepare<void, [number, number]>(
    "DELETE FROM leases WHERE lease IN (SELECT lease FROM leases WHERE over = 1 AND until < ? LIMIT +?)",
  );
  return (org) => {
    for (const { lease, events } of due.all(org, ctx.nowMs, LEASES_PER_STEP)) {
      giveBack(org, events, lease);
      setOver.run(lease);
    }
    forget.run(ctx.nowMs - REMEMBERED_MS, 2);
  };
}

/**
 * Of these events, what this lease holds comes back: it is free, or given up when it came back too often. All of a lease
 * at once, not two statements for each of a hundred.
 */
function prepareGiveBack(ctx: Context): (org: number, events: string, lease: number) => void {
  const indexStatus = prepareIndexStatus(ctx);
  const held = "event IN (SELECT value FROM json_each(?)) AND lease = +? AND free = 0";
  const worn = ctx.db.prepare<{ event: number }, [string, number, number]>(
    `DELETE FROM leased WHERE ${held} AND times >= ? RETURNING event`,
  );
  const free = ctx.db.prepare<void, [string, number]>(`UPDATE leased SET free = 1 WHERE ${held}`);
  const giveUp = ctx.db.prepare<void, [number, number, string]>(
    "INSERT OR IGNORE INTO given_up (event, given_up_at, reason) VALUES (?, ?, ?)",
  );
  return (org, events, lease) => {
    const reason = `leased_too_often: It was leased ${LEASED_TIMES_MAX} times and never acknowledged.`;
    const givenUp = worn.all(events, lease, LEASED_TIMES_MAX);
    for (const { event } of givenUp) {
      giveUp.run(event, ctx.nowMs, reason);
      indexStatus(org, event);
    }
    const { changes } = free.run(events, lease);
    if (changes + givenUp.length > 0) ctx.effects.readable.push(org);
  };
}

type Part = { readonly org: number; readonly leaseId: string; readonly ids: readonly string[] | null };

/** An event that is asked of a lease, and who leased it last, null when nobody or when it was acknowledged. */
type Asked = {
  readonly event: number;
  readonly tail: string;
  readonly lease: number | null;
  readonly free: number | null;
  readonly acked: number;
};

/** `own`: what this lease holds or held and nobody leased since, or what is acknowledged. */
type Held = {
  readonly lease: LeaseRow;
  readonly own: readonly Asked[];
  readonly lost: readonly string[];
  readonly notFound: readonly string[];
};

/** Finds a lease and what is asked of it; what another consumer has by now is lost, what was deleted is left out. */
function prepareHeld(ctx: Context): (part: Part) => Held | "not_found" {
  const find = ctx.db.prepare<LeaseRow, [string, number]>(
    "SELECT lease, until, over, events FROM leases WHERE id = +? AND org = +?",
  );
  const look = ctx.db.prepare<Asked, [string]>(
    `SELECT e.seq AS event, e.tail, l.lease, l.free, a.event IS NOT NULL AS acked
     FROM json_each(?) j CROSS JOIN events e ON e.seq = j.value AND e.type <> ''
     LEFT JOIN leased l ON l.event = e.seq LEFT JOIN acks a ON a.event = e.seq`,
  );
  return ({ org, leaseId, ids }) => {
    const lease = find.get(leaseId, org);
    if (!lease) return "not_found";
    const rows = look.all(lease.events);
    const byId = ids === null ? null : new Map(rows.map((row) => [idOf(row), row]));
    const asked = byId === null ? rows : [...new Set(ids)].flatMap((id) => byId.get(id) ?? []);
    const isLost = (row: Asked) => row.lease !== null && row.lease !== lease.lease;
    return {
      lease,
      own: asked.filter((row) => !isLost(row)),
      lost: asked.filter(isLost).map(idOf),
      notFound: byId === null ? [] : [...new Set(ids)].filter((id) => !byId.has(id)),
    };
  };
}

function idOf({ event, tail }: Asked): string {
  return idOfSeq(event, tail);
}

function outcome({ lease, lost, notFound }: Held, count: number, untilMs = lease.until): LeaseOutcome {
  return { count, lost, notFound, untilMs };
}

export function prepareAckLease(ctx: Context) {
  const find = prepareHeld(ctx);
  const ackEvents = prepareAckEvents(ctx);
  const setOver = ctx.db.prepare<void, [number]>("UPDATE leases SET over = 1 WHERE lease = +?");
  return (part: Part): LeaseOutcome | "not_found" => {
    const held = find(part);
    if (held === "not_found") return held;
    const leased = held.own.filter((row) => row.lease !== null);
    ackEvents(
      part.org,
      leased.map(({ event }) => event),
    );
    // Nothing is left to run out: the next look for leases that did need not see it.
    if (part.ids === null) setOver.run(held.lease.lease);
    const again = held.own.filter((row) => row.lease === null && row.acked === 1); // after a lost answer
    return outcome(held, leased.length + again.length);
  };
}

export function prepareReleaseLease(ctx: Context) {
  const find = prepareHeld(ctx);
  const giveBack = prepareGiveBack(ctx);
  const hold = ctx.db.prepare<void, [number, number]>("UPDATE leased SET lease = ? WHERE event = +?");
  const insertPause = ctx.db.prepare<{ lease: number }, [string, number, number, string]>(
    "INSERT INTO leases (id, org, until, over, events) VALUES (?, ?, ?, 0, ?) RETURNING lease",
  );
  /** Nobody's lease, which runs out after the delay. */
  const pause = (org: number, id: string, untilMs: number, events: readonly number[]) => {
    const lease = insertPause.get(id, org, untilMs, JSON.stringify(events))?.lease ?? 0;
    for (const event of events) hold.run(lease, event);
    // Who waits has to learn of a time that may be before the one they wait for.
    ctx.effects.readable.push(org);
  };
  return (part: Part & { delayMs: number; pauseId: string }): LeaseOutcome | "not_found" => {
    const held = find(part);
    if (held === "not_found") return held;
    const events = held.own.filter((row) => row.free === 0).map(({ event }) => event);
    if (part.delayMs === 0) giveBack(part.org, JSON.stringify(events), held.lease.lease);
    else if (events.length > 0) pause(part.org, part.pauseId, ctx.nowMs + part.delayMs, events);
    return outcome(held, events.length);
  };
}

export function prepareExtendLease(ctx: Context) {
  const find = prepareHeld(ctx);
  const hold = ctx.db.prepare<void, [number]>("UPDATE leased SET free = 0 WHERE event = +?");
  const extend = ctx.db.prepare<void, [number, number]>(
    "UPDATE leases SET until = ?, over = 0 WHERE lease = +?",
  );
  return (op: { org: number; leaseId: string; leaseMs: number }): LeaseOutcome | "not_found" => {
    const held = find({ ...op, ids: null });
    if (held === "not_found") return held;
    // Of a lease that has not run out, only what was released is free: it is for others.
    const isOver = held.lease.over === 1;
    const leased = held.own.filter(({ lease, free }) => lease !== null && (free === 0 || isOver));
    for (const { event, free } of leased) if (free !== 0) hold.run(event);
    const untilMs = ctx.nowMs + op.leaseMs;
    if (leased.length > 0) extend.run(untilMs, held.lease.lease);
    // Shortened: likewise.
    if (untilMs < held.lease.until) ctx.effects.readable.push(op.org);
    return outcome(held, leased.length, untilMs);
  };
}
