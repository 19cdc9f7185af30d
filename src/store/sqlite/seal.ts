// Seals the tail: writes what needs another order than acceptance, in one sorted run per index, between groups, and
// what is found by hash in blocks.
// Each of the three indexes has its own mark, up to where it is written; what lies above a mark is found by
// scanning the tail (or, for dedup, in memory). One index at a time, so that a pause of the writer is one run.

import type { Context, IndexName } from "./context.ts";
import { statusSql } from "./status.ts";

/**
 * Events in the tail of an index before it is sealed: it bounds what a read scans, and the pause of the writer
 * (inbox 8 ms, due 5 ms, dedup 0.5 ms at 2 000). A longer run divides the pages written by more events.
 */
export const SEAL_EVENTS = 2_000;

export type Seal = {
  readonly index: IndexName;
  /** Writes the run up to `last`, the seq of the newest event, in the caller's transaction. */
  readonly write: (last: number) => void;
  /** That transaction was committed. */
  readonly committed: (last: number) => void;
};

export function prepareSeals(ctx: Context): readonly Seal[] {
  const { db, dedup } = ctx;
  const inbox = db.prepare<void, [number, number]>(
    `INSERT INTO inbox (org, status, event)
     SELECT org, ${statusSql("events.seq")}, seq FROM events
     WHERE seq > ? AND seq <= ? AND type <> '' ORDER BY 1, 2, 3`,
  );
  const due = db.prepare<void, [number, number]>(
    "UPDATE deliveries SET queued = 1 WHERE event > ? AND event <= ? AND state = 0",
  );
  return [
    { index: "inbox", write: (last) => inbox.run(ctx.sealed.inbox, last), committed: () => {} },
    { index: "due", write: (last) => due.run(ctx.sealed.due, last), committed: () => {} },
    { index: "dedup", write: () => dedup.writeTail(), committed: () => dedup.tailWritten() },
  ];
}

/** Moves the mark of an index on disk, in the transaction of its run. */
export function prepareMark(ctx: Context): (index: IndexName, last: number) => void {
  const move = ctx.db.prepare<void, [number, string]>("UPDATE marks SET value = ? WHERE name = +?");
  return (index, last) => move.run(last, markName(index));
}

/** The name of an index's mark in the table `marks`. */
export function markName(index: IndexName): string {
  return `${index}_sealed`;
}
