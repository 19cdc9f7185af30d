// A lane over a real database, at a time of the test's own: whatever is accepted, sealed, sent, answered, acknowledged,
// put back, disabled and enabled, each delivery that waits and is due is handed out, once at a time.

import { expect, test } from "bun:test";
import path from "node:path";
import fc from "fast-check";
import { createSecretBox } from "../../src/base/secret_box.ts";
import { Lane } from "../../src/delivery/lane.ts";
import { ageKey } from "../../src/store/sqlite/due.ts";
import {
  type AgeCursor,
  type CommitNotice,
  isFailure,
  type Op,
  type SettleOp,
} from "../../src/store/sqlite/op.ts";
import { openReader } from "../../src/store/sqlite/pragma.ts";
import { DueReads } from "../../src/store/sqlite/read_due.ts";
import { withTempDir } from "../help/temp.ts";
import { createEndpoint, createOrganization, ingest, open, settleOp } from "../store/writing.ts";

const steps = fc.array(
  fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        do: fc.constant("ingest" as const),
        n: fc.constantFrom(1, 1, 2, 3, 4, 5, 6, 150),
      }),
    },
    { weight: 3, arbitrary: fc.record({ do: fc.constant("seal" as const), n: fc.constant(1) }) },
    {
      weight: 8,
      arbitrary: fc.record({ do: fc.constant("take" as const), n: fc.integer({ min: 1, max: 40 }) }),
    },
    { weight: 8, arbitrary: fc.record({ do: fc.constant("deliver" as const), n: fc.nat() }) },
    { weight: 5, arbitrary: fc.record({ do: fc.constant("fail" as const), n: fc.nat() }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("bury" as const), n: fc.nat() }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("gone" as const), n: fc.nat() }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("retry" as const), n: fc.nat() }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("ack" as const), n: fc.nat() }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("disable" as const), n: fc.constant(1) }) },
    {
      weight: 2,
      arbitrary: fc.record({ do: fc.constant("enable" as const), n: fc.integer({ min: 1, max: 9 }) }),
    },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("lag" as const), n: fc.constant(1) }) },
    {
      weight: 4,
      arbitrary: fc.record({ do: fc.constant("pass" as const), n: fc.integer({ min: 1, max: 3000 }) }),
    },
  ),
  { minLength: 5, maxLength: 120, size: "max" },
);
type Steps = typeof steps extends fc.Arbitrary<(infer T)[]> ? T : never;

const settings = fc.record({
  ordered: fc.boolean(),
  rateLimitPerSecond: fc.option(fc.constantFrom(1, 7, 200)),
  maxInFlight: fc.option(fc.integer({ min: 1, max: 10 })),
});
type Settings = typeof settings extends fc.Arbitrary<infer T> ? T : never;

type Waiting = { event: number; due_at: number };

class Sending {
  readonly #opened;
  readonly #db;
  readonly #reads: DueReads;
  readonly #org: number;
  readonly #endpoint;
  readonly #settings: Settings;
  readonly #lane: Lane;
  readonly #events: { seq: number; id: string }[] = [];
  readonly #inFlight: number[] = [];
  readonly #takenAtMs: number[] = [];
  /** Of what is in flight: the round that it was sent in. */
  readonly #rounds = new Map<number, number>();
  #nowMs = Date.now();
  #sealed = 0;
  /** What it did not hear yet; null when it hears all at once. */
  #unheard: (() => void)[] | null = null;

  constructor(dir: string, own: Settings) {
    const file = path.join(dir, "triggers.db");
    this.#opened = open(file, 1);
    this.#org = createOrganization(this.#opened.engine);
    this.#endpoint = createEndpoint(this.#opened.engine, this.#org, own);
    this.#settings = own;
    this.#db = openReader(file);
    this.#reads = new DueReads(this.#db, createSecretBox([]));
    this.#lane = new Lane(this.#endpoint.endpoint, this.#reads, this.#nowMs);
  }

  step({ do: what, n }: Steps): void {
    if (what === "ingest") this.#ingest(n);
    else if (what === "seal") this.#seal();
    else if (what === "take") this.#takeUpTo(n);
    else if (what === "pass") this.#nowMs += n;
    else if (what === "lag") this.#unheard ??= [];
    else if (what === "disable")
      this.#commit({ op: "disableEndpoint", org: this.#org, id: this.#endpoint.id });
    else if (what === "enable") this.#enable(n);
    else if (what === "retry" || what === "ack") this.#decide(what, n);
    else this.#answer(OUTCOMES[what], n, n % 4 === 3);
  }

