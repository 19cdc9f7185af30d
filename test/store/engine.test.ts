// The engine against a model: random writes, seals, restarts and crashes; after each few steps every read agrees with
// the model, whether the event is sealed or not.

import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { copyFileSync } from "node:fs";
import path from "node:path";
import fc from "fast-check";
import { IdSource, idOfSeq } from "../../src/base/id.ts";
import { ORGANIZATION_GONE } from "../../src/store/sqlite/ingest.ts";
import { isFailure, type Op } from "../../src/store/sqlite/op.ts";
import { openReader } from "../../src/store/sqlite/pragma.ts";
import { withTempDir } from "../help/temp.ts";
import { checkReads } from "./agreement.ts";
import { checkDue } from "./due_agreement.ts";
import { anyStep, stepOf } from "./steps.ts";
import { World } from "./world.ts";
import { createEndpoint, createOrganization, ingest, open, run, sealAll, settleOp } from "./writing.ts";

/** More runs than a test needs, to look for what is rare: MODEL_RUNS=2000 bun run test test/store/engine.test.ts */
const RUNS = Number(process.env.MODEL_RUNS ?? 40);
/** There a failure is told at once, by its seed and path: to make it small takes minutes. */
const IN_CI = process.env.CI !== undefined;
const CHECK_STEPS = 6;

test("every read agrees with what was written, sealed or not, after restarts and crashes", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(anyStep, { minLength: 5, maxLength: 120, size: "max" }),
      fc.integer({ min: 1, max: 20 }),
      (steps, sealEvents) =>
        withTempDir((dir) => {
          const world = new World(dir, sealEvents);
          steps.forEach((step, i) => {
            world.take(step);
            if (i % CHECK_STEPS === 0) check(world);
          });
          check(world);
          world.jobs({ max: 3 });
          check(world);
          world.close();
        }),
    ),
    { numRuns: RUNS, endOnFailure: IN_CI },
  );
}, 600_000);

function check(world: World): void {
  checkDue(world);
  checkReads(world);
}

test("every read agrees while a run of the inbox is being written, also after a restart in the middle", async () => {
  const events = 24;
  const begin = [stepOf(["createEndpoint"]), ...Array.from({ length: events }, () => stepOf(["ingest"]))];
  await fc.assert(
    fc.asyncProperty(
      fc.tuple(...begin),
      fc.array(stepOf(["maintain", "maintain", "ack", "deleteEvent", "settle", "restart"]), {
        minLength: 10,
        maxLength: 40,
        size: "max",
      }),
      (before, steps) =>
        withTempDir((dir) => {
          const world = new World(dir, events - 6); // some ids are given twice, and are refused
          for (const step of [...before, ...steps]) world.take(step);
          check(world);
          for (let pause = 0; pause < 30; pause++) world.maintain();
          check(world);
          world.close();
        }),
    ),
    { numRuns: RUNS, endOnFailure: IN_CI },
  );
}, 600_000);

test("a dedup id is free again 24 hours after its first acceptance", () =>
  withTempDir((dir) => {
    const { engine } = open(path.join(dir, "triggers.db"), 1);
    const org = createOrganization(engine);
    const day = 24 * 60 * 60 * 1000;
    const put = (ids: IdSource, atMs: number) => {
      const { seq, id } = ids.next(atMs);
      const op = {
        op: "ingest",
        seq,
        id,
        org,
        type: "t",
        dedupId: "once",
        payload: "1",
        appearAtMs: null,
      } as const;
      return { id, result: run(engine, op) };
    };
    const expired = put(new IdSource(-1), Date.now() - day - 1000);
    expect(expired.result).toBe(0);
    sealAll(engine);
    const ids = new IdSource(engine.lastSeq);
    const first = put(ids, Date.now());
    expect(first.result).toBe(0);
    expect(put(ids, Date.now()).result).toBe(first.id);
    sealAll(engine);
    expect(put(ids, Date.now()).result).toBe(first.id);
    engine.close();
  }));

