// Leases against a model: random ingests, leases, acknowledgements, releases, extensions, passing time, seals and
// restarts. Each lease hands out exactly the oldest events that nobody has; none is in two live leases.

import { afterEach, expect, setSystemTime, test } from "bun:test";
import path from "node:path";
import fc from "fast-check";
import { LEASED_TIMES_MAX, type LeasedSeqs } from "../../src/store/sqlite/leases.ts";
import type { LeaseOutcome } from "../../src/store/store.ts";
import { typeMatcher } from "../../src/webhook/event_types.ts";
import { withTempDir } from "../help/temp.ts";
import { createOrganization, ingest, type Open, open, run, sealAll } from "./writing.ts";

const START_MS = Date.UTC(2026, 10, 21);
const SEAL_EVENTS = 8;

afterEach(() => setSystemTime());

type Held = { lease: string; untilMs: number };
type ModelEvent = {
  seq: number;
  id: string;
  type: string;
  over: boolean;
  held: Held | null;
  last: string;
  times: number;
};

/** `over`: it was noticed that it ran out. */
type ModelLease = { id: string; seqs: readonly number[]; untilMs: number; over: boolean };

const types = fc.constantFrom("order.created", "order.paid", "user.made");
const step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("ingest" as const),
      count: fc.integer({ min: 1, max: 6 }),
      type: types,
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("lease" as const),
      max: fc.integer({ min: 1, max: 7 }),
      seconds: fc.integer({ min: 1, max: 30 }),
      type: fc.constantFrom(null, "order.*", "user.made"),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constantFrom("ack" as const, "release" as const, "extend" as const),
      pick: fc.nat(),
      part: fc.option(fc.nat(7)),
      delaySeconds: fc.constantFrom(0, 0, 5),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant("pass" as const), seconds: fc.integer({ min: 1, max: 40 }) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constantFrom("ackPlainly" as const, "delete" as const), pick: fc.nat() }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom("seal" as const, "restart" as const) }) },
);
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;

class World {
  readonly #file: string;
  #open: Open;
  readonly #org: number;
  readonly events: ModelEvent[] = [];
  readonly leases: ModelLease[] = [];
  nowMs = START_MS;