  /** Everything that waits is delivered in the end, with time going on. */
  finish(): void {
    this.#hearAll();
    this.#enable(3);
    for (let rounds = 0; this.#waiting().length > 0; rounds++) {
      expect(rounds).toBeLessThan(10_000);
      this.#takeUpTo(100);
      while (this.#inFlight.length > 0) this.#answer("delivered", rounds);
      const nextMs = this.#lane.nextAtMs();
      if (nextMs !== null) this.#nowMs = Math.max(this.#nowMs, nextMs);
    }
    this.#checkRate();
    this.#db.close();
    this.#opened.engine.close();
  }

  #ingest(count: number): void {
    const { seq: before = 0 } = this.#events.at(-1) ?? {};
    for (let i = 0; i < count; i++) this.#events.push(ingest(this.#opened, this.#org));
    const due = this.#events
      .filter(({ seq }) => seq > before)
      .flatMap(({ seq }) => [seq, this.#endpoint.endpoint]);
    const nothing = { waiting: [], later: [], endpoints: [], aged: [], healed: [], unheld: [] };
    const sealed = this.#opened.engine.sealedDue;
    this.#tell(() => this.#hear({ due, ...nothing, sealed }));
  }

  #seal(): void {
    for (let i = 0; i < 3; i++) this.#opened.engine.maintain();
    const sealed = this.#opened.engine.sealedDue;
    this.#tell(() => {
      this.#sealed = sealed;
      this.#lane.seal(sealed);
    });
  }

  #tell(hear: () => void): void {
    if (this.#unheard === null) hear();
    else this.#unheard.push(hear);
  }

  #hearAll(): void {
    const unheard = this.#unheard ?? [];
    this.#unheard = null;
    for (const hear of unheard) hear();
  }

  #enable(looksMax: number): void {
    const { endpoint, id } = this.#endpoint;
    const changed = this.#commit<{ aging: boolean }>({ op: "enableEndpoint", org: this.#org, id });
    for (let after: AgeCursor | null = null, more = changed.aging; more; more = after !== null) {
      after = this.#commit<{ next: AgeCursor | null }>({ op: "ageStep", endpoint, after, looksMax }).next;
    }
  }

  #decide(what: "retry" | "ack", pick: number): void {
    const event = this.#events[pick % Math.max(1, this.#events.length)];
    if (!event) return;
    const { endpoint } = this.#endpoint;
    if (what === "ack") this.#commit({ op: "ack", org: this.#org, ids: [event.id] });
    else this.#commit({ op: "retryDelivery", org: this.#org, event: event.seq, endpoint });
  }

  /** `putBack`: in the same commit it is put back into the queue, of which the lane hears before its own result. */
  #answer(outcome: SettleOp["outcome"], pick: number, putBack = false): void {
    const [event] = this.#inFlight.splice(pick % Math.max(1, this.#inFlight.length), 1);
    if (event === undefined) return;
    const dueAtMs = outcome === "retry" ? this.#nowMs + (pick % 5000) : null;
    const asked = outcome === "retry" && pick % 7 === 0 ? 2_000 : 0;
    const round = this.#rounds.get(event) ?? 0;
    const result = settleOp({ event, endpoint: this.#endpoint.endpoint, round, outcome, dueAtMs });
    const op = this.#lane.answered({ op: result, askedMs: asked }, this.#nowMs, 0.5);
    this.#commit(
      op,
      putBack ? [{ op: "retryDelivery", org: this.#org, event, endpoint: this.#endpoint.endpoint }] : [],
    );
    const sealed = this.#opened.engine.sealedDue;
    this.#tell(() => {
      if (outcome === "retry") this.#waitsAgain(event, sealed);
      this.#lane.settled(event);
    });
  }

  /** Told while it still counts as taken: if it was put back meanwhile, what the disk says is what counts. */
  #waitsAgain(event: number, sealed: number): void {
    const due = this.#reads.dueAt(event, this.#endpoint.endpoint);
    if (due === null) return;
    if (event > sealed) this.#lane.hold(event, due);
    else this.#lane.waitsOnDisk(event, due);
  }

  #takeUpTo(count: number): void {
    this.#hearAll();
    for (let i = 0; i < count; i++) {
      const closed = this.#reads.target(this.#endpoint.endpoint);
      const pausedUntilMs = Math.max(closed?.health.pausedUntilMs ?? 0, closed?.heldUntilMs ?? 0);
      const line = this.#line();
      const event = this.#lane.take(this.#nowMs);
      if (event === null) {
        if (this.#lane.hasRoom) this.#checkNothingDue(line, pausedUntilMs);
        return;
      }
      expect(closed?.open).toBe(true);
      expect(pausedUntilMs).toBeLessThanOrEqual(this.#nowMs);
      expect(this.#inFlight).not.toContain(event);
      const parcel = this.#reads.parcel(event, this.#endpoint.endpoint);
      if (parcel === null) {
        this.#lane.untake(event);
        continue;
      }
      this.#takenAtMs.push(this.#nowMs);
      this.#rounds.set(event, parcel.attempts_before);
      this.#taken(event, line);
    }
  }

  /** It is due; an ordered endpoint gets the oldest of all, and one at a time. */
  #taken(event: number, line: readonly Waiting[]): void {
    expect(line.find((row) => row.event === event)?.due_at).toBeLessThanOrEqual(this.#nowMs);
    if (this.#settings.ordered) {
      expect(this.#inFlight).toEqual([]);
      expect(event).toBe(Math.min(...line.map((row) => row.event)));
    }
    this.#inFlight.push(event);
    expect(this.#inFlight.length).toBeLessThanOrEqual(this.#settings.maxInFlight ?? 32);
  }

  #checkNothingDue(line: readonly Waiting[], pausedUntilMs: number): void {
    const [first] = line;
    if (!first || !this.#lane.open) return;
    const rate = this.#settings.rateLimitPerSecond;
    const rateMs = rate === null ? 0 : this.#nowMs + 1000 / rate;
    const nextMs = this.#lane.nextAtMs();
    expect(nextMs).not.toBeNull();
    expect(nextMs ?? 0).toBeGreaterThan(this.#nowMs);
    expect(nextMs ?? 0).toBeLessThanOrEqual(Math.max(first.due_at, pausedUntilMs, rateMs));
  }

  /** In any second as many as it allows, one more at its edges, and what a late timer may catch up. */
  #checkRate(): void {
    const rate = this.#settings.rateLimitPerSecond;
    if (rate === null) return;
    this.#takenAtMs.forEach((atMs, i) => {
      const within = this.#takenAtMs.slice(i).filter((other) => other < atMs + 1000).length;
      expect(within).toBeLessThanOrEqual(Math.floor(rate * 1.005) + 1);
    });
  }

  /** What waits on disk, in the order of due_at. */
  #waiting(): readonly Waiting[] {
    return this.#db
      .query<Waiting, []>("SELECT event, due_at FROM deliveries WHERE state = 0 ORDER BY due_at, event")
      .all();
  }

  #line(): readonly Waiting[] {
    return this.#waiting().filter(({ event }) => !this.#inFlight.includes(event));
  }

  #commit<T>(op: Op, more: readonly Op[] = []): T {
    const { results, notice } = this.#opened.engine.commitGroup([op, ...more]);
    const failed = results.find(isFailure);
    if (failed) throw new Error(failed.reason);
    if (notice) this.#tell(() => this.#hear(notice));
    return results[0] as T;
  }

  /** As the dispatcher does. */
  #hear({ due, waiting, endpoints, aged, healed, unheld }: CommitNotice): void {
    if (healed.length > 0) this.#lane.heal();
    if (unheld.length > 0) this.#lane.readHold();
    if (endpoints.length > 0) this.#lane.refresh(this.#sealed, this.#nowMs);
    if (aged.length > 0) this.#lane.reopen(this.#sealed, this.#nowMs);
    for (let i = 0; i < due.length; i += 2) this.#lane.hold(due[i] ?? 0, ageKey(due[i] ?? 0));
    for (let i = 0; i < waiting.length; i += 2)
      this.#lane.waitsOnDisk(waiting[i] ?? 0, ageKey(waiting[i] ?? 0));
  }
}

const OUTCOMES = { deliver: "delivered", fail: "retry", bury: "dead_letter", gone: "gone" } as const;

test("each delivery that is due is handed out once at a time, in order where order is asked for, and none is lost", async () => {
  await fc.assert(
    fc.asyncProperty(settings, steps, (own, list) =>
      withTempDir((dir) => {
        const sending = new Sending(dir, own);
        for (const step of list) sending.step(step);
        sending.finish();
      }),
    ),
    { numRuns: Number(process.env.MODEL_RUNS ?? 40) },
  );
}, 600_000);

test("what an endpoint held is sent, when it was disabled and enabled before the lane heard of either", async () => {
  const none = { ordered: false, rateLimitPerSecond: null, maxInFlight: null };
  await withTempDir((dir) => {
    const sending = new Sending(dir, none);
    sending.step({ do: "ingest", n: 1 });
    sending.step({ do: "seal", n: 1 });
    sending.step({ do: "take", n: 1 });
    sending.step({ do: "fail", n: 1 });
    sending.step({ do: "lag", n: 1 });
    sending.step({ do: "disable", n: 1 });
    sending.step({ do: "enable", n: 1 });
    sending.finish();
  });
});
