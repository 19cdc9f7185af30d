// Whole copies of a database, made and checked. All of it blocks, for minutes when the database is large: it runs on a
// thread of its own (copy.worker.ts).

import { Database } from "bun:sqlite";
import { closeSync, openSync, readSync, writeSync } from "node:fs";
import { msOfSeq } from "../../base/id.ts";
import { sync, warm } from "./database_file.ts";
import { BUSY_MS, openUnchanging } from "./pragma.ts";

/** What a copy holds, counted after it was checked. */
export type CopyFacts = {
  readonly schema: number;
  readonly organizations: number;
  readonly events: number;
  readonly newestEventMs: number | null;
};

export class Damaged extends Error {}

const CHUNK_BYTES = 4 << 20;
const DAMAGES_TOLD_MAX = 5;

/**
 * Writes what is committed now into `target`, an empty file whose mode stays, and syncs it. The reader of one snapshot:
 * it blocks no writer, and works beside a server as well as without one.
 */
export function vacuumInto(source: string, target: string): void {
  warm(source);
  // Not `query_only`, which would refuse to write the copy too.
  const db = new Database(source, { readonly: true, strict: true });
  try {
    db.run(`PRAGMA busy_timeout = ${BUSY_MS}`);
    db.run("VACUUM INTO ?", [target]);
  } finally {
    db.close();
  }
  sync(target);
}

/** Byte by byte into `target`, an empty file. */
export function copyBytes(source: string, target: string): void {
  const from = openSync(source, "r");
  const to = openSync(target, "r+");
  try {
    const chunk = Buffer.alloc(CHUNK_BYTES);
    for (let read = readSync(from, chunk); read > 0; read = readSync(from, chunk)) {
      for (let written = 0; written < read; ) written += writeSync(to, chunk, written, read - written);
    }
  } finally {
    closeSync(from);
    closeSync(to);
  }
}

/** More than can appear between a backup and its restore. */
const APPEARED_GAP = 2 ** 32;

/**
 * What a restored copy needs before a server works on it, and a sync. A client that follows a stream may stand behind
 * appearances (of events with a deliver_at) that the copy has never seen: those to come are counted from beyond them,
 * or it would miss as many.
 */
export function makeRestored(copy: string): void {
  const db = new Database(copy, { strict: true });
  try {
    db.run("PRAGMA journal_mode = DELETE");
    db.run("UPDATE marks SET value = value + ? WHERE name = 'appeared'", [APPEARED_GAP]);
  } finally {
    db.close();
  }
  sync(copy);
}

/** Reads all of a copy that nobody changes. Throws `Damaged` when something in it contradicts something else. */
export function checkCopy(copy: string): CopyFacts {
  const db = openUnchanging(copy);
  try {
    mustBeSound(db);
    const count = (sql: string) => db.query<{ n: number | null }, []>(sql).get()?.n ?? null;
    const newest = count("SELECT max(seq) AS n FROM events");
    return {
      schema: count("SELECT user_version AS n FROM pragma_user_version") ?? 0,
      organizations: count("SELECT count(*) AS n FROM organizations") ?? 0,
      events: count("SELECT count(*) AS n FROM events WHERE type <> ''") ?? 0,
      newestEventMs: newest === null ? null : msOfSeq(newest),
    };
  } finally {
    db.close();
  }
}

function mustBeSound(db: Database): void {
  const found = db.query(`PRAGMA integrity_check(${DAMAGES_TOLD_MAX})`).values().flat();
  if (found.length !== 1 || found[0] !== "ok") throw new Damaged(found.join("; "));
  const orphans = db.query("PRAGMA foreign_key_check").values().length;
  if (orphans > 0) throw new Damaged(`${orphans} rows without their parents`);
}
