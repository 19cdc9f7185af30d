// The engine against a model: random writes, seals and restarts; after each step every read agrees with the model,
// whether the event is sealed or not.

import { expect, test } from "bun:test";
import path from "node:path";
import fc from "fast-check";
import { IdSource } from "../../src/base/id.ts";
import { indexNames } from "../../src/store/sqlite/context.ts";
import { type Engine, openEngine } from "../../src/store/sqlite/engine.ts";
import { isFailure, type Op } from "../../src/store/sqlite/op.ts";
import { openReader } from "../../src/store/sqlite/pragma.ts";
import { DueReads } from "../../src/store/sqlite/read_due.ts";
import { InboxReads } from "../../src/store/sqlite/read_inbox.ts";
import type { EventStatus } from "../../src/wire/tiers.ts";
import { withTempDir } from "../help/temp.ts";

function open(file: string, sealEvents: number): { engine: Engine; ids: IdSource } {
  const opened = openEngine(file, "normal", sealEvents);
  if (opened.kind !== "opened") throw new Error(opened.detail);
  return { engine: opened.engine, ids: new IdSource(opened.lastSeq) };
}

function run<T>(engine: Engine, op: Op): T {
  const [result] = engine.commitGroup([op]).results;
  if (isFailure(result)) throw new Error(result.reason);
  return result as T;
}

function organization(engine: Engine, n: number): number {
  const key = { keyId: `key${n}`, secretHash: "x", name: null, scopes: [], expiresAtMs: null };
  const op = {
    op: "createOrganization",
    id: Bun.randomUUIDv7(),
    name: `org ${n}`,
    tier: "free",
    key,
  } as const;
  return run<{ org: number }>(engine, op).org;
}

function endpoint(engine: Engine, org: number): number {
  const op = {
    op: "putDefaultEndpoint",
    org,
    id: Bun.randomUUIDv7(),
    url: "https://a.example/",
    signingSecret: "s",
  };
  return run<{ endpoint: number }>(engine, op as Op).endpoint;
}

/** One pause seals one index. */
function sealAll(engine: Engine): void {
  for (const _ of indexNames) engine.maintain();
}

type ModelEvent = {
  id: string;
  seq: number;
  org: number;
  dedupId: string | null;
  payload: string;
  endpoint: number | null;
  attempts: number;
  state: "none" | "waiting" | "delivered" | "dead_letter" | "cancelled";
  acked: boolean;
};

function statusOf({ acked, state, attempts }: ModelEvent): EventStatus {
  if (acked || state === "delivered") return "delivered";
  if (state === "dead_letter") return "dead_letter";
  return state === "waiting" && attempts > 0 ? "failed" : "pending";
}

const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("ingest" as const),
      org: fc.nat(1),
      dedup: fc.option(fc.nat(8)),
      n: fc.nat(),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("settle" as const),
      pick: fc.nat(),
      outcome: fc.constantFrom("delivered" as const, "retry" as const, "dead_letter" as const),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("ack" as const), pick: fc.nat() }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("maintain" as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("restart" as const) }) },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

class World {
  readonly file: string;
  readonly sealEvents: number;
  readonly events: ModelEvent[] = [];
  readonly orgs: number[];
  readonly endpointOfOrg = new Map<number, number>();
  engine: Engine;
  ids: IdSource;

  constructor(dir: string, sealEvents: number) {
    this.file = path.join(dir, "triggers.db");
    this.sealEvents = sealEvents;
    ({ engine: this.engine, ids: this.ids } = open(this.file, sealEvents));
    this.orgs = [organization(this.engine, 0), organization(this.engine, 1)];
    const first = this.orgs[0] ?? 0;
    this.endpointOfOrg.set(first, endpoint(this.engine, first));
  }

  take(step: Step): void {
    if (step.kind === "ingest") this.ingest(this.orgs[step.org] ?? 0, step.dedup, step.n);
    else if (step.kind === "maintain") this.engine.maintain();
    else if (step.kind === "restart") {
      this.engine.close();
      ({ engine: this.engine, ids: this.ids } = open(this.file, this.sealEvents));
    } else {
      const event = this.events[step.pick % Math.max(1, this.events.length)];
      if (event && step.kind === "ack") this.ack(event);
      else if (event && step.kind === "settle") this.settle(event, step.outcome);
    }
  }

