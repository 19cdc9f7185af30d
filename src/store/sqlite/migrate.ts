// Brings a database file to this program's schema, at start, all steps in one transaction: when one fails, the program
// of before still runs on the file. The number of the last step is the file's `user_version`; a released step is never
// changed, a new one is added to the list.

import type { Database } from "bun:sqlite";
import initial from "../../../db/0001_initial.sql" with { type: "text" };

export type Migration = { readonly number: number; readonly name: string; readonly sql: string };

/** All steps, in order. A new file in db/ is added here; a test compares the two. */
export const migrations: readonly Migration[] = [{ number: 1, name: "0001_initial", sql: initial }];

/** The schema that this program works with. */
export const newestSchema = migrations.length;

export type Migrated =
  | { readonly kind: "migrated"; readonly from: number; readonly to: number }
  | { readonly kind: "too_new"; readonly found: number; readonly known: number };

/** Runs the steps that the file lacks, all or none. A file of a newer program is left alone and told. */
export function migrate(db: Database, steps: readonly Migration[] = migrations): Migrated {
  const from = schemaVersion(db);
  const to = steps.length;
  if (from > to) return { kind: "too_new", found: from, known: to };
  if (from === to) return { kind: "migrated", from, to };
  // A table rebuild with foreign keys on deletes child rows silently (drizzle#5782); the pragma is a no-op inside
  // a transaction, so it stands around it, and the check comes before the commit.
  db.run("PRAGMA foreign_keys = OFF");
  try {
    db.transaction(() => {
      for (const step of steps.slice(from)) runStep(db, step);
    }).exclusive();
  } finally {
    db.run("PRAGMA foreign_keys = ON");
  }
  return { kind: "migrated", from, to };
}

/** The number of the last step run on this file; 0 for a new one. */
export function schemaVersion(db: Database): number {
  return db.query<{ user_version: number }, []>("PRAGMA user_version").get()?.user_version ?? 0;
}

function runStep(db: Database, step: Migration): void {
  db.run(step.sql);
  if (db.query("PRAGMA foreign_key_check").all().length > 0) {
    throw new Error(`migration ${step.name} leaves rows without their parents`);
  }
  db.run(`PRAGMA user_version = ${step.number}`);
}
