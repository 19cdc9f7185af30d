// Leases: events handed to one consumer for a time. All of it happens in the writer, one op after the other, so no
// event is in two live leases. A lease that runs out is noticed by the next op of its organization; nothing polls.

import { isId, seqOfId } from "../../base/id.ts";
import { typeMatcher } from "../../webhook/event_types.ts";
import type { LeaseOutcome } from "../store.ts";
import { prepareAckEvent } from "./ack.ts";
import type { Context } from "./context.ts";
import { EventWalk } from "./event_walk.ts";
import { prepareIndexStatus } from "./index_status.ts";
import { status } from "./status.ts";

/** Leased so often and never acknowledged, an event is a dead letter: it would stop its consumers for ever. */
export const LEASED_TIMES_MAX = 20;
/** Of a rare type: after looking at so many events a lease is short, or empty, and the next one goes on behind them. */
const EXAMINED_MAX = 5_000;
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
};

type LeaseRow = { lease: number; until: number; over: number; events: string };
type LeasedRow = { lease: number; free: number; times: number };

export function prepareLease(ctx: Context) {
  const runOut = prepareRunOut(ctx);
  const candidates = prepareCandidates(ctx);
  const insertLease = ctx.db.prepare<{ lease: number }, [string, number, number, string]>(
    "INSERT INTO leases (id, org, until, over, events) VALUES (?, ?, ?, 0, ?) RETURNING lease",
  );
  const take = ctx.db.prepare<{ times: number }, [number, number, number]>(
    `INSERT INTO leased (event, org, lease, free, times) VALUES (?, ?, ?, 0, 1)
     ON CONFLICT (event) DO UPDATE SET lease = excluded.lease, free = 0, times = times + 1 RETURNING times`,
  );
  const nextFree = ctx.db.prepare<{ until: number | null }, [number]>(
    "SELECT min(until) AS until FROM leases WHERE org = ? AND over = 0",
  );
  type Op = { org: number; id: string; max: number; leaseMs: number; type: string | null };
  return ({ org, id, max, leaseMs, type }: Op): LeasedSeqs => {
    runOut(org);
    const untilMs = ctx.nowMs + leaseMs;
    const seqs = candidates(org, type, max);
    const lease =
      seqs.length > 0 ? insertLease.get(id, org, untilMs, JSON.stringify(seqs))?.lease : undefined;
    const times = lease === undefined ? [] : seqs.map((seq) => take.get(seq, org, lease)?.times ?? 1);
    return { seqs, times, untilMs, nextFreeAtMs: nextFree.get(org)?.until ?? null };
  };
}

/** The oldest events that nobody has: of those that came back, and of those behind the frontier. */
function prepareCandidates(ctx: Context) {
  const walk = new EventWalk(ctx.db);
  const typeOf = ctx.db.prepare<{ type: string }, [number]>("SELECT type FROM events WHERE seq = ?");
  const isLeased = ctx.db.prepare<{ event: number }, [number]>("SELECT event FROM leased WHERE event = ?");
  const free = ctx.db.prepare<{ event: number }, [number, number]>(
    "SELECT event FROM leased WHERE org = ? AND free = 1 ORDER BY event LIMIT ?",
  );
  const statuses = [status.pending, status.failed];
  /** Up to `max` behind the frontier, and how far was looked. */
  const behind = (org: number, from: number, max: number, isWanted: (event: number) => boolean) => {
    const seqs: number[] = [];
    let low = from;
    for (let examined = 0; seqs.length < max && examined < EXAMINED_MAX; ) {
      const range = { org, low, high: Number.MAX_SAFE_INTEGER, order: "ASC" as const, statuses };
      const batch = walk.seqs(range, Math.min(BATCH, max));
      for (const event of batch) {
        if (seqs.length === max) break;
        low = event;
        if (!isLeased.get(event) && isWanted(event)) seqs.push(event);
      }
      examined += batch.length;
      if (batch.length === 0) break;
    }
    return { seqs, low };
  };
  return (org: number, type: string | null, max: number): number[] => {
    const matches = type === null ? () => true : typeMatcher([type]);
    const isWanted = (event: number) => type === null || matches(typeOf.get(event)?.type ?? "");
    const limit = type === null ? max : EXAMINED_MAX;
    const back = free.all(org, limit).map((row) => row.event);
    const fresh = behind(org, ctx.frontiers.low(org, type), max, isWanted);
    // With filters by type, what came back may be younger than what another filter passed by.
    const seqs = [...back.filter(isWanted), ...fresh.seqs].sort((a, b) => a - b).slice(0, max);
    const left = fresh.seqs.find((event) => event > (seqs.at(-1) ?? -1));
    ctx.frontiers.moveTo(org, type, left === undefined ? fresh.low : left - 1);
    return seqs;
  };
}

