// The write-ahead log beside somebody who reads for long, as a backup does: it grows meanwhile, nobody is held up by it,
// and afterwards it is copied, starts over and is cut back.

import type { Database } from "bun:sqlite";
import { afterEach, expect, spyOn, test } from "bun:test";
import path from "node:path";
import { type LargeLog, prepareCheckpoint } from "../../src/store/sqlite/checkpoint.ts";
import { sizeOf } from "../../src/store/sqlite/database_file.ts";
import { openReader, openWriter } from "../../src/store/sqlite/pragma.ts";
import { eventually } from "../help/eventually.ts";
import { inboxIds } from "../help/inbox_walk.ts";
import { TestServer } from "../help/server.ts";
import { tempDir } from "../help/temp.ts";

const MEBIBYTE = 1 << 20;

const open: { close(): unknown }[] = [];
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.close();
});

/** The database, and what is asked of it about checkpoints; `onPassive` is called at each passive one. */
function watched(file: string, onPassive: () => void): { db: Database; asked: string[] } {
  const real = openWriter(file, "normal");
  open.push({ close: () => real.close() });
  const asked: string[] = [];
  const db = new Proxy(real, {
    get(_, name) {
      const value: unknown = Reflect.get(real, name, real);
      if (typeof value !== "function") return value;
      return (...args: unknown[]) => {
        if (/wal_checkpoint\((RESTART|PASSIVE)/.test(String(args[0]))) asked.push(String(args[0]));
        if (String(args[0]).includes("PASSIVE")) onPassive();
        return value.apply(real, args);
      };
    },
  });
  db.run("CREATE TABLE t (id INTEGER PRIMARY KEY, data BLOB)");
  return { db, asked };
}

/** Somebody who reads until `end`. */
function longReader(file: string) {
  const db = openReader(file);
  db.run("BEGIN");
  db.query("SELECT count(*) FROM t").get();
  const end = () => {
    if (db.inTransaction) db.run("COMMIT");
  };
  open.push({
    close: () => {
      end();
      db.close();
    },
  });
  return { end };
}

function setUp(largeLog?: LargeLog, onPassive: () => void = () => {}) {
  const file = path.join(tempDir(), "triggers.db");
  const { db, asked } = watched(file, onPassive);
  const checkpoint = prepareCheckpoint(db, 5_000, largeLog);
  /** A group of 4 MB, or of less, and the pause after it. */
  const write = (bytes = 4 * MEBIBYTE) => {
    db.run("INSERT INTO t (data) VALUES (zeroblob(?))", [bytes]);
    checkpoint();
  };
  return { file, db, asked, write, walBytes: () => sizeOf(`${file}-wal`) ?? 0 };
}

test("a reader that stays is waited for once for each 64 MB, and not after each group", () => {
  const { file, asked, write, walBytes } = setUp();
  write();
  longReader(file);
  while (walBytes() < 200 * MEBIBYTE) write();
  expect(asked.filter((sql) => sql.includes("RESTART")).length).toBeLessThanOrEqual(3);
});

/** The sizes of twelve checkpoints, in groups of half a megabyte, on a disk where the nth one takes so long. */
function sizesOf(tookMs: (nth: number, groups: number) => number): readonly number[] {
  let clockMs = 0;
  let groups = 0;
  const sizes: number[] = [];
  const clock = spyOn(performance, "now").mockImplementation(() => clockMs);
  open.push({ close: () => clock.mockRestore() });
  const { write } = setUp(undefined, () => {
    clockMs += tookMs(sizes.length, groups);
    sizes.push(groups);
    groups = 0;
  });
  while (sizes.length < 12) {
    groups++;
    write(MEBIBYTE / 2);
  }
  return sizes;
}

test("a few slow checkpoints do not make all that follow large", () => {
  const sizes = sizesOf((nth, groups) => (nth < 2 ? 20 : groups));
  expect(sizes[0]).toBe(4);
  expect(Math.max(...sizes)).toBeGreaterThan(12);
  expect(sizes.at(-1)).toBe(4);
});

test("where each fsync is slow, checkpoints are large", () => {
  const sizes = sizesOf((_, groups) => 40 + groups);
  expect(sizes[0]).toBe(4);
  expect(sizes.at(-1)).toBeGreaterThan(12);
});

test("readers that overlap without a pause are waited for once the log has 64 MB, so that it starts over", () => {
  const { file, asked, write, walBytes } = setUp();
  let reader = longReader(file);
  while (!asked.some((sql) => sql.includes("RESTART"))) {
    write();
    const next = longReader(file);
    reader.end();
    reader = next;
    expect(walBytes()).toBeLessThan(100 * MEBIBYTE);
  }
  reader.end();
  for (let n = 0; n < 30; n++) write();
  expect(walBytes()).toBeLessThan(100 * MEBIBYTE);
});

test("a log that a reader left long is not copied by the writer, and neither while another does", () => {
  let isBeingCopied = false;
  let copies = 0;
  const largeLog = {
    isBeingCopied: () => isBeingCopied,
    copy: () => {
      copies++;
      isBeingCopied = true;
    },
  };
  const { file, db, asked, write, walBytes } = setUp(largeLog);
  const reader = longReader(file);
  while (copies === 0) write();
  reader.end();
  asked.length = 0;
  for (let n = 0; n < 10; n++) write();
  expect([asked, copies]).toEqual([[], 1]);
  expect(walBytes()).toBeGreaterThan(64 * MEBIBYTE);
  // The other has done it; the writer goes on from there.
  db.run("PRAGMA wal_checkpoint (PASSIVE)");
  isBeingCopied = false;
  for (let n = 0; n < 10; n++) write();
  expect(copies).toBe(1);
  expect(asked.length).toBeGreaterThan(0);
});

test("the file is cut back to 64 MB in pieces, one each time that the log starts over", () => {
  const { file, write, walBytes } = setUp();
  const reader = longReader(file);
  while (walBytes() < 300 * MEBIBYTE) write();
  reader.end();
  const sizes = [walBytes()];
  while (walBytes() > 64 * MEBIBYTE) {
    write();
    if (walBytes() < (sizes.at(-1) ?? 0)) sizes.push(walBytes());
  }
  expect(sizes.length).toBeGreaterThanOrEqual(4);
  const cuts = sizes.slice(1).map((size, i) => (sizes[i] ?? 0) - size);
  expect(Math.max(...cuts)).toBeLessThanOrEqual(64 * MEBIBYTE);
});

test("beside a server: what a reader kept back for long is copied, cut back, and nothing is missing", async () => {
  const server = await TestServer.start({ env: { DISABLE_WEBHOOK_DELIVERY: "true" } });
  open.push({ close: () => server.stop() });
  const { api, key } = await server.organization();
  const file = path.join(server.dataDir, "triggers.db");
  const events = Array.from({ length: 500 }, () => ({ type: "t", payload: "x".repeat(2_000) }));
  const ids: string[] = [];
  const post = async () => {
    const { status, body } = await api.post("/api/events/batch", { events });
    expect(status).toBe(202);
    ids.push(...body.results.map(({ id }: { id: string }) => id));
    return sizeOf(`${file}-wal`) ?? 0;
  };
  const reader = openReader(file);
  reader.run("BEGIN");
  reader.query("SELECT count(*) FROM events").get();
  await eventually(post, (bytes) => bytes > 150 * MEBIBYTE);
  reader.run("COMMIT");
  reader.close();
  await eventually(post, (bytes) => bytes <= 64 * MEBIBYTE);
  expect(await server.kill("SIGKILL")).toBe(null);
  const again = await TestServer.start({ dataDir: server.dataDir });
  open.push({ close: () => again.stop() });
  const stored = await inboxIds(again.api(key));
  expect(ids.filter((id) => !stored.has(id))).toEqual([]);
});

test("a server that is stopped while its log is being copied stops in good order", async () => {
  const server = await TestServer.start({ env: { DISABLE_WEBHOOK_DELIVERY: "true" } });
  const { api } = await server.organization();
  const file = path.join(server.dataDir, "triggers.db");
  const events = Array.from({ length: 500 }, () => ({ type: "t", payload: "x".repeat(2_000) }));
  const reader = openReader(file);
  reader.run("BEGIN");
  reader.query("SELECT count(*) FROM events").get();
  const post = async () => {
    await api.post("/api/events/batch", { events });
    return sizeOf(`${file}-wal`) ?? 0;
  };
  await eventually(post, (bytes) => bytes > 80 * MEBIBYTE);
  reader.run("COMMIT");
  reader.close();
  await post();
  expect(await server.stop()).toBe(0);
  expect(sizeOf(`${file}-wal`) ?? 0).toBe(0);
});

test("a server that is stopped beside a reader that stays stops in good order, and the next start has everything", async () => {
  const server = await TestServer.start({ env: { DISABLE_WEBHOOK_DELIVERY: "true" } });
  const { api, key } = await server.organization();
  const reader = openReader(path.join(server.dataDir, "triggers.db"));
  open.push({ close: () => reader.close() });
  reader.run("BEGIN");
  reader.query("SELECT count(*) FROM events").get();
  const { body } = await api.post("/api/events", { type: "t", payload: 1 });
  expect(await server.stop()).toBe(0);
  expect(reader.query("SELECT count(*) AS n FROM events").get()).toEqual({ n: 0 });
  reader.run("COMMIT");
  const again = await TestServer.start({ dataDir: server.dataDir });
  open.push({ close: () => again.stop() });
  expect(await inboxIds(again.api(key))).toEqual(new Set([body.id]));
});
