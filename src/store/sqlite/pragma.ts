// Opens connections. The order matters: page_size only works before the first table, journal_mode writes the file.

import { Database } from "bun:sqlite";
import { chmodSync, closeSync, openSync } from "node:fs";

export type Durability = "full" | "normal";

/** 2 KB pages wrote 30 % less WAL than 4 KB at the same speed (1 093 against 1 459 bytes an event); 8 KB was worse. */
const PAGE_BYTES = 2048;
const WRITER_CACHE_KIB = 32_768;
const READER_CACHE_KIB = 8_192;
/** Only a backup or a person with the sqlite3 shell ever holds a lock; the writer has no rival inside. */
export const BUSY_MS = 5_000;

/** The one read-write connection. Creates the file, readable by its owner only. */
export function openWriter(file: string, durability: Durability): Database {
  closeSync(openSync(file, "a", 0o600));
  chmodSync(file, 0o600);
  const db = new Database(file, { create: true, strict: true });
  db.run(`PRAGMA busy_timeout = ${BUSY_MS}`);
  db.run(`PRAGMA page_size = ${PAGE_BYTES}`);
  db.run("PRAGMA journal_mode = WAL");
  // FULL in WAL mode is one fsync of the WAL per commit; NORMAL fsyncs at checkpoints only.
  db.run(`PRAGMA synchronous = ${durability === "full" ? "FULL" : "NORMAL"}`);
  // Checkpoints are the writer's own decision, between two groups (checkpoint.ts), not a tax on some commit.
  db.run("PRAGMA wal_autocheckpoint = 0");
  db.run(`PRAGMA cache_size = -${WRITER_CACHE_KIB}`);
  db.run("PRAGMA temp_store = MEMORY");
  db.run("PRAGMA foreign_keys = ON");
  // What is deleted or sealed anew must not be readable in the free space of its page.
  db.run("PRAGMA secure_delete = ON");
  return db;
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