/** Frees what leases of the organization that ran out still hold. */
function prepareRunOut(ctx: Context): (org: number) => void {
  const giveBack = prepareGiveBack(ctx);
  const due = ctx.db.prepare<LeaseRow, [number, number, number]>(
    "SELECT lease, until, over, events FROM leases WHERE org = ? AND over = 0 AND until <= ? ORDER BY until LIMIT ?",
  );
  const setOver = ctx.db.prepare<void, [number]>("UPDATE leases SET over = 1 WHERE lease = ?");
  const forget = ctx.db.prepare<void, [number, number]>(
    "DELETE FROM leases WHERE lease IN (SELECT lease FROM leases WHERE over = 1 AND until < ? LIMIT ?)",
  );
  return (org) => {
    for (const { lease, events } of due.all(org, ctx.nowMs, LEASES_PER_STEP)) {
      for (const event of JSON.parse(events) as number[]) giveBack(org, event, lease);
      setOver.run(lease);
    }
    forget.run(ctx.nowMs - REMEMBERED_MS, 2);
  };
}

/** An event comes back from this lease: it is free, or given up when it came back too often. True when it was held. */
function prepareGiveBack(ctx: Context): (org: number, event: number, lease: number) => boolean {
  const indexStatus = prepareIndexStatus(ctx);
  const held = ctx.db.prepare<{ times: number }, [number, number]>(
    "SELECT times FROM leased WHERE event = ? AND lease = ? AND free = 0",
  );
  const free = ctx.db.prepare<void, [number]>("UPDATE leased SET free = 1 WHERE event = ?");
  const forget = ctx.db.prepare<void, [number]>("DELETE FROM leased WHERE event = ?");
  const giveUp = ctx.db.prepare<void, [number, number, string]>(
    "INSERT OR IGNORE INTO given_up (event, given_up_at, reason) VALUES (?, ?, ?)",
  );
  return (org, event, lease) => {
    const row = held.get(event, lease);
    if (!row) return false;
    if (row.times < LEASED_TIMES_MAX) free.run(event);
    else {
      const reason = `leased_too_often: It was leased ${row.times} times and never acknowledged.`;
      giveUp.run(event, ctx.nowMs, reason);
      forget.run(event);
      indexStatus(org, event);
    }
    ctx.effects.readable.push(org);
    return true;
  };
}

type Part = { readonly org: number; readonly leaseId: string; readonly ids: readonly string[] | null };

/** Finds a lease and walks the events that are asked of it; what another consumer has by now is lost. */
function prepareEachOf(ctx: Context) {
  const find = ctx.db.prepare<LeaseRow, [string, number]>(
    "SELECT lease, until, over, events FROM leases WHERE id = ? AND org = ?",
  );
  const leasedBy = ctx.db.prepare<LeasedRow, [number]>(
    "SELECT lease, free, times FROM leased WHERE event = ?",
  );
  const idOf = ctx.db.prepare<{ id: string }, [number]>("SELECT id FROM events WHERE seq = ? AND type <> ''");
  const wanted = (events: readonly number[], ids: readonly string[] | null) => {
    if (ids === null) return { seqs: events, notFound: [] as string[] };
    const own = new Set(events);
    const seqs: number[] = [];
    const notFound: string[] = [];
    for (const id of new Set(ids)) {
      const seq = isId(id) ? seqOfId(id) : null;
      if (seq !== null && own.has(seq) && idOf.get(seq)?.id === id) seqs.push(seq);
      else notFound.push(id);
    }
    return { seqs, notFound };
  };
  /** `each`: true when it counts. It is asked about what this lease holds or held, and about what nobody leased since. */
  return (
    { org, leaseId, ids }: Part,
    each: (lease: LeaseRow, event: number, row: LeasedRow | null) => boolean,
  ): (LeaseOutcome & { lease: LeaseRow }) | "not_found" => {
    const lease = find.get(leaseId, org);
    if (!lease) return "not_found";
    const { seqs, notFound } = wanted(JSON.parse(lease.events) as number[], ids);
    const lost: string[] = [];
    let count = 0;
    for (const event of seqs) {
      const row = leasedBy.get(event);
      const id = idOf.get(event)?.id;
      if (id === undefined) continue; // deleted since
      if (row && row.lease !== lease.lease) lost.push(id);
      else if (each(lease, event, row)) count++;
    }
    return { count, lost, notFound, untilMs: lease.until, lease };
  };
}

