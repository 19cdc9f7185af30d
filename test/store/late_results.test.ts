// What comes between two steps, or after somebody decided otherwise: results of attempts that were in flight, seals
// between the steps of a long write, decisions about a delivery that its endpoint is held for.

import { describe, expect, test } from "bun:test";
import path from "node:path";
import { createSecretBox } from "../../src/base/secret_box.ts";
import { ageKey } from "../../src/store/sqlite/due.ts";
import type { AgeCursor, SettleOp } from "../../src/store/sqlite/op.ts";
import { openReader } from "../../src/store/sqlite/pragma.ts";
import { DueReads } from "../../src/store/sqlite/read_due.ts";
import type { EndpointSettings } from "../../src/store/store.ts";
import { withTempDir } from "../help/temp.ts";
import {
  commit,
  createEndpoint,
  createOrganization,
  ingest,
  open,
  run,
  sealAll,
  settleOp,
} from "./writing.ts";

const LATER_MS = Date.now() + 5 * 3_600_000;
/** After its first failure. */
const FAILED: SettleOp["health"] = [1, 1000, null];

/** An engine, one endpoint, and what the delivery thread reads of it. */
async function withEndpoint(
  settings: Partial<EndpointSettings>,
  work: (world: ReturnType<typeof worldOf>) => void,
): Promise<void> {
  await withTempDir((dir) => {
    const world = worldOf(dir, settings);
    work(world);
    world.close();
  });
}

function worldOf(dir: string, settings: Partial<EndpointSettings>) {
  const file = path.join(dir, "triggers.db");
  const opened = open(file, 1);
  const { engine } = opened;
  const org = createOrganization(engine);
  const { endpoint, id } = createEndpoint(engine, org, settings);
  const db = openReader(file);
  const reads = new DueReads(db, createSecretBox([]));
  return {
    ...{ engine, ids: opened.ids, org, endpoint, id },
    parcel: (event: number) => reads.parcel(event, endpoint),
    dueAt: (event: number) => reads.dueAt(event, endpoint),
    pausedUntil: () => reads.target(endpoint)?.health.pausedUntilMs,
    heldUntil: () => reads.target(endpoint)?.heldUntilMs,
    failures: () => reads.target(endpoint)?.health.failures,
    ingest: (count: number) => Array.from({ length: count }, () => ingest(opened, org)),
    fail: (event: number, changes: Partial<SettleOp> = {}) =>
      commit(engine, settleOp({ event, endpoint, dueAtMs: LATER_MS, ...changes })),
    close: () => {
      db.close();
      engine.close();
    },
  };
}

describe.each([
  ["sealed", true],
  ["not sealed yet", false],
])("an ordered endpoint that is held for the retry of its first delivery (%s)", (_, sealed) => {
  const withHeld = (
    work: (world: ReturnType<typeof worldOf>, events: { seq: number; id: string }[]) => void,
  ) =>
    withEndpoint({ ordered: true }, (world) => {
      const events = world.ingest(3);
      if (sealed) sealAll(world.engine);
      world.fail(events[0]?.seq ?? 0, { health: FAILED });
      expect(world.heldUntil()).toBe(LATER_MS);
      work(world, events);
    });

  test.each(["ack", "delete"] as const)("goes on with the next once that one is gone (%s)", (how) =>
    withHeld(({ engine, org, endpoint, heldUntil }, [first]) => {
      const id = first?.id ?? "";
      const { notice } = commit(
        engine,
        how === "ack" ? { op: "ack", org, ids: [id] } : { op: "deleteEvents", org, ids: [id] },
      );
      expect(heldUntil()).toBeNull();
      expect(notice?.unheld).toEqual([endpoint]);
    }),
  );

  test.each(["ack", "delete"] as const)("stays held when another one is gone (%s)", (how) =>
    withHeld(({ engine, org, heldUntil }, events) => {
      for (const { id } of events.slice(1)) {
        const { notice } = commit(
          engine,
          how === "ack" ? { op: "ack", org, ids: [id] } : { op: "deleteEvents", org, ids: [id] },
        );
        expect(notice?.unheld ?? []).toEqual([]);
      }
      expect(heldUntil()).toBe(LATER_MS);
    }),
  );

  test("sends it at once when somebody asks for a retry of it, and not when of a later one", () =>
    withHeld(({ engine, org, endpoint, heldUntil }, [first, second]) => {
      run(engine, { op: "retryDelivery", org, endpoint, event: second?.seq ?? 0 });
      expect(heldUntil()).toBe(LATER_MS);
      run(engine, { op: "retryDelivery", org, endpoint, event: first?.seq ?? 0 });
      expect(heldUntil()).toBeNull();
    }));

  test("is not held when it was acknowledged while its attempt was in flight", () =>
    withEndpoint({ ordered: true }, ({ engine, org, ingest: put, fail, heldUntil }) => {
      const [first] = put(2);
      if (sealed) sealAll(engine);
      run(engine, { op: "ack", org, ids: [first?.id ?? ""] });
      fail(first?.seq ?? 0, { health: FAILED });
      expect(heldUntil()).toBeNull();
    }));

  test("is not held when it was deleted while its attempt was in flight", () =>
    withEndpoint({ ordered: true }, ({ engine, org, ingest: put, fail, heldUntil }) => {
      const [first] = put(2);
      if (sealed) sealAll(engine);
      run(engine, { op: "deleteEvents", org, ids: [first?.id ?? ""] });
      fail(first?.seq ?? 0, { health: FAILED });
      expect(heldUntil()).toBeNull();
    }));

  test("stays held for one that failed when an older one is acknowledged, and when that one's own attempt fails", () =>
    withEndpoint({ ordered: true }, ({ engine, org, ingest: put, fail, heldUntil }) => {
      // Both were in flight when the endpoint was made ordered.
      const [first, second] = put(2);
      if (sealed) sealAll(engine);
      fail(second?.seq ?? 0, { health: FAILED });
      run(engine, { op: "ack", org, ids: [first?.id ?? ""] });
      expect(heldUntil()).toBe(LATER_MS);
      fail(first?.seq ?? 0, { health: [2, 1000, null] });
      expect(heldUntil()).toBe(LATER_MS);
    }));

  test("keeps the pause of an open breaker, and one that a receiver asked for, whatever becomes of the delivery", () =>
    withHeld(({ engine, org, endpoint, fail, heldUntil, pausedUntil }, [first]) => {
      for (const failures of [2, 10]) {
        fail(first?.seq ?? 0, { health: [failures, 1000, LATER_MS - 1] });
        run(engine, { op: "retryDelivery", org, endpoint, event: first?.seq ?? 0 });
        expect([heldUntil(), pausedUntil()]).toEqual([null, LATER_MS - 1]);
      }
      run(engine, { op: "ack", org, ids: [first?.id ?? ""] });
      expect(pausedUntil()).toBe(LATER_MS - 1);
    }));
});

