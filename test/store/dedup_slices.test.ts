import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import fc from "fast-check";
import { DedupSlices } from "../../src/store/sqlite/dedup_slices.ts";
import { migrate } from "../../src/store/sqlite/migrate.ts";

const SMALL = { blockRecords: 50, sliceBlocks: 5, partSlots: 20, sliceParts: 17, partsWritten: 3 };
const PARTS_OF_TWO = 2 * SMALL.sliceParts;

function database(): Database {
  const db = new Database(":memory:", { strict: true });
  migrate(db);
  return db;
}

/** The hashes as they stand in a block. */
const inBlock = (hashes: readonly number[]) =>
  Int32Array.from(hashes.flatMap((hash) => [hash | 0, Math.floor(hash / 2 ** 32)]));

const hashOf = (n: number) =>
  (Bun.hash.xxHash32(`${n}`, 1) % 2 ** 21) * 2 ** 32 + Bun.hash.xxHash32(`${n}`, 2);
const blockOf = (n: number) => Math.floor(n / SMALL.blockRecords);

function fill(slices: DedupSlices, from: number, to: number): void {
  for (let n = from; n < to; n += SMALL.blockRecords) {
    const hashes = Array.from({ length: Math.min(SMALL.blockRecords, to - n) }, (_, i) => hashOf(n + i));
    slices.add(blockOf(n), inBlock(hashes));
  }
}

/** Of `count` hashes from `from` on, those whose block the slices do not name. */
function missing(slices: DedupSlices, from: number, to: number): number[] {
  const all = Array.from({ length: to - from }, (_, i) => from + i);
  return all.filter((n) => !slices.find(hashOf(n)).includes(blockOf(n)));
}

const parts = (db: Database) =>
  db.query<{ n: number }, []>("SELECT count(*) AS n FROM dedup_parts").get()?.n ?? 0;

test("the slices name every block that holds a hash, however alike the hashes are", () => {
  const db = database();
  const any = fc.oneof(
    fc.integer({ min: 0, max: 2 ** 53 - 1 }),
    fc.integer({ min: 2 ** 53 - 20, max: 2 ** 53 - 1 }),
    fc.integer({ min: 0, max: 3 }),
  );
  fc.assert(
    fc.property(
      fc.array(any, { minLength: 1, maxLength: 300 }),
      fc.integer({ min: 1, max: 50 }),
      (all, each) => {
        const slices = new DedupSlices(db, SMALL);
        const blocks = all.flatMap((_, i) => (i % each === 0 ? [all.slice(i, i + each)] : []));
        blocks.forEach((hashes, block) => {
          slices.add(block, inBlock(hashes));
        });
        blocks.forEach((hashes, block) => {
          for (const hash of hashes) expect(slices.find(hash)).toContain(block);
        });
      },
    ),
  );
});

test("a hash that was never added is almost never found, over many slices", () => {
  const slices = new DedupSlices(database(), SMALL);
  fill(slices, 0, 30_000);
  expect(missing(slices, 0, 30_000)).toEqual([]);
  const others = Array.from({ length: 20_000 }, (_, i) => hashOf(1_000_000 + i));
  // 120 slices, 9 slots looked at in each, 2 ** 16 fingerprints: one in 60.
  expect(others.filter((hash) => slices.find(hash).length > 0).length).toBeLessThan(800);
});

test("full slices are written part by part, and read back when they are touched", () => {
  const db = database();
  const before = new DedupSlices(db, SMALL);
  fill(before, 0, 740); // two full slices and most of a third
  for (let step = 1; step <= 20; step++) {
    before.write();
    before.written();
    expect(parts(db)).toBeLessThanOrEqual(step * SMALL.partsWritten);
  }
  expect(parts(db)).toBe(PARTS_OF_TWO);
  const after = new DedupSlices(db, SMALL);
  expect(after.load(0)).toBe(2 * SMALL.sliceBlocks);
  fill(after, 500, 740);
  expect(missing(after, 0, 740)).toEqual([]);
  const ahead = new DedupSlices(db, SMALL);
  ahead.load(0);
  while (ahead.readAhead());
  db.run("DELETE FROM dedup_parts");
  expect(missing(ahead, 0, 500)).toEqual([]);
});

test("a slice that was not written as a whole is to be made again, and is written anew", () => {
  const db = database();
  const before = new DedupSlices(db, SMALL);
  fill(before, 0, 600);
  before.write();
  before.written();
  expect(parts(db)).toBe(SMALL.partsWritten);
  const after = new DedupSlices(db, SMALL);
  expect(after.load(0)).toBe(0);
  fill(after, 0, 600);
  expect(missing(after, 0, 600)).toEqual([]);
  for (let step = 0; step < 20; step++) {
    after.write();
    after.written();
  }
  expect(parts(db)).toBe(PARTS_OF_TWO);
});

test("expired slices are forgotten, and their parts deleted in small steps", () => {
  const db = database();
  const slices = new DedupSlices(db, SMALL);
  fill(slices, 0, 600);
  for (let step = 0; step < 20; step++) {
    slices.write();
    slices.written();
  }
  expect(slices.deleteBefore(9)).toBe(true); // not forgotten yet
  expect(parts(db)).toBe(PARTS_OF_TWO);
  slices.forgetBefore(9);
  expect(slices.find(hashOf(0))).toEqual([]);
  expect(missing(slices, 250, 600)).toEqual([]);
  for (let left = PARTS_OF_TWO; slices.deleteBefore(9); left = parts(db))
    expect(left - parts(db)).toBeLessThan(17);
  expect(parts(db)).toBe(SMALL.sliceParts);
});
