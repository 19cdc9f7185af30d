import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { is } from "drizzle-orm";
import { getTableConfig, SQLiteTable } from "drizzle-orm/sqlite-core";
import { freshSchema } from "../../scripts/schema.ts";
import { openEngine } from "../../src/store/sqlite/engine.ts";
import { type Migration, migrate, migrations } from "../../src/store/sqlite/migrate.ts";
import { openWriter } from "../../src/store/sqlite/pragma.ts";
import * as schema from "../../src/store/sqlite/schema.ts";
import { copyFixture } from "../help/fixture.ts";
import { mountSmallDisk } from "../help/small_disk.ts";
import { withTempDir } from "../help/temp.ts";

const OPTIONS = { durability: "full", encryptionKeys: [] } as const;

const dbDir = path.join(import.meta.dir, "../../db");

test("db/schema.sql is the schema of a fresh database", async () => {
  expect(await Bun.file(path.join(dbDir, "schema.sql")).text()).toBe(freshSchema());
});

test("every numbered file in db/ is a step, in order", () => {
  const files = readdirSync(dbDir).filter((name) => /^\d{4}_.*\.sql$/.test(name));
  expect(migrations.map((step) => `${step.name}.sql`)).toEqual(files.sort());
  expect(migrations.map((step) => step.number)).toEqual(migrations.map((_, i) => i + 1));
});

test("the tables that drizzle knows are the tables on disk, column by column", () => {
  const db = new Database(":memory:", { strict: true });
  migrate(db);
  const known = Object.values(schema).filter((value) => is(value, SQLiteTable));
  for (const table of known) {
    const { name, columns, primaryKeys } = getTableConfig(table);
    type Column = { name: string; type: string; notnull: number; pk: number };
    const onDisk = db.query<Column, []>(`PRAGMA table_info(${name})`).all();
    expect(columns.map((column) => [column.name, column.getSQLType().toUpperCase()])).toEqual(
      onDisk.map((column) => [column.name, column.type]),
    );
    const key =
      primaryKeys[0]?.columns.map((column) => column.name) ??
      columns.filter((c) => c.primary).map((c) => c.name);
    expect(key).toEqual(
      onDisk
        .filter((column) => column.pk > 0)
        .sort((a, b) => a.pk - b.pk)
        .map((c) => c.name),
    );
  }
  const tables = db
    .query<{ name: string }, []>(
      "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
    )
    .all();
  expect(known.map((table) => getTableConfig(table).name).sort()).toEqual(
    tables.map((row) => row.name).sort(),
  );
});

test("a database of a newer program is refused with both numbers, and left as it was", () =>
  withTempDir((dir) => {
    const file = path.join(dir, "triggers.db");
    const newer = new Database(file, { create: true });
    newer.run(`PRAGMA user_version = ${migrations.length + 1}`);
    newer.close();
    const opened = openEngine(file, OPTIONS);
    expect(opened.kind).toBe("refused");
    if (opened.kind === "refused") expect(opened.detail).toContain(`schema ${migrations.length + 1}`);
    expect(new Database(file).query("SELECT count(*) AS n FROM sqlite_schema").get()).toEqual({ n: 0 });
  }));

test("a file that is no database is refused with a sentence that names it", () =>
  withTempDir(async (dir) => {
    const file = path.join(dir, "triggers.db");
    await Bun.write(
      file,
      "this is a letter and no database, and it is long enough to be looked at".repeat(100),
    );
    const opened = openEngine(file, OPTIONS);
    expect(opened.kind).toBe("refused");
    if (opened.kind === "refused") expect(opened.detail).toContain(file);
    expect(await Bun.file(file).text()).toStartWith("this is a letter");
  }));

