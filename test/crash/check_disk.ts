// The files as a kill left them, in a copy: reading them in place would do a part of what the next start has to do.

import { Database } from "bun:sqlite";
import { copyFileSync, existsSync, statSync } from "node:fs";
import path from "node:path";
import { withTempDir } from "../help/temp.ts";

export type Files = {
  /** What is wrong; empty when the database is whole. */
  readonly faults: readonly string[];
  /** Up to which event the inbox's index is written: a kill may have come in the middle of that. */
  readonly sealed: number;
  /** Of the database file, which only checkpoints write. */
  readonly bytes: number;
};

/** The database of a data directory that no server has. */
export function lookAtFiles(dataDir: string): Promise<Files> {
  const bytes = statSync(path.join(dataDir, "triggers.db")).size;
  return inCopy(dataDir, (db) => {
    const integrity = db.query<{ integrity_check: string }, []>("PRAGMA integrity_check").all();
    const orphans = db.query("PRAGMA foreign_key_check").all();
    const mark = db.query<{ value: number }, []>("SELECT value FROM marks WHERE name = 'inbox_sealed'").get();
    return {
      faults: [
        ...integrity.map((row) => row.integrity_check).filter((text) => text !== "ok"),
        ...orphans.map((row) => `foreign key: ${JSON.stringify(row)}`),
      ],
      sealed: mark?.value ?? 0,
      bytes,
    };
  });
}

/** Events whose payload names this organization. */
export function eventsNaming(dataDir: string, org: string): Promise<number> {
  const count = "SELECT count(*) AS n FROM events WHERE instr(payload, ?) > 0";
  return inCopy(dataDir, (db) => {
    return db.query<{ n: number }, [string]>(count).get(`{"org":${JSON.stringify(org)},`)?.n ?? 0;
  });
}

function inCopy<T>(dataDir: string, look: (db: Database) => T): Promise<T> {
  return withTempDir((dir) => {
    for (const name of ["triggers.db", "triggers.db-wal", "triggers.db-journal"]) {
      const file = path.join(dataDir, name);
      if (existsSync(file)) copyFileSync(file, path.join(dir, name));
    }
    const db = new Database(path.join(dir, "triggers.db"), { create: true });
    try {
      return look(db);
    } finally {
      db.close();
    }
  });
}