test("what a failed seal left is sealed once, with what came in since", () =>
  withTempDir((dir) => {
    const file = path.join(dir, "triggers.db");
    const { engine, ids } = open(file, 1);
    const org = createOrganization(engine);
    const put = (dedupId: string) => {
      const op = { op: "ingest", ...ids.next(Date.now()), org, type: "t", dedupId, payload: "1" } as const;
      run(engine, { ...op, appearAtMs: null });
    };
    put("a");
    for (let pause = 0; pause < 2; pause++) engine.maintain(); // the inbox, and what is due
    const other = new Database(file);
    other.run("BEGIN IMMEDIATE");
    engine.maintain(); // the dedup ids: in vain, after five seconds
    other.run("ROLLBACK");
    const records = () => other.query("SELECT sum(length(hashes) / 8) FROM dedup").values().flat()[0] ?? 0;
    expect(records()).toBe(0);
    put("b");
    engine.maintain(); // what most events wait for: the dedup ids
    expect(records()).toBe(2);
    const mark = "SELECT value FROM marks WHERE name = 'dedup_sealed'";
    expect(other.query(mark).values()).toEqual([[engine.lastSeq]]);
    other.close();
    engine.close();
  }));

test("an erasure ends, also when a key was made behind its last step", () =>
  withTempDir((dir) => {
    const { engine } = open(path.join(dir, "triggers.db"), 100);
    const org = createOrganization(engine);
    run(engine, { op: "startErase", org });
    expect(run<{ done: boolean }>(engine, { op: "eraseStep", org, eventsMax: 10 })).toEqual({ done: true });
    const key = { keyId: "late", secretHash: "x", name: null, scopes: [], expiresAtMs: null };
    run(engine, { op: "createKey", org, key });
    engine.maintain();
    expect(run<{ done: boolean }>(engine, { op: "endErase", org })).toEqual({ done: false });
    engine.maintain();
    expect(run<{ done: boolean }>(engine, { op: "endErase", org })).toEqual({ done: true });
    engine.close();
  }));

test("an event that comes when the erasure of its organization has begun is not stored, before its end and after", () =>
  withTempDir((dir) => {
    const { engine, ids } = open(path.join(dir, "triggers.db"), 100);
    const [org, other] = [createOrganization(engine), createOrganization(engine)];
    const put = (of: number) => {
      const op = {
        op: "ingest",
        ...ids.next(Date.now()),
        org: of,
        type: "t",
        dedupId: null,
        payload: "1",
      } as const;
      return run(engine, { ...op, appearAtMs: null });
    };
    expect(put(org)).toBe(0);
    run(engine, { op: "startErase", org });
    expect(put(org)).toBe(ORGANIZATION_GONE);
    run(engine, { op: "eraseStep", org, eventsMax: 10 });
    engine.maintain();
    expect(run<{ done: boolean }>(engine, { op: "endErase", org })).toEqual({ done: true });
    expect([put(org), put(other)]).toEqual([ORGANIZATION_GONE, 0]);
    engine.close();
  }));

test("one op with a defect spoils no other op of its group", () =>
  withTempDir((dir) => {
    const { engine, ids } = open(path.join(dir, "triggers.db"), 100);
    const org = createOrganization(engine, "key0");
    const event = (dedupId: string) =>
      ({
        op: "ingest",
        ...ids.next(Date.now()),
        org,
        type: "t",
        dedupId,
        payload: "1",
        appearAtMs: null,
      }) as const;
    const key = { keyId: "key0", secretHash: "x", name: null, scopes: [], expiresAtMs: null };
    const defective: Op = { op: "createKey", org, key }; // its key id is taken
    const { results } = engine.commitGroup([event("a"), defective, event("c")]);
    expect(results.map(isFailure)).toEqual([false, true, false]);
    const again = engine.commitGroup([event("a"), event("b"), event("c")]).results;
    expect(again.map((result) => result === 0)).toEqual([false, true, false]);
    engine.close();
  }));

