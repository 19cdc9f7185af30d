// Pages that are read bite by bite, with writes between the bites: what stays is told exactly once and in order, and
// what was deleted, or left the filter, is not told any more.

import { expect, test } from "bun:test";
import path from "node:path";
import fc from "fast-check";
import { openReader } from "../../src/store/sqlite/pragma.ts";
import { DeliveryReads } from "../../src/store/sqlite/read_deliveries.ts";
import { InboxReads } from "../../src/store/sqlite/read_inbox.ts";
import type { Bite, DeliveryKey } from "../../src/store/store.ts";
import { withTempDir } from "../help/temp.ts";
import { createEndpoint, createOrganization, open, run, sealAll } from "./writing.ts";

/** Three fit into a bite. */
const PAYLOAD = JSON.stringify("x".repeat(50_000));

function worldOf(dir: string, sealEvents: number) {
  const file = path.join(dir, "triggers.db");
  const opened = open(file, sealEvents);
  const { engine, ids } = opened;
  const org = createOrganization(engine);
  const db = openReader(file);
  const ingest = (payload = PAYLOAD) => {
    const { seq, id } = ids.next(Date.now());
    run(engine, { op: "ingest", seq, id, org, type: "t", dedupId: null, payload, appearAtMs: null });
    sealAll(engine);
    return id;
  };
  const close = () => {
    db.close();
    engine.close();
  };
  return { engine, org, db, inbox: new InboxReads(db), deliveries: new DeliveryReads(db), ingest, close };
}

/** Rows of all bites; `between` is called after each but the last. */
function rowsOf<Row, Key>(bites: Iterable<Bite<Row, Key>>, between: () => void = () => {}) {
  const rows: Row[] = [];
  let count = 0;
  for (const bite of bites) {
    rows.push(...bite.rows);
    count++;
    if (bite.isLast) return { rows, count, next: bite.next };
    between();
  }
  throw new Error("no bite was marked as the last");
}

const write = fc.record({ kind: fc.constantFrom("send", "ack", "delete"), nth: fc.nat(30) });

test("a page of the inbox tells what stays exactly once, whatever is written between its bites", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom("asc", "desc"),
      fc.constantFrom(1, 1_000),
      fc.boolean(),
      fc.array(fc.array(write, { maxLength: 3 }), { maxLength: 8 }),
      (order, sealEvents, onlyPending, writes) =>
        withTempDir((dir) => {
          const { engine, org, inbox, ingest, close } = worldOf(dir, sealEvents);
          const atStart = Array.from({ length: 24 }, () => ingest());
          const touched = new Set<string>();
          const steps = writes.values();
          const query = { org, statuses: onlyPending ? (["pending"] as const) : [], type: null };
          const page = inbox.inbox({
            ...{ ...query, sinceMs: null, untilMs: null, order, limit: 1_000, afterSeq: null },
          });
          const told: string[] = [];
          for (const { rows } of page) {
            const now = rows.map(({ id }) => id);
            // Those that were changed before this bite: seen as they are now, or not at all.
            if (onlyPending) expect(now.filter((id) => touched.has(id))).toEqual([]);
            told.push(...now);
            for (const { kind, nth } of steps.next().value ?? []) {
              const id = atStart[nth % atStart.length] ?? "";
              if (kind === "send") ingest();
              else if (kind === "ack") run(engine, { op: "ack", org, ids: [id] });
              else run(engine, { op: "deleteEvents", org, ids: [id] });
              if (kind !== "send") touched.add(id);
            }
          }
          const sorted = [...new Set(told)].sort();
          expect(told).toEqual(order === "asc" ? sorted : sorted.reverse());
          expect(atStart.filter((id) => !told.includes(id) && !touched.has(id))).toEqual([]);
          close();
        }),
    ),
    { numRuns: 60 },
  );
});

test("a page of the inbox ends at its limit and before 8 MiB, wherever its bites end", () =>
  withTempDir((dir) => {
    const { org, inbox, ingest, close } = worldOf(dir, 1);
    const ids = Array.from({ length: 200 }, () => ingest());
    const query = { org, statuses: [], type: null, sinceMs: null, untilMs: null, order: "asc" } as const;
    for (const limit of [1, 2, 3, 4, 7, 50]) {
      const { rows, next } = rowsOf(inbox.inbox({ ...query, limit, afterSeq: null }));
      expect(rows.map(({ id }) => id)).toEqual(ids.slice(0, limit));
      const [after] = rowsOf(inbox.inbox({ ...query, limit, afterSeq: next })).rows;
      expect(after?.id).toBe(ids[limit] ?? "");
    }
    const { rows, count, next } = rowsOf(inbox.inbox({ ...query, limit: 1_000, afterSeq: null }));
    expect(rows.length * PAYLOAD.length).toBeLessThan(8 * 1024 * 1024);
    expect((rows.length + 2) * (PAYLOAD.length + 2_048)).toBeGreaterThan(8 * 1024 * 1024);
    expect(count).toBeGreaterThan(40);
    const rest = rowsOf(inbox.inbox({ ...query, limit: 1_000, afterSeq: next }));
    expect([...rows, ...rest.rows].map(({ id }) => id)).toEqual(ids);
    expect(rest.next).toBeNull();
    close();
  }));

test("a list of deliveries tells each of an event's endpoints once, also those beyond a bite and a page", () =>
  withTempDir((dir) => {
    const { engine, org, deliveries, ingest, close } = worldOf(dir, 1);
    const endpoints = Array.from({ length: 150 }, () => createEndpoint(engine, org).id);
    const events = [ingest("1"), ingest("2"), ingest("3")].reverse();
    const all = events.flatMap((event) => endpoints.map((endpoint) => `${event} ${endpoint}`));
    const filters = { endpointId: null, eventId: null, status: null, sinceMs: null, untilMs: null };
    for (const limit of [1_000, 149, 150, 151, 64, 7]) {
      const told: string[] = [];
      let after: DeliveryKey | null = null;
      do {
        const page: { rows: { eventId: string; endpointId: string }[]; next: DeliveryKey | null } = rowsOf(
          deliveries.deliveries({ org, ...filters, limit, after }),
        );
        expect(page.rows.length).toBeLessThanOrEqual(limit);
        told.push(...page.rows.map(({ eventId, endpointId }) => `${eventId} ${endpointId}`));
        after = page.next;
      } while (after !== null);
      expect(told).toEqual(all);
    }
    close();
  }));

test("a lease leaves out what was deleted before it was read", () =>
  withTempDir((dir) => {
    const { engine, org, db, inbox, ingest, close } = worldOf(dir, 1);
    const ids = Array.from({ length: 9 }, () => ingest());
    const seqs = db.query<{ seq: number }, []>("SELECT seq FROM events").all();
    const bites = inbox.bySeq(seqs.map(({ seq }) => seq));
    const { rows, count } = rowsOf(bites, () => run(engine, { op: "deleteEvents", org, ids: ids.slice(-1) }));
    expect(rows.map(({ event }) => event.id)).toEqual(ids.slice(0, -1));
    expect(count).toBeGreaterThan(1);
    expect(rowsOf(inbox.bySeq([]))).toEqual({ rows: [], count: 1, next: null });
    close();
  }));
