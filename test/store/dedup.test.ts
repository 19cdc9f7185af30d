// Dedup against a map: random claims in groups that are committed or rolled back, seals that are committed, rolled back
// or cut off, restarts, days that pass. Slices are so small that all of it happens within a hundred steps.

import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import fc from "fast-check";
import { IdSource, msOfSeq, tailOfId } from "../../src/base/id.ts";
import { DEDUP_WINDOW_MS, Dedup, type DedupOptions } from "../../src/store/sqlite/dedup.ts";
import type { DedupSizes } from "../../src/store/sqlite/dedup_slices.ts";
import { migrate } from "../../src/store/sqlite/migrate.ts";

/** More runs than a test needs, to look for what is rare: MODEL_RUNS=5000 bun run test test/store/dedup.test.ts */
const RUNS = Number(process.env.MODEL_RUNS ?? 300);
const DEDUP_IDS = 24;

type First = { readonly id: string; readonly seq: number };
type Claim = { readonly org: number; readonly dedup: number };

const claim = fc.record({ org: fc.integer({ min: 1, max: 2 }), dedup: fc.nat(DEDUP_IDS - 1) });

const kinds = {
  group: fc.record({
    claims: fc.array(claim, { maxLength: 6 }),
    deletes: fc.boolean(),
    end: fc.constantFrom("commit", "commit", "commit", "rollback"),
  }),
  seal: fc.constantFrom("commit", "commit", "commit", "rollback", "crash"),
  restart: fc.constant(null),
  readAhead: fc.constant(null),
  passMs: fc.oneof(fc.nat(10_000), fc.nat(DEDUP_WINDOW_MS / 3)),
  look: fc.constant(null),
};
type Kinds = typeof kinds;
type Step = {
  [Kind in keyof Kinds]: {
    readonly kind: Kind;
    readonly with: Kinds[Kind] extends fc.Arbitrary<infer T> ? T : never;
  };
}[keyof Kinds];

const weights: Record<keyof Kinds, number> = {
  group: 12,
  seal: 8,
  restart: 2,
  readAhead: 1,
  passMs: 3,
  look: 3,
};
const anyStep = fc.oneof(
  ...Object.entries(kinds).map(([kind, of]) => ({
    weight: weights[kind as keyof Kinds],
    arbitrary: (of as fc.Arbitrary<unknown>).map((value) => ({ kind, with: value }) as Step),
  })),
);

const anySizes: fc.Arbitrary<DedupSizes> = fc
  .record({
    blockRecords: fc.integer({ min: 1, max: 4 }),
    sliceBlocks: fc.integer({ min: 1, max: 4 }),
    partSlots: fc.integer({ min: 1, max: 4 }),
    partsWritten: fc.integer({ min: 1, max: 4 }),
  })
  .map((sizes) => {
    const records = sizes.blockRecords * sizes.sliceBlocks;
    return { ...sizes, sliceParts: Math.floor(records / sizes.partSlots) + 1 };
  });

/** Of few values, at both ends of the slots. */
const weak = (_: number, org: number, dedupId: string) => {
  const value = Bun.hash.xxHash32(dedupId, org) % 5;
  return (value * 2 ** 18 + 7) * 2 ** 32 + (2 ** 32 - 1 - Math.floor(value / 2) * 2 ** 31);
};

/** A database, Dedup, and the map of what it is to answer. */
class Pair {
  readonly #options: DedupOptions;
  readonly #db = new Database(":memory:", { strict: true });
  readonly #ids = new IdSource(-1);
  readonly #insert;
  #dedup: Dedup;
  #firsts = new Map<string, First>();
  #nowMs = Date.now();
  #lastSeq = 0;
  #sealedSeq = 0;

  constructor(options: DedupOptions) {
    this.#options = options;
    migrate(this.#db);
    this.#insert = this.#db.prepare<void, [number, number, string, string]>(
      "INSERT INTO events (seq, org, tail, type, dedup_id, payload) VALUES (?, ?, ?, 't', ?, '1')",
    );
    this.#dedup = this.#open();
  }

  take(step: Step): void {
    if (step.kind === "group") this.#group(step.with);
    if (step.kind === "seal") this.#seal(step.with);
    if (step.kind === "restart") this.#dedup = this.#open();
    if (step.kind === "readAhead") this.#dedup.readAhead();
    if (step.kind === "passMs") this.#nowMs += step.with;
    if (step.kind === "look") this.look();
  }