test("retention removes the delivered, the dead-lettered and the deleted, and keeps the undelivered", () =>
  withTempDir((dir) => {
    const opened = open(path.join(dir, "triggers.db"), 1);
    const { engine } = opened;
    const org = createOrganization(engine);
    const { endpoint } = createEndpoint(engine, org);
    const outcomes = ["delivered", "dead_letter", "retry"] as const;
    const events = outcomes.map((outcome) => {
      const { seq, id } = ingest(opened, org);
      run(engine, settleOp({ event: seq, endpoint, outcome, dueAtMs: 5 }));
      return id;
    });
    const { seq, id } = opened.ids.next(Date.now());
    run(engine, { op: "ingest", seq, id, org, type: "t", dedupId: "once", payload: "1", appearAtMs: null });
    run(engine, { op: "deleteEvents", org, ids: [id] });
    sealAll(engine);
    run(engine, { op: "pruneStep", afterSeq: 0, beforeSeq: Number.MAX_SAFE_INTEGER, eventsMax: 100 });
    const db = openReader(path.join(dir, "triggers.db"));
    const left = db.query<{ seq: number; tail: string }, []>("SELECT seq, tail FROM events").all();
    expect(left.map(({ seq, tail }) => idOfSeq(seq, tail))).toEqual([events[2] ?? ""]);
    expect(db.query("SELECT count(*) AS n FROM tombstones").get()).toEqual({ n: 0 });
    db.close();
    engine.close();
  }));

test("the write-ahead log stays short while each group is as large as a group gets", () =>
  withTempDir((dir) => {
    const file = path.join(dir, "triggers.db");
    const opened = open(file, 1_000);
    const org = createOrganization(opened.engine);
    createEndpoint(opened.engine, org);
    const uncopied: number[] = [];
    for (let group = 0; group < 40; group++) {
      const ops = Array.from({ length: 1_000 }, (_, n): Op => {
        const { seq, id } = opened.ids.next(Date.now());
        const [dedupId, payload] = [`${group}-${n}`, `"${"x".repeat(200)}"`];
        return { op: "ingest", seq, id, org, type: "a", dedupId, payload, appearAtMs: null };
      });
      expect(opened.engine.commitGroup(ops).results.some(isFailure)).toBe(false);
      opened.engine.maintain(); // one pause for each group: there is always an index to seal
      uncopied.push(walFrames(file));
    }
    opened.engine.close();
    expect(Math.max(...uncopied)).toBeLessThan(4_096);
  }));

test("a start after a crash copies the log into the file before anything is written behind it", () =>
  withTempDir((dir) => {
    const [before, after] = [path.join(dir, "before.db"), path.join(dir, "after.db")];
    const opened = open(before, 1_000);
    const org = createOrganization(opened.engine);
    const { seq } = ingest(opened, org);
    for (const end of ["", "-wal"]) copyFileSync(before + end, after + end);
    expect(walFrames(before)).toBeGreaterThan(0);
    const again = open(after, 1_000);
    expect(walFrames(after)).toBe(0);
    again.engine.close();
    opened.engine.close();
    const db = openReader(after);
    const left = db.query<{ seq: number }, []>("SELECT seq FROM events").all();
    expect(left).toEqual([{ seq }]);
    db.close();
  }));

/** Frames that are not in the database file yet. */
function walFrames(file: string): number {
  const db = new Database(file, { readwrite: true });
  const sql = "PRAGMA wal_checkpoint(NOOP)";
  const { log, checkpointed } = db.query<{ log: number; checkpointed: number }, []>(sql).get() ?? {
    log: 0,
    checkpointed: 0,
  };
  db.close();
  return log - checkpointed;
}

test.each(["delete", "erase"])(
  "the place of the newest event is not given again after a restart (%s)",
  (how) =>
    withTempDir((dir) => {
      const file = path.join(dir, "triggers.db");
      const opened = open(file, 1);
      const { engine } = opened;
      const org = createOrganization(engine);
      const { seq, id } = ingest(opened, org);
      if (how === "delete") run(engine, { op: "deleteEvents", org, ids: [id] });
      else {
        run(engine, { op: "startErase", org });
        run(engine, { op: "eraseStep", org, eventsMax: 10 });
      }
      expect(new Database(file, { readonly: true }).query("SELECT seq FROM events").all()).toEqual([]);
      engine.close();
      const again = open(file, 1);
      expect(again.engine.lastSeq).toBeGreaterThanOrEqual(seq);
      again.engine.close();
    }),
);