  ingest(org: number, dedup: number | null, n: number): void {
    const { seq, id } = this.ids.next(Date.now());
    const dedupId = dedup === null ? null : `dedup-${dedup}`;
    const payload = `{"n":${n}}`;
    const result = run(this.engine, { op: "ingest", seq, id, org, type: `t.${n % 3}`, dedupId, payload });
    const first = this.events.find(
      (event) => event.org === org && dedupId !== null && event.dedupId === dedupId,
    );
    expect(result).toBe(first?.id ?? 0);
    if (first) return;
    const to = this.endpointOfOrg.get(org) ?? null;
    const state = to === null ? "none" : "waiting";
    this.events.push({ id, seq, org, dedupId, payload, endpoint: to, attempts: 0, state, acked: false });
  }

  ack(event: ModelEvent): void {
    const result = run<{ acknowledged: { id: string }[]; notFound: string[] }>(this.engine, {
      op: "ack",
      org: event.org,
      ids: [event.id, "01a1fb8e-1e2a-790f-b9b2-883286adc699"],
    });
    expect(result.acknowledged.map(({ id }) => id)).toEqual([event.id]);
    expect(result.notFound).toHaveLength(1);
    event.acked = true;
    if (event.state === "waiting") event.state = "cancelled";
  }

  settle(event: ModelEvent, outcome: "delivered" | "retry" | "dead_letter"): void {
    if (event.endpoint === null) return;
    run(this.engine, {
      op: "settle",
      event: event.seq,
      endpoint: event.endpoint,
      outcome,
      startedAtMs: Date.now(),
      durationMs: 1,
      responseStatus: outcome === "delivered" ? 200 : 500,
      error: outcome === "delivered" ? null : "http_status: 500",
      responseExcerpt: null,
      dueAtMs: outcome === "retry" ? 5 : null,
    });
    event.attempts++;
    if (outcome === "delivered") event.state = "delivered";
    else if (event.state === "waiting" && outcome === "dead_letter") event.state = "dead_letter";
  }

  check(): void {
    const db = openReader(this.file);
    const inbox = new InboxReads(db);
    const query = { statuses: [], type: null, sinceMs: null, untilMs: null, order: "asc", limit: 7 } as const;
    for (const org of this.orgs) {
      const expected = this.events.filter((event) => event.org === org);
      const read: string[] = [];
      let afterSeq: number | null = null;
      do {
        const page = inbox.inbox({ ...query, org, afterSeq });
        read.push(
          ...page.events.map((event) => `${event.id} ${event.status} ${event.attempts} ${event.payload}`),
        );
        afterSeq = page.nextSeq;
      } while (afterSeq !== null);
      expect(read).toEqual(
        expected.map((event) => `${event.id} ${statusOf(event)} ${event.attempts} ${event.payload}`),
      );
      for (const status of ["pending", "failed", "dead_letter", "delivered"] as const) {
        const page = inbox.inbox({
          ...query,
          org,
          statuses: [status],
          order: "desc",
          limit: 1000,
          afterSeq: null,
        });
        const wanted = expected.filter((event) => statusOf(event) === status).reverse();
        expect(page.events.map(({ id }) => id)).toEqual(wanted.map(({ id }) => id));
      }
    }
    this.checkDue(new DueReads(db));
    db.close();
  }

  /** What a dispatcher finds after a restart: each waiting delivery exactly once, in the tail or in the index. */
  checkDue(reads: DueReads): void {
    const to = this.endpointOfOrg.get(this.orgs[0] ?? 0) ?? 0;
    const tail = reads.unsealed(reads.sealed()).map((row) => row.event);
    const indexed = reads.due(to, Number.MAX_SAFE_INTEGER, 10_000).map((row) => row.event);
    const waiting = this.events.filter((event) => event.state === "waiting").map((event) => event.seq);
    expect([...tail, ...indexed].sort((a, b) => a - b)).toEqual(waiting);
  }
}