describe("a delivery that was put back while its attempt was in flight", () => {
  test.each(["retry", "dead_letter", "gone"] as const)(
    "waits in its new round, with the schedule from its start, when that attempt fails (%s)",
    (outcome) =>
      withEndpoint({}, ({ engine, org, endpoint, ingest: put, fail, dueAt, parcel }) => {
        const [first] = put(1);
        const event = first?.seq ?? 0;
        fail(event);
        run(engine, { op: "retryDelivery", org, endpoint, event });
        fail(event, { outcome, round: 0, dueAtMs: outcome === "retry" ? LATER_MS : null });
        expect(dueAt(event)).toBe(ageKey(event));
        expect(parcel(event)).toMatchObject({ attempts: 2, attempts_before: 2 });
        fail(event, { outcome: "dead_letter", round: 2, dueAtMs: null });
        expect(dueAt(event)).toBeNull();
      }),
  );
});

test("an ordered endpoint stays held when an older event is acknowledged that stands behind, for its deliver_at", () =>
  withEndpoint({ ordered: true }, ({ engine, ids, org, fail, heldUntil, ingest: put }) => {
    const { seq, id } = ids.next(Date.now());
    const rest = { op: "ingest", org, type: "t", dedupId: null, payload: "1" } as const;
    run(engine, { ...rest, seq, id, appearAtMs: LATER_MS });
    const [second] = put(1);
    fail(second?.seq ?? 0, { health: FAILED });
    run(engine, { op: "ack", org, ids: [id] });
    expect(heldUntil()).toBe(LATER_MS);
  }));

describe("an endpoint that was enabled", () => {
  test("is healthy, also when a failure from before is settled after that", () =>
    withEndpoint({}, ({ engine, org, id, ingest: put, fail, failures, pausedUntil }) => {
      const [first] = put(1);
      const event = first?.seq ?? 0;
      fail(event, { health: [1, 1000, null] });
      fail(event, { health: [12, 1000, LATER_MS] });
      expect(failures()).toBe(12);
      run(engine, { op: "enableEndpoint", org, id });
      fail(event, { health: [13, 1000, LATER_MS] });
      expect([failures(), pausedUntil()]).toEqual([0, null]);
      fail(event, { health: [1, 2000, null] });
      fail(event, { health: [2, 2000, null] });
      expect(failures()).toBe(2);
    }));

  test("sends what waited in the order of age, also what was sealed between two steps", () =>
    withEndpoint({}, ({ engine, org, endpoint, id, ingest: put, fail, dueAt }) => {
      const sealed = put(4);
      for (const [i, { seq }] of sealed.entries()) fail(seq, { dueAtMs: LATER_MS + i });
      sealAll(engine);
      const tail = put(2);
      for (const { seq } of tail) fail(seq, { dueAtMs: LATER_MS });
      fail(tail[1]?.seq ?? 0, { outcome: "gone", dueAtMs: null });
      run(engine, { op: "enableEndpoint", org, id });
      for (let after: AgeCursor | null = null, steps = 0; after !== null || steps === 0; steps++) {
        after = run<{ next: AgeCursor | null }>(engine, { op: "ageStep", endpoint, after, looksMax: 2 }).next;
        sealAll(engine);
      }
      const events = [...sealed, ...tail].map(({ seq }) => seq);
      expect(events.map(dueAt)).toEqual(events.map(ageKey));
    }));
});
