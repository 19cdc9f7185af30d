// Keeps the write-ahead log short: copies it into the database file between two groups, when enough has come
// together. Surprise: the size of the WAL file tells nothing, since it is reused from its start and never shrinks;
// the frames in use are asked for (checkpoint NOOP, 1.5 us).

import type { Database } from "bun:sqlite";

/** 8 MB of 2 KB pages: copied in 5-15 ms here. More is a longer pause of the writer, less is more fsyncs. */
const PASSIVE_FRAMES = 4_096;
/** A reader that never pauses keeps the WAL from starting over: from 64 MB on the writer waits for it, shortly. */
const RESTART_FRAMES = 32_768;
const RESTART_WAIT_MS = 100;

type Frames = { busy: number; log: number; checkpointed: number };

/** Returns `checkpoint()`, to be called between groups; it does something only when it is time. */
export function prepareCheckpoint(db: Database, busyMs: number): () => void {
  const frames = db.prepare<Frames, []>("PRAGMA wal_checkpoint(NOOP)");
  return () => {
    const { log = 0, checkpointed = 0 } = frames.get() ?? {};
    if (log >= RESTART_FRAMES) {
      db.run(`PRAGMA busy_timeout = ${RESTART_WAIT_MS}`);
      db.run("PRAGMA wal_checkpoint(RESTART)");
      db.run(`PRAGMA busy_timeout = ${busyMs}`);
    } else if (log - checkpointed >= PASSIVE_FRAMES) db.run("PRAGMA wal_checkpoint(PASSIVE)");
  };
}