  /** Asks for every dedup id, and leaves no trace. */
  look(): void {
    for (const org of [1, 2])
      for (let dedup = 0; dedup < DEDUP_IDS; dedup++)
        this.#group({ claims: [{ org, dedup }], deletes: false, end: "rollback" });
  }

  /** A day later, all but the newest block is deleted. */
  end(): void {
    this.#nowMs += DEDUP_WINDOW_MS + 1;
    for (let more = true; more; ) {
      this.#db.run("BEGIN");
      more = this.#dedup.deleteExpired(this.#nowMs);
      this.#db.run("COMMIT");
      this.#dedup.commit();
    }
    expect(this.#count("dedup")).toBeLessThanOrEqual(1);
    expect(this.#count("dedup_parts")).toBe(0);
    this.look();
  }

  #group({ claims, deletes, end }: { claims: readonly Claim[]; deletes: boolean; end: string }): void {
    const firsts = new Map(this.#firsts);
    let lastSeq = this.#lastSeq;
    this.#db.run("BEGIN");
    if (deletes) this.#dedup.deleteExpired(this.#nowMs);
    for (const { org, dedup } of claims) {
      const { id, seq } = this.#ids.next(this.#nowMs);
      const first = firsts.get(`${org} ${dedup}`);
      const live = first && msOfSeq(first.seq) > this.#nowMs - DEDUP_WINDOW_MS ? first.id : null;
      expect(this.#dedup.claim(org, `dedup-${dedup}`, seq, this.#nowMs)).toBe(live);
      if (live !== null) continue;
      this.#insert.run(seq, org, tailOfId(id), `dedup-${dedup}`);
      firsts.set(`${org} ${dedup}`, { id, seq });
      lastSeq = seq;
    }
    this.#db.run(end === "commit" ? "COMMIT" : "ROLLBACK");
    if (end === "commit") {
      this.#dedup.commit();
      this.#firsts = firsts;
      this.#lastSeq = lastSeq;
    } else this.#dedup.rollback();
  }

  #seal(end: "commit" | "rollback" | "crash"): void {
    this.#db.run("BEGIN");
    this.#dedup.writeTail();
    this.#db.run(end === "rollback" ? "ROLLBACK" : "COMMIT");
    if (end === "rollback") this.#dedup.rollback();
    else this.#sealedSeq = this.#lastSeq;
    if (end === "commit") this.#dedup.tailWritten();
    if (end === "crash") this.#dedup = this.#open();
  }

  #open(): Dedup {
    const dedup = new Dedup(this.#db, 7, this.#options);
    dedup.load(this.#sealedSeq);
    return dedup;
  }

  #count(table: string): number {
    return this.#db.query<{ n: number }, []>(`SELECT count(*) AS n FROM ${table}`).get()?.n ?? 0;
  }
}

test("a dedup id has its first event for 24 hours, whatever was sealed, restarted or deleted", () => {
  fc.assert(
    fc.property(
      fc.array(anyStep, { minLength: 20, maxLength: 150, size: "max" }),
      anySizes,
      fc.constantFrom({}, { hash: weak }),
      (steps, sizes, hash) => {
        const pair = new Pair({ sizes, ...hash });
        for (const step of steps) pair.take(step);
        pair.look();
        pair.end();
      },
    ),
    { numRuns: RUNS },
  );
}, 300_000);

test("full slices are on disk soon, so that a start makes again at most two, however many ids are live", () => {
  const db = new Database(":memory:", { strict: true });
  migrate(db);
  const sizes = { blockRecords: 4, sliceBlocks: 10, partSlots: 10, sliceParts: 6, partsWritten: 1 };
  const dedup = new Dedup(db, 7, { sizes });
  const slots = db.query<{ n: number }, []>("SELECT count(*) AS n FROM dedup_parts");
  for (let n = 1; n <= 1_000; n++) {
    dedup.claim(1, `dedup-${n}`, n, 0);
    dedup.commit();
    if (n % 5 > 0) continue;
    dedup.writeTail();
    dedup.tailWritten();
    const fullSlices = Math.floor(n / 40);
    expect(slots.get()?.n).toBeGreaterThanOrEqual((fullSlices - 1) * sizes.sliceParts);
  }
});
