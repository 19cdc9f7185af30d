// Writes db/schema.sql, the dump of a fresh database, so that a change of the schema is read as a diff.
// `bun scripts/schema.ts --check` only compares, and fails when the file is stale.

import { Database } from "bun:sqlite";
import path from "node:path";
import { migrate } from "../src/store/sqlite/migrate.ts";

const file = path.join(import.meta.dir, "../db/schema.sql");

/** The schema of a fresh database as SQL text. */
export function freshSchema(): string {
  const db = new Database(":memory:", { strict: true });
  migrate(db);
  const rows = db.query<{ sql: string }, []>(
    "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY rowid",
  );
  const statements = rows.all().map((row) => `${row.sql};\n`);
  return `-- The schema of a fresh database. Made by \`bun scripts/schema.ts\`; do not edit.\n\n${statements.join("\n")}`;
}

if (import.meta.main) {
  if (!process.argv.includes("--check")) await Bun.write(file, freshSchema());
  else if ((await Bun.file(file).text()) !== freshSchema()) {
    console.error("db/schema.sql is stale: run `bun scripts/schema.ts`.");
    process.exit(1);
  }
}
