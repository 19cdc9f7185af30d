// How SQLite goes about the statements: none may read all of a table that grows with the events, and none may sort what
// an index gives in order. The statements are those that the code prepares, not copies of them.

import type { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import path from "node:path";
import { createSecretBox } from "../../src/base/secret_box.ts";
import { Engine } from "../../src/store/sqlite/engine.ts";
import { followClock } from "../../src/store/sqlite/on_open.ts";
import { openWriter } from "../../src/store/sqlite/pragma.ts";
import { BacklogReads } from "../../src/store/sqlite/read_backlog.ts";
import { DeliveryReads } from "../../src/store/sqlite/read_deliveries.ts";
import { DueReads } from "../../src/store/sqlite/read_due.ts";
import { InboxReads } from "../../src/store/sqlite/read_inbox.ts";
import { StartReads } from "../../src/store/sqlite/read_start.ts";
import { deliveryStatuses, eventStatuses } from "../../src/wire/tiers.ts";
import { withTempDir } from "../help/temp.ts";
import { open } from "./writing.ts";

type Plan = { readonly sql: string; readonly lines: readonly string[] };

/** Every statement that `work` gives to the database, once. */
function statementsOf(db: Database, work: (watched: Database) => void): readonly string[] {
  const texts = new Set<string>();
  const watched = new Proxy(db, {
    get(_, name) {
      const value: unknown = Reflect.get(db, name, db);
      if (typeof value !== "function") return value;
      return (...args: unknown[]) => {
        if (name === "prepare" || name === "query" || name === "run") texts.add(String(args[0]));
        return value.apply(db, args);
      };
    },
  });
  work(watched);
  return [...texts].filter((sql) => /^(SELECT|INSERT|UPDATE|DELETE)/.test(sql));
}

/** Their plans, on a database as large as it gets without statistics: empty. */
async function plansOf(work: (watched: Database) => void): Promise<readonly Plan[]> {
  return withTempDir((dir) => {
    const file = path.join(dir, "triggers.db");
    open(file, 1).engine.close();
    const db = openWriter(file, "normal");
    db.run("UPDATE marks SET value = ? WHERE name = 'delivery_clock'", [Number.MAX_SAFE_INTEGER]);
    const statements = statementsOf(db, work);
    expect(statements.length).toBeGreaterThan(0);
    const plans = statements.map((sql) => {
      const rows = db.query<{ detail: string }, []>(`EXPLAIN QUERY PLAN ${sql}`).all();
      return { sql: sql.replace(/\s+/g, " "), lines: rows.map(({ detail }) => detail) };
    });
    db.close();
    return plans;
  });
}

const reads = (db: Database) => {
  new DueReads(db, createSecretBox([]));
  new BacklogReads(db);
  new StartReads(db);
  const deliveries = new DeliveryReads(db);
  const inbox = new InboxReads(db);
  const range = { org: 1, sinceMs: null, untilMs: null, limit: 5 };
  for (const endpointId of [null, "x"])
    for (const status of [null, ...deliveryStatuses])
      Array.from(deliveries.deliveries({ ...range, endpointId, status, eventId: null, after: null }));
  for (const statuses of [[], ...eventStatuses.map((status) => [status])])
    for (const order of ["asc", "desc"] as const)
      Array.from(inbox.inbox({ ...range, statuses, order, type: "a*", afterSeq: null }));
};

/** Every write prepares its statements at the start; the start itself reads what it must know in memory. */
const writes = (db: Database) => {
  new Engine(db, createSecretBox([]), { durability: "normal", sealEvents: 1 });
};

/** Tables of some thousand rows, and what is no table. */
const SMALL =
  /^SCAN (endpoints|p|organizations|\(subquery-\d+\)|CONSTANT ROW|d)$|^SCAN endpoints USING|^SCAN (j|json_each) VIRTUAL TABLE/;
/** One row: the newest block. */
const NEWEST = "SELECT block, hashes, events FROM dedup ORDER BY block DESC LIMIT 1";

test.each([
  ["read", reads],
  ["write", writes],
  ["follow the clock", (db: Database) => followClock(db, 0)],
])("no statement goes through a large table: those that %s", async (_, work) => {
  const scans = (await plansOf(work)).flatMap(({ sql, lines }) =>
    // `d` is an alias of deliveries, except where it stands for the one row of a subquery.
    lines
      .filter((line) => line.startsWith("SCAN") && (!SMALL.test(line) || isTable(line, lines)))
      .map((line) => `${line}: ${sql}`),
  );
  const allowed = [`SCAN dedup: ${NEWEST}`, ...QUEUE_WALKS];
  expect(scans.filter((scan) => !allowed.some((one) => scan.startsWith(one)))).toEqual([]);
});

/** Only what waits, or runs, stands in these indexes. */
const QUEUE_WALKS = [
  "SCAN deliveries USING INDEX deliveries_due",
  "SCAN replays USING INDEX replays_running",
];

function isTable(line: string, lines: readonly string[]): boolean {
  return line === "SCAN d" && !lines.includes("CO-ROUTINE d");
}

/** Sorts of few rows: the attempts of one event, its deleted endpoints; a run of the tail, to be written in order. */
const SORTED = [
  /^SELECT response_status, error FROM attempts WHERE event = \+\?/,
  /UNION ALL SELECT p\.\* FROM deliveries d JOIN endpoints p .* WHERE d\.event = \+\?2/,
  /^SELECT seq FROM events WHERE seq > \? AND seq <= \? AND type <> '' ORDER BY org, seq/,
];

test.each([
  ["read", reads],
  ["write", writes],
])("no statement sorts what an index has in order: those that %s", async (_, work) => {
  const sorting = (await plansOf(work)).filter(({ lines }) =>
    lines.some((line) => line.includes("TEMP B-TREE")),
  );
  expect(sorting.filter(({ sql }) => !SORTED.some((few) => few.test(sql)))).toEqual([]);
});

// For a bare parameter behind = or LIMIT, SQLite 3.50 and later looks at its value and prepares the statement again each
// time another one is bound: a join by key took 9 us in place of 1. `+?` is the same value, and no bare parameter.
test.each([
  ["read", reads],
  ["write", writes],
])("no statement is prepared again for each value: those that %s", async (_, work) => {
  const bare = (await plansOf(work)).filter(({ sql }) => {
    const values = sql.replace(/\bSET\b.*?(?=\bWHERE\b|\bRETURNING\b|$)/g, "");
    return /((?<![<>!])= ?|LIMIT )\?/.test(values);
  });
  expect(bare.map(({ sql }) => sql)).toEqual([]);
});

test("what is due is found at its place in the index, not by going through what is due later", async () => {
  const due = (await plansOf(reads)).filter(({ sql }) => /queued = 1/.test(sql));
  expect(due.length).toBeGreaterThanOrEqual(5);
  for (const { sql, lines } of due) {
    const [walk] = lines.filter((line) => /INDEX deliveries_due/.test(line));
    const bounded = /\(endpoint=\? AND (\(due_at,event\)|due_at)[<>]/.test(walk ?? "");
    const first = /\(endpoint=\?\)/.test(walk ?? "") && /ORDER BY due_at, event LIMIT 1/.test(sql);
    expect({ sql, walk, cheap: bounded || first }).toEqual({ sql, walk, cheap: true });
  }
});
