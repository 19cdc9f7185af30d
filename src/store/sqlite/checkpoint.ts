// Keeps the write-ahead log short: copies it into the database file between two groups, when enough has come
// together. Surprise: the size of the WAL file tells nothing, since it is reused from its start and never shrinks;
// the frames in use are asked for (checkpoint NOOP, 1.5 us).

import type { Database } from "bun:sqlite";

/**
 * 2 MB of 2 KB pages: a pause of the writer of 3.5 ms (512 frames 1.9, 2 048 5.5, 4 096 10.0); all of them together took
 * 105 ms for 60 000 events delivered, where 4 096 at once took 90. Where an fsync is slow, its share is what counts: then
 * more is copied at once.
 */
const PASSIVE_FRAMES_MIN = 1_024;
const PASSIVE_FRAMES_MAX = 4_096;
const LONG_MS = 8;
/** A reader that never pauses keeps the WAL from starting over: from 64 MB on the writer waits for it, shortly. */
const RESTART_FRAMES = 32_768;
const RESTART_WAIT_MS = 100;

/** Nobody waits longer for the end of an erasure: it is tried again. */
const SCRUB_WAIT_MS = 5;

type Frames = { busy: number; log: number; checkpointed: number };

/** Returns `checkpoint()`, to be called between groups; it does something only when it is time, and says so. */
export function prepareCheckpoint(db: Database, busyMs: number): () => boolean {
  const frames = db.prepare<Frames, []>("PRAGMA wal_checkpoint(NOOP)");
  let enough = PASSIVE_FRAMES_MIN;
  const passive = () => {
    const startedMs = performance.now();
    db.run("PRAGMA wal_checkpoint(PASSIVE)");
    const isLong = performance.now() - startedMs > LONG_MS;
    enough = isLong ? Math.min(PASSIVE_FRAMES_MAX, enough * 2) : Math.max(PASSIVE_FRAMES_MIN, enough / 2);
  };
  return () => {
    const { log = 0, checkpointed = 0 } = frames.get() ?? {};
    if (log >= RESTART_FRAMES) {
      db.run(`PRAGMA busy_timeout = ${RESTART_WAIT_MS}`);
      db.run("PRAGMA wal_checkpoint(RESTART)");
      db.run(`PRAGMA busy_timeout = ${busyMs}`);
      return true;
    }
    if (log - checkpointed < enough) return false;
    passive();
    return true;
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