function outcomeOf(found: (LeaseOutcome & { lease: LeaseRow }) | "not_found"): LeaseOutcome | "not_found" {
  if (found === "not_found") return found;
  const { lease: _, ...outcome } = found;
  return outcome;
}

export function prepareAckLease(ctx: Context) {
  const eachOf = prepareEachOf(ctx);
  const ackEvent = prepareAckEvent(ctx);
  const isAcked = ctx.db.prepare<{ event: number }, [number]>("SELECT event FROM acks WHERE event = ?");
  const setOver = ctx.db.prepare<void, [number]>("UPDATE leases SET over = 1 WHERE lease = ?");
  return (part: Part): LeaseOutcome | "not_found" => {
    const found = eachOf(part, (_, event, row) => {
      if (row === null) return isAcked.get(event) !== null; // again, after a lost answer
      ackEvent(part.org, event);
      return true;
    });
    // Nothing is left to run out: the next look for leases that did need not see it.
    if (found !== "not_found" && part.ids === null) setOver.run(found.lease.lease);
    return outcomeOf(found);
  };
}

export function prepareReleaseLease(ctx: Context) {
  const eachOf = prepareEachOf(ctx);
  const giveBack = prepareGiveBack(ctx);
  const hold = ctx.db.prepare<void, [number, number]>("UPDATE leased SET lease = ? WHERE event = ?");
  const insertPause = ctx.db.prepare<{ lease: number }, [string, number, number, string]>(
    "INSERT INTO leases (id, org, until, over, events) VALUES (?, ?, ?, 0, ?) RETURNING lease",
  );
  return (part: Part & { delayMs: number; pauseId: string }): LeaseOutcome | "not_found" => {
    const held: number[] = [];
    const found = eachOf(part, (lease, event, row) => {
      if (row === null || row.free !== 0) return false;
      if (part.delayMs === 0) return giveBack(part.org, event, lease.lease);
      held.push(event);
      return true;
    });
    if (held.length > 0) {
      // Nobody's lease, which runs out after the delay.
      const until = ctx.nowMs + part.delayMs;
      const pause = insertPause.get(part.pauseId, part.org, until, JSON.stringify(held))?.lease ?? 0;
      for (const event of held) hold.run(pause, event);
    }
    return outcomeOf(found);
  };
}

export function prepareExtendLease(ctx: Context) {
  const eachOf = prepareEachOf(ctx);
  const hold = ctx.db.prepare<void, [number]>("UPDATE leased SET free = 0 WHERE event = ?");
  const extend = ctx.db.prepare<void, [number, number]>(
    "UPDATE leases SET until = ?, over = 0 WHERE lease = ?",
  );
  return (op: { org: number; leaseId: string; leaseMs: number }): LeaseOutcome | "not_found" => {
    const untilMs = ctx.nowMs + op.leaseMs;
    const found = eachOf({ ...op, ids: null }, (_, event, row) => {
      if (row === null) return false; // acknowledged
      if (row.free !== 0) hold.run(event);
      return true;
    });
    const outcome = outcomeOf(found);
    if (found === "not_found" || outcome === "not_found") return "not_found";
    if (outcome.count > 0) extend.run(untilMs, found.lease.lease);
    return { ...outcome, untilMs };
  };
}