test("a step that fails leaves the database at the step before", () => {
  const db = new Database(":memory:", { strict: true });
  db.run("CREATE TABLE events (other TEXT)");
  expect(() => migrate(db)).toThrow();
  expect(db.query("PRAGMA user_version").get()).toEqual({ user_version: 0 });
  expect(db.query("SELECT name FROM sqlite_schema").all()).toEqual([{ name: "events" }]);
});

const LARGE = "CREATE TABLE large (data BLOB); INSERT INTO large VALUES (zeroblob(8000000));";
const ADDED = "CREATE TABLE added (a INTEGER); ALTER TABLE organizations ADD COLUMN later TEXT;";

/** Steps behind the released ones. */
function withSteps(...texts: readonly string[]): readonly Migration[] {
  const first = migrations.length + 1;
  return [...migrations, ...texts.map((sql, i) => ({ number: first + i, name: `step ${first + i}`, sql }))];
}

/** Opens the file as a start does, and migrates; the bytes of the file after it, and what was thrown. */
function migrateFile(file: string, steps: readonly Migration[], prepare = "PRAGMA cache_size = 10") {
  const db = openWriter(file, "full");
  db.run(prepare); // a small cache: pages of the transaction go to the log before it is rolled back
  try {
    migrate(db, steps);
    return { thrown: null, bytes: null };
  } catch (error) {
    db.run("PRAGMA wal_checkpoint(TRUNCATE)");
    return { thrown: String(error), bytes: readFileSync(file) };
  } finally {
    db.close();
  }
}

const failing: [name: string, texts: string[], said: RegExp][] = [
  ["the first of two", [`${LARGE} CREATE TABLE marks (x)`, ADDED], /already exists/],
  ["the second of two", [`${LARGE} ${ADDED}`, "DROP TABLE leases; SELECT * FROM nowhere"], /nowhere/],
  [
    "one that leaves keys without their organization",
    [ADDED, "DELETE FROM organizations"],
    /without their parents/,
  ],
];
test.each(failing)(
  "when a step fails (%s), the file of before is there byte for byte",
  (_name, texts, said) =>
    withTempDir((dir) => {
      const file = path.join(dir, "triggers.db");
      copyFixture("0001", file);
      migrateFile(file, migrations);
      const before = readFileSync(file);
      const { thrown, bytes } = migrateFile(file, withSteps(...texts));
      expect(thrown).toMatch(said);
      expect(bytes?.equals(before)).toBe(true);
      const again = openEngine(file, OPTIONS);
      if (again.kind !== "opened") throw new Error(again.detail);
      again.engine.close();
    }),
);

test("when the disk is full in the middle of a step, nothing of it is done, and it is done when there is room", () => {
  const disk = mountSmallDisk(6);
  if (disk === null) return;
  try {
    const file = path.join(disk.dir, "triggers.db");
    copyFixture("0001", file);
    const before = readFileSync(file);
    const steps = withSteps(ADDED, LARGE);
    const { thrown, bytes } = migrateFile(file, steps);
    expect(thrown).toContain("full");
    expect(bytes?.equals(before)).toBe(true);
    Bun.spawnSync(["mount", "-o", "remount,size=60m", disk.dir]);
    expect(migrateFile(file, steps).thrown).toBe(null);
    const db = new Database(file, { readonly: true });
    expect(db.query("PRAGMA user_version").get()).toEqual({ user_version: steps.length });
    expect(db.query("SELECT length(data) AS n FROM large").get()).toEqual({ n: 8_000_000 });
    db.close();
  } finally {
    disk.stop();
  }
});

test("opening twice migrates once", () =>
  withTempDir((dir) => {
    const file = path.join(dir, "triggers.db");
    for (let i = 0; i < 2; i++) {
      const opened = openEngine(file, OPTIONS);
      if (opened.kind !== "opened") throw new Error(opened.detail);
      opened.engine.close();
    }
    const db = new Database(file, { readonly: true });
    expect(db.query("PRAGMA user_version").get()).toEqual({ user_version: migrations.length });
    db.close();
  }));