  constructor(dir: string) {
    setSystemTime(this.nowMs);
    this.#file = path.join(dir, "triggers.db");
    this.#open = open(this.#file, SEAL_EVENTS);
    this.#org = createOrganization(this.#open.engine);
    createOrganization(this.#open.engine); // somebody else
  }

  do(one: Step): void {
    if (one.kind === "ingest") this.ingest(one.count, one.type);
    else if (one.kind === "lease") this.lease(one.max, one.seconds * 1000, one.type);
    else if (one.kind === "pass") this.pass(one.seconds);
    else if (one.kind === "seal") sealAll(this.#open.engine);
    else if (one.kind === "restart") this.restart();
    else if ("part" in one) this.onLease(one);
    else if ("pick" in one) this.end(one.kind, one.pick);
  }

  ingest(count: number, type: string): void {
    for (let n = 0; n < count; n++) {
      const { seq, id } = ingest(this.#open, this.#org, this.nowMs, type);
      ingest(this.#open, this.#org + 1, this.nowMs, type);
      this.events.push({ seq, id, type, over: false, held: null, last: "", times: 0 });
    }
    this.#open.engine.maintain();
  }

  pass(seconds: number): void {
    this.nowMs += seconds * 1000;
    setSystemTime(this.nowMs);
  }

  restart(): void {
    this.#open.engine.close();
    this.#open = open(this.#file, SEAL_EVENTS);
  }

  close(): void {
    this.#open.engine.close();
  }

  lease(max: number, leaseMs: number, type: string | null): void {
    const id = Bun.randomUUIDv7();
    const op = { op: "lease", org: this.#org, id, max, leaseMs, type } as const;
    const got = run<LeasedSeqs>(this.#open.engine, op);
    this.#runOut();
    const matches = type === null ? () => true : typeMatcher([type]);
    const expected = this.events
      .filter((one) => !one.over && one.held === null && matches(one.type))
      .slice(0, max);
    expect([...got.seqs].sort((a, b) => a - b)).toEqual(expected.map(({ seq }) => seq));
    const untilMs = this.nowMs + leaseMs;
    for (const one of expected) {
      Object.assign(one, { held: { lease: id, untilMs }, last: id, times: one.times + 1 });
      expect(got.times[got.seqs.indexOf(one.seq)]).toBe(one.times);
    }
    if (expected.length > 0) this.leases.push({ id, seqs: got.seqs, untilMs, over: false });
  }

  /** What ran out is noticed by a lease, so the model notices it there too. */
  #runOut(): void {
    for (const lease of this.leases) lease.over ||= lease.untilMs <= this.nowMs;
    for (const one of this.events) {
      if (one.held !== null && one.held.untilMs <= this.nowMs) this.#comesBack(one);
    }
  }

  #comesBack(one: ModelEvent): void {
    one.held = null;
    if (one.times >= LEASED_TIMES_MAX) one.over = true;
  }

  end(kind: "ackPlainly" | "delete", pick: number): void {
    const one = this.events[pick % Math.max(1, this.events.length)];
    if (!one) return;
    const op = kind === "delete" ? "deleteEvents" : "ack";
    run(this.#open.engine, { op, org: this.#org, ids: [one.id] });
    Object.assign(one, { over: true, held: null, last: kind });
  }

  onLease(one: Extract<Step, { part: number | null }>): void {
    const lease = this.leases[one.pick % Math.max(1, this.leases.length)];
    if (!lease) return;
    const own = this.events.filter(({ seq }) => lease.seqs.includes(seq));
    const asked = one.part === null ? own : own.slice(0, one.part);
    const ids = one.part === null || one.kind === "extend" ? null : asked.map(({ id }) => id);
    const part = { org: this.#org, leaseId: lease.id, ids };
    if (one.kind === "ack") this.ack(part, asked, lease);
    else if (one.kind === "release") this.release(part, asked, one.delaySeconds * 1000);
    else this.extend(lease, own);
  }

  ack(
    part: { org: number; leaseId: string; ids: string[] | null },
    asked: readonly ModelEvent[],
    lease: ModelLease,
  ): void {
    const outcome = run<LeaseOutcome>(this.#open.engine, { op: "ackLease", ...part });
    const lost = asked.filter(({ over, last }) => !over && last !== part.leaseId);
    expect(outcome.lost).toEqual(lost.map(({ id }) => id));
    for (const one of asked)
      if (!one.over && one.last === part.leaseId) Object.assign(one, { over: true, held: null });
    lease.over ||= part.ids === null;
  }

  release(
    part: { org: number; leaseId: string; ids: string[] | null },
    asked: readonly ModelEvent[],
    delayMs: number,
  ): void {
    const pauseId = Bun.randomUUIDv7();
    const op = { op: "releaseLease", ...part, delayMs, pauseId } as const;
    const outcome = run<LeaseOutcome>(this.#open.engine, op);
    const held = asked.filter((one) => one.held?.lease === part.leaseId);
    expect(outcome.count).toBe(held.length);
    for (const one of held) {
      if (delayMs === 0) this.#comesBack(one);
      else Object.assign(one, { held: { lease: pauseId, untilMs: this.nowMs + delayMs }, last: pauseId });
    }
  }

  /** What ran out is had back; what was released is not, while the rest of its lease goes on. */
  extend(lease: ModelLease, own: readonly ModelEvent[]): void {
    const op = { op: "extendLease", org: this.#org, leaseId: lease.id, leaseMs: 20_000 } as const;
    const outcome = run<LeaseOutcome>(this.#open.engine, op);
    const kept = own.filter(
      ({ over, last, held }) => !over && last === lease.id && (held !== null || lease.over),
    );
    expect(outcome.count).toBe(kept.length);
    if (kept.length > 0) Object.assign(lease, { untilMs: this.nowMs + 20_000, over: false });
    for (const one of kept) one.held = { lease: lease.id, untilMs: this.nowMs + 20_000 };
  }
}

test("a lease hands out the oldest events that nobody has, and none twice", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60, size: "max" }), (steps) =>
      withTempDir((dir) => {
        const world = new World(dir);
        try {
          for (const one of steps) world.do(one);
          world.lease(1_000, 1_000, null);
        } finally {
          world.close();
        }
      }),
    ),
    { numRuns: 150 },
  );
});

test("an event that is leased again and again and never acknowledged is given up at last", () =>
  withTempDir((dir) => {
    const world = new World(dir);
    world.ingest(1, "order.created");
    for (let n = 0; n < LEASED_TIMES_MAX; n++) {
      world.lease(10, 1_000, null);
      world.pass(2);
    }
    world.lease(10, 1_000, null);
    expect(world.events[0]?.over).toBe(true);
    world.close();
  }));
