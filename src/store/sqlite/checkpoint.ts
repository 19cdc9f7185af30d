// Keeps the write-ahead log short: copies it into the database file between two groups, when enough has come
// together. Surprise: the size of the WAL file tells nothing about what is in it, since it is reused from its start; the
// frames in use are asked for (checkpoint NOOP, 1.5 us).

import type { Database } from "bun:sqlite";
import { sizeOf } from "./database_file.ts";
import { WAL_BYTES_MAX } from "./pragma.ts";

/**
 * 2 MB of 2 KB pages: a pause of the writer of 3.5 ms (512 frames 1.9, 2 048 5.5, 4 096 10.0); all of them together took
 * 105 ms for 60 000 events delivered, where 4 096 at once took 90. Where an fsync is slow, its share is what counts: then
 * more is copied at once.
 */
const PASSIVE_FRAMES_MIN = 1_024;
const PASSIVE_FRAMES_MAX = 4_096;
/**
 * For PASSIVE_FRAMES_MIN, and for more in proportion: 4 096 always took longer than 8 ms, so a limit that did not grow with
 * them made of one slow checkpoint pauses of 16-20 ms for good.
 */
const LONG_MS = 8;
/**
 * Readers that overlap without a pause keep the WAL from starting over: from 64 MB on the writer waits for them, shortly.
 * When that was in vain, somebody reads for minutes (a backup), and it is not tried again before another 64 MB: it would
 * be 100 ms for each group.
 */
const RESTART_FRAMES = 32_768;
const RESTART_WAIT_MS = 100;
/** 32 MB: copying it would take the writer 100 ms. */
export const LARGE_FRAMES = 16_384;
/** Cutting 900 MB off a file at once took 0.5 s, in a commit. */
const CUT_BYTES = 64 << 20;

/** Nobody waits longer for the end of an erasure: it is tried again. */
const SCRUB_WAIT_MS = 5;

type Frames = { busy: number; log: number; checkpointed: number };

/** Who copies a log that is large, on another thread: it was held by a reader, and grew. */
export type LargeLog = {
  readonly isBeingCopied: () => boolean;
  readonly copy: () => void;
};

/**
 * Returns `checkpoint()`, to be called between groups; it does something only when it is time, and says so.
 * @param largeLog null: there is nobody else, and all is copied here
 */
export function prepareCheckpoint(
  db: Database,
  busyMs: number,
  largeLog: LargeLog | null = null,
): () => boolean {
  const frames = db.prepare<Frames, []>("PRAGMA wal_checkpoint(NOOP)");
  const passive = preparePassive(db);
  const cut = prepareCut(db);
  let restartAt = RESTART_FRAMES;
  const restart = (log: number) => {
    db.run(`PRAGMA busy_timeout = ${RESTART_WAIT_MS}`);
    const { busy = 0 } = db.query<Frames, []>("PRAGMA wal_checkpoint(RESTART)").get() ?? {};
    db.run(`PRAGMA busy_timeout = ${busyMs}`);
    restartAt = busy === 0 ? RESTART_FRAMES : log + RESTART_FRAMES;
  };
  return () => {
    const { log = 0, checkpointed = 0 } = frames.get() ?? {};
    const behind = log - checkpointed;
    cut(log);
    if (largeLog?.isBeingCopied()) return false;
    if (log < RESTART_FRAMES) restartAt = RESTART_FRAMES;
    if (largeLog && behind >= LARGE_FRAMES) largeLog.copy();
    else if (log >= restartAt) restart(log);
    else if (behind >= passive.enough) passive.run();
    else return false;
    return true;
  };
}

function preparePassive(db: Database) {
  const passive = {
    enough: PASSIVE_FRAMES_MIN,
    run() {
      const startedMs = performance.now();
      db.run("PRAGMA wal_checkpoint(PASSIVE)");
      const isLong = performance.now() - startedMs > (LONG_MS * passive.enough) / PASSIVE_FRAMES_MIN;
      const next = isLong ? passive.enough * 2 : passive.enough / 2;
      passive.enough = Math.min(PASSIVE_FRAMES_MAX, Math.max(PASSIVE_FRAMES_MIN, next));
    },
  };
  return passive;
}

/** Gives the disk back what a log that was large leaves, a piece each time that it starts over. */
function prepareCut(db: Database): (log: number) => void {
  const file = `${db.filename}-wal`;
  let limit = WAL_BYTES_MAX;
  let isLong = false;
  return (log) => {
    if (log >= RESTART_FRAMES) isLong = true;
    if (!isLong) return;
    const size = sizeOf(file) ?? 0;
    const next = Math.max(WAL_BYTES_MAX, size - CUT_BYTES);
    if (next !== limit) db.run(`PRAGMA journal_size_limit = ${next}`);
    limit = next;
    isLong = size > WAL_BYTES_MAX;
  };
}

/** Empties the write-ahead log, old frames and all, so that nothing that was erased is in it. False: a reader holds it. */
export function prepareScrub(db: Database, busyMs: number): () => boolean {
  return () => {
    db.run(`PRAGMA busy_timeout = ${SCRUB_WAIT_MS}`);
    try {
      const { busy = 1 } = db.query<Frames, []>("PRAGMA wal_checkpoint(TRUNCATE)").get() ?? {};
      return busy === 0;
    } finally {
      db.run(`PRAGMA busy_timeout = ${busyMs}`);
    }
  };
}