test("every read agrees with what was written, sealed or not, and after restarts", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 5, maxLength: 60 }),
      fc.integer({ min: 1, max: 20 }),
      (steps, seal) =>
        withTempDir((dir) => {
          const world = new World(dir, seal);
          steps.forEach((one, i) => {
            world.take(one);
            if (i % 5 === 0) world.check();
          });
          world.check();
          world.engine.close();
        }),
    ),
    { numRuns: 60 },
  );
}, 120_000);

test("a dedup id is free again 24 hours after its first acceptance", () =>
  withTempDir((dir) => {
    const { engine } = open(path.join(dir, "triggers.db"), 1);
    const org = organization(engine, 0);
    const day = 24 * 60 * 60 * 1000;
    const put = (ids: IdSource, atMs: number) => {
      const { seq, id } = ids.next(atMs);
      const op = { op: "ingest", seq, id, org, type: "t", dedupId: "once", payload: "1" } as const;
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

test("one op with a defect spoils no other op of its group", () =>
  withTempDir((dir) => {
    const { engine, ids } = open(path.join(dir, "triggers.db"), 100);
    const org = organization(engine, 0);
    const event = (dedupId: string) =>
      ({ op: "ingest", ...ids.next(Date.now()), org, type: "t", dedupId, payload: "1" }) as const;
    const key = { keyId: "key0", secretHash: "x", name: null, scopes: [], expiresAtMs: null };
    const defective: Op = { op: "createKey", org, key }; // its key id is taken
    const { results } = engine.commitGroup([event("a"), defective, event("c")]);
    expect(results.map(isFailure)).toEqual([false, true, false]);
    const again = engine.commitGroup([event("a"), event("b"), event("c")]).results;
    expect(again.map((result) => result === 0)).toEqual([false, true, false]);
    engine.close();
  }));

test("erasing an organization leaves nothing of it and everything of the others", () =>
  withTempDir((dir) => {
    const world = new World(dir, 3);
    for (let i = 0; i < 20; i++) {
      world.ingest(world.orgs[i % 2] ?? 0, i, i);
      world.engine.maintain();
    }
    const [gone, kept] = world.orgs;
    run(world.engine, { op: "startErase", org: gone ?? 0 });
    while (!run<{ done: boolean }>(world.engine, { op: "eraseStep", org: gone ?? 0, eventsMax: 4 }).done);
    const db = openReader(world.file);
    const count = (sql: string) => db.query<{ n: number }, []>(sql).get()?.n;
    expect(count(`SELECT count(*) AS n FROM events WHERE org = ${gone}`)).toBe(0);
    expect(count(`SELECT count(*) AS n FROM inbox WHERE org = ${gone}`)).toBe(0);
    expect(count("SELECT count(*) AS n FROM deliveries")).toBe(0);
    expect(count(`SELECT count(*) AS n FROM api_keys WHERE org = ${gone}`)).toBe(0);
    expect(count(`SELECT count(*) AS n FROM organizations WHERE org = ${gone}`)).toBe(0);
    expect(count(`SELECT count(*) AS n FROM events WHERE org = ${kept}`)).toBe(10);
    db.close();
    world.engine.close();
  }));

test("retention removes the delivered and the dead-lettered and keeps the undelivered", () =>
  withTempDir((dir) => {
    const world = new World(dir, 1);
    const org = world.orgs[0] ?? 0;
    for (let i = 0; i < 6; i++) world.ingest(org, null, i);
    const [a, b, c] = world.events;
    if (!a || !b || !c) throw new Error("too few events");
    world.settle(a, "delivered");
    world.settle(b, "dead_letter");
    world.settle(c, "retry");
    world.engine.maintain();
    let afterSeq = 0;
    let removed = 0;
    for (let rounds = 0; rounds < 10; rounds++) {
      const op = { op: "pruneStep", afterSeq, beforeSeq: Number.MAX_SAFE_INTEGER, eventsMax: 2 } as const;
      const step = run<{ removed: number; nextSeq: number | null }>(world.engine, op);
      removed += step.removed;
      if (step.nextSeq === null) break;
      afterSeq = step.nextSeq;
    }
    expect(removed).toBe(2);
    world.events.splice(0, 2);
    world.check();
    world.engine.close();
  }));
