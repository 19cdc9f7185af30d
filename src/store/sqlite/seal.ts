// Seals the tail: writes what needs another order than acceptance, in one sorted run per index, between groups, and
// what is found by hash in blocks.
// Each of the three indexes has its own mark, up to where it is written; what lies above a mark is found by
// scanning the tail (or, for dedup, in memory). One index at a time. The inbox, which costs most, is written piece by piece,
// each a pause of its own, and its mark moves with the last of them. Until then its rows above the mark count for nothing;
// they are kept true like all others, so a run that was not finished is simply written again after a restart.

import type { Context, IndexName } from "./context.ts";
import { statusSql } from "./status.ts";

/**
 * Events in the tail of an index before it is sealed: it bounds what a read scans, and the pause of the writer (due 5 ms,
 * dedup 0.5 ms at 2 000). A longer run divides the pages written by more events.
 */
export const SEAL_EVENTS = 2_000;

/** A run that is being written. When a piece fails it is of no use any more. */
export type Run = {
  /** Writes up to `rows` more, in the caller's transaction; `done`: they were the last. */
  readonly write: (rows: number) => { readonly done: boolean };
  /** That transaction was committed. */
  readonly committed: () => void;
};

export type Seal = {
  readonly index: IndexName;
  /** Begins a run up to `last`, the seq of the newest event. */
  readonly begin: (last: number) => Run;
};

export function prepareSeals(ctx: Context): readonly Seal[] {
  const { dedup } = ctx;
  const due = ctx.db.prepare<void, [number, number]>(
    "UPDATE deliveries SET queued = 1 WHERE event > ? AND event <= ? AND state = 0",
  );
  return [
    { index: "inbox", begin: prepareInboxRun(ctx) },
    { index: "due", begin: (last) => inOne(() => due.run(ctx.sealed.due, last)) },
    {
      index: "dedup",
      begin: () =>
        inOne(
          () => dedup.writeTail(),
          () => dedup.tailWritten(),
        ),
    },
  ];
}

function inOne(write: () => void, committed: () => void = () => {}): Run {
  const all = () => {
    write();
    return { done: true };
  };
  return { write: all, committed };
}

/**
 * The events in the order of the index are found at once (1.4 ms for 2 000), and then written piece by piece, each with its
 * status as it is by then; one that was deleted since is passed by.
 */
function prepareInboxRun(ctx: Context): (last: number) => Run {
  const order = ctx.db.prepare<void, [number, number]>(
    "SELECT seq FROM events WHERE seq > ? AND seq <= ? AND type <> '' ORDER BY org, seq",
  );
  const insert = ctx.db.prepare<void, [string]>(
    `INSERT OR IGNORE INTO inbox (org, status, event)
     SELECT org, ${statusSql("events.seq")}, seq FROM json_each(?) j CROSS JOIN events ON seq = j.value
     WHERE events.type <> ''`,
  );
  return (last) => {
    const seqs = order.values(ctx.sealed.inbox, last).flat();
    ctx.sealing = last;
    let written = 0;
    return {
      write(rows) {
        insert.run(JSON.stringify(seqs.slice(written, written + rows)));
        written += rows;
        return { done: written >= seqs.length };
      },
      committed: () => {},
    };
  };
}

/** Moves the mark of an index on disk, in the transaction of its run's last piece. */
export function prepareMark(ctx: Context): (index: IndexName, last: number) => void {
  const move = ctx.db.prepare<void, [number, string]>("UPDATE marks SET value = ? WHERE name = +?");
  return (index, last) => move.run(last, markName(index));
}

/** The name of an index's mark in the table `marks`. */
export function markName(index: IndexName): string {
  return `${index}_sealed`;
}
