// The thread that copies a write-ahead log of hundreds of megabytes into the database, which is what a backup under load
// leaves: 1.2 GB took 3.4 s, in which the writer, when it did so itself, answered nobody. A passive checkpoint on another
// connection holds up neither writer nor readers. It tries again for as long as the reader stays, and ends when the log
// is short. Surprise: a checkpoint that does not reach the log's end syncs nothing, so this does, or the writer's next
// one would wait for all of it (0.6 s for 850 MB).

import { Database } from "bun:sqlite";
import { fsyncSync } from "node:fs";
import { listen, parentThread } from "../../base/thread.ts";
import { ENDED, STOP } from "./log_words.ts";

type Frames = { readonly log: number; readonly checkpointed: number };

/** 4 MB: the writer goes on from there. */
const SHORT_FRAMES = 2_048;
/** While a reader stays. */
const AGAIN_MS = 250;

let db: Database | null = null;
let timer: ReturnType<typeof setTimeout> | undefined;

/** `descriptor`: of the same file, never closed (log_copier.ts). */
export type LogToCopy = { readonly file: string; readonly descriptor: number };

listen(parentThread, (text: string) => {
  if (text === STOP) return end();
  const { file, descriptor } = JSON.parse(text) as LogToCopy;
  db = new Database(file, { readwrite: true });
  copy(db, descriptor, 0);
});

/** A pass leaves what was written during it: each is shorter than the last. */
function copy(db: Database, descriptor: number, before: number): void {
  const { log, checkpointed } = pass(db, descriptor);
  if (log - checkpointed < SHORT_FRAMES) end();
  else timer = setTimeout(() => copy(db, descriptor, checkpointed), checkpointed === before ? AGAIN_MS : 0);
}

function pass(db: Database, descriptor: number): Frames {
  try {
    const frames = db.query<Frames, []>("PRAGMA wal_checkpoint(PASSIVE)").get() ?? NOTHING_DONE;
    fsyncSync(descriptor);
    return frames;
  } catch {
    return NOTHING_DONE; // a full disk: it may pass, and the log keeps everything until then
  }
}

const NOTHING_DONE: Frames = { log: Number.POSITIVE_INFINITY, checkpointed: 0 };

function end(): void {
  clearTimeout(timer);
  db?.close();
  db = null;
  parentThread.postMessage(ENDED);
}
