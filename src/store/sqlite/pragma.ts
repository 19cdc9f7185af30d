// Opens connections. The order matters: page_size only works before the first table, journal_mode writes the file.

import { constants, Database } from "bun:sqlite";
import { chmodSync, closeSync, existsSync, fdatasyncSync, openSync } from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

export type Durability = "full" | "normal";

/** 2 KB pages wrote 30 % less WAL than 4 KB at the same speed (1 093 against 1 459 bytes an event); 8 KB was worse. */
const PAGE_BYTES = 2048;
const WRITER_CACHE_KIB = 32_768;
const READER_CACHE_KIB = 8_192;
/** The WAL file grows while a backup reads; when it starts over, it is cut back to this (checkpoint.ts). */
export const WAL_BYTES_MAX = 64 << 20;
/** Only a backup or a person with the sqlite3 shell ever holds a lock; the writer has no rival inside. */
export const BUSY_MS = 5_000;

/** The one read-write connection. Creates the file, readable by its owner only. */
export function openWriter(file: string, durability: Durability): Database {
  closeSync(openSync(file, "a", 0o600));
  chmodSync(file, 0o600);
  if (durability === "full") syncWal(`${file}-wal`);
  const db = new Database(file, { create: true, strict: true });
  db.run(`PRAGMA busy_timeout = ${BUSY_MS}`);
  db.run(`PRAGMA page_size = ${PAGE_BYTES}`);
  db.run("PRAGMA journal_mode = WAL");
  // FULL in WAL mode is one fsync of the WAL per commit; NORMAL fsyncs at checkpoints only.
  db.run(`PRAGMA synchronous = ${durability === "full" ? "FULL" : "NORMAL"}`);
  // Checkpoints are the writer's own decision, between two groups (checkpoint.ts), not a tax on some commit.
  db.run("PRAGMA wal_autocheckpoint = 0");
  db.run(`PRAGMA journal_size_limit = ${WAL_BYTES_MAX}`);
  db.run(`PRAGMA cache_size = -${WRITER_CACHE_KIB}`);
  db.run("PRAGMA temp_store = MEMORY");
  db.run("PRAGMA foreign_keys = ON");
  // What is deleted or sealed anew must not be readable in the free space of its page.
  db.run("PRAGMA secure_delete = ON");
  return db;
}

/**
 * A process that was killed in its fsync leaves commits that the system's cache has and the disk may not. From here on
 * they are read, and named by the 409 of a dedup id: a power cut must not take them any more.
 */
function syncWal(wal: string): void {
  if (!existsSync(wal)) return;
  const descriptor = openSync(wal, "r");
  fdatasyncSync(descriptor);
  closeSync(descriptor);
}

/** A connection that cannot write, also not by mistake. */
export function openReader(file: string): Database {
  const db = new Database(file, { readonly: true, strict: true });
  db.run(`PRAGMA busy_timeout = ${BUSY_MS}`);
  db.run("PRAGMA query_only = ON");
  db.run(`PRAGMA cache_size = -${READER_CACHE_KIB}`);
  return db;
}

/** Bytes of the file that hold nothing. */
export function freeBytes(db: Database): number {
  const { freelist_count: pages = 0 } =
    db.query<{ freelist_count: number }, []>("PRAGMA freelist_count").get() ?? {};
  return pages * PAGE_BYTES;
}

/**
 * A connection to a file that nobody writes to meanwhile. It takes no lock and makes no file beside it, so it may look
 * at what another user has; a WAL beside the file is not read.
 */
export function openUnchanging(file: string): Database {
  const { href } = pathToFileURL(path.resolve(file));
  const db = new Database(`${href}?immutable=1`, constants.SQLITE_OPEN_READONLY | constants.SQLITE_OPEN_URI);
  db.run(`PRAGMA cache_size = -${WRITER_CACHE_KIB}`);
  return db;
}
