// Looks into a database without changing anything in it or beside it, for the command `doctor`, beside a running server
// or without one. Surprise: a database that was closed in good order is opened as one that nobody changes, because
// SQLite would otherwise make a WAL and its index beside it, in the name of whoever looks.

import { Database, SQLiteError } from "bun:sqlite";
import path from "node:path";
import { msOfSeq } from "../../base/id.ts";
import { createSecretBox } from "../../base/secret_box.ts";
import type { EventStatus } from "../../wire/tiers.ts";
import { APPLICATION_ID, sizeOf } from "./database_file.ts";
import { newestSchema, schemaVersion } from "./migrate.ts";
import { BUSY_MS, openUnchanging } from "./pragma.ts";
import { BacklogReads } from "./read_backlog.ts";
import { status, statusNames, statusSql } from "./status.ts";

export type Schema = {
  readonly found: number;
  readonly known: number;
  /** False for another program's database, true for one that is still empty. */
  readonly isOurs: boolean;
};

export type Contents = {
  readonly organizations: number;
  readonly endpoints: number;
  /** By the names that people are told; `hidden`: their deliver_at is to come. */
  readonly events: Readonly<Record<EventStatus | "hidden", number>>;
  readonly newestEventMs: number | null;
  readonly oldestUndeliveredMs: number | null;
  /** Counted up to 100 000. */
  readonly deliveriesDue: number;
  readonly oldestDueMs: number | null;
};

/** Whether a process has the data directory. */
export function isLocked(dataDir: string): boolean {
  const file = path.join(dataDir, "triggers.lock");
  if (sizeOf(file) === null) return false;
  const db = new Database(file, { readonly: true });
  try {
    db.query("SELECT count(*) FROM sqlite_schema").get();
    return false;
  } catch (error) {
    if (error instanceof SQLiteError && error.code === "SQLITE_BUSY") return true;
    throw error;
  } finally {
    db.close();
  }
}

/** Opens the database to look. `isServed`: a process may write to it meanwhile. */
export function openToLook(file: string, isServed: boolean): Database {
  if (!isServed && (sizeOf(`${file}-wal`) ?? 0) === 0) return openUnchanging(file);
  const db = new Database(file, { readonly: true, strict: true });
  db.run(`PRAGMA busy_timeout = ${BUSY_MS}`);
  db.run("PRAGMA query_only = ON");
  return db;
}

/** Asked of SQLite and not read from the file: after a crash the header may stand in the WAL alone. */
export function inspectSchema(db: Database): Schema {
  const application = db.query<{ application_id: number }, []>("PRAGMA application_id").get()?.application_id;
  const tables = db.query<{ n: number }, []>("SELECT count(*) AS n FROM sqlite_schema").get()?.n ?? 0;
  const isOurs = application === APPLICATION_ID || (application === 0 && tables === 0);
  return { found: schemaVersion(db), known: newestSchema, isOurs };
}

const DAMAGES_TOLD_MAX = 5;

/** What contradicts what, in SQLite's words; empty when all is well. `full` compares tables and indexes too. */
export function inspectPages(db: Database, full: boolean): readonly string[] {
  const check = `PRAGMA ${full ? "integrity" : "quick"}_check(${DAMAGES_TOLD_MAX})`;
  return db
    .query(check)
    .values()
    .map(([line]) => String(line))
    .filter((line) => line !== "ok");
}

/** Rows whose parents are not there. */
export function inspectOrphans(db: Database): number {
  return db.query("PRAGMA foreign_key_check").values().length;
}

/** Whether these keys open every endpoint's secrets. */
export function opensSecrets(db: Database, encryptionKeys: readonly string[]): boolean {
  const box = createSecretBox(encryptionKeys);
  const rows = db.query<{ id: string; secrets: string }, []>("SELECT id, secrets FROM endpoints").all();
  return rows.every(({ id, secrets }) => box.open(secrets, id) !== null);
}

/** Counts what is there. Reads the index of the inbox, which takes a second for ten million events. */
export function inspectContents(db: Database, nowMs: number): Contents {
  const number = (sql: string) => db.query<{ n: number | null }, []>(sql).get()?.n ?? null;
  const newest = number("SELECT max(seq) AS n FROM events");
  const { due, oldestDueMs } = new BacklogReads(db).read(nowMs);
  return {
    organizations: number("SELECT count(*) AS n FROM organizations") ?? 0,
    endpoints: number("SELECT count(*) AS n FROM endpoints WHERE deleted_at IS NULL") ?? 0,
    ...eventCounts(db),
    newestEventMs: newest === null ? null : msOfSeq(newest),
    deliveriesDue: due,
    oldestDueMs,
  };
}

type Counted = { status: number; n: number; oldest: number };

/** The sealed ones by their index, the tail above its mark by itself. */
function eventCounts(db: Database): Pick<Contents, "events" | "oldestUndeliveredMs"> {
  const mark = "(SELECT value FROM marks WHERE name = 'inbox_sealed')";
  const sealed = `SELECT status, count(*) AS n, min(event) AS oldest FROM inbox WHERE event <= ${mark} GROUP BY status`;
  const tail = `SELECT ${statusSql("events.seq")} AS status, count(*) AS n, min(seq) AS oldest FROM events
    WHERE seq > ${mark} AND type <> '' GROUP BY 1`;
  const events = { pending: 0, failed: 0, dead_letter: 0, delivered: 0, hidden: 0 };
  let oldest = Number.POSITIVE_INFINITY;
  for (const row of [sealed, tail].flatMap((sql) => db.query<Counted, []>(sql).all())) {
    events[statusNames[row.status] ?? "hidden"] += row.n;
    if (row.status === status.pending || row.status === status.failed) oldest = Math.min(oldest, row.oldest);
  }
  return { events, oldestUndeliveredMs: Number.isFinite(oldest) ? msOfSeq(oldest) : null };
}
