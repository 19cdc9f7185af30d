import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import fc from "fast-check";
import { firstSeqOfMs, msOfSeq, SEQS_PER_MS } from "../../src/base/id.ts";
import { ageKey, dueMs, dueMsSql } from "../../src/store/sqlite/due.ts";

/** Keys of events accepted from 2024 until 2090. */
const seqs = fc.integer({ min: 0, max: firstSeqOfMs(Date.UTC(2090, 0)) });
const times = fc.integer({ min: 1, max: Date.UTC(2090, 0) });

/** Events that may be of the same millisecond, or of neighbouring ones. */
const neighbours = fc.record({ seq: seqs, by: fc.integer({ min: 1, max: 3 * SEQS_PER_MS }) });

test("deliveries that are due by their age stand in the order of their events", () => {
  fc.assert(
    fc.property(neighbours, ({ seq, by }) => {
      const [older, newer] = [ageKey(seq), ageKey(seq + by)];
      expect(older).toBeLessThanOrEqual(newer);
      expect(older < newer).toBe(msOfSeq(seq) < msOfSeq(seq + by));
    }),
  );
});

test("they stand before everything that has a time, and are due at any time", () => {
  fc.assert(
    fc.property(seqs, times, (seq, timeMs) => {
      expect(ageKey(seq)).toBeLessThan(0);
      expect(ageKey(seq)).toBeLessThan(timeMs);
      expect(Number.isSafeInteger(ageKey(seq))).toBe(true);
    }),
  );
});

test("they wait since their event was accepted, the others until their time", () => {
  fc.assert(
    fc.property(seqs, times, (seq, timeMs) => {
      expect(dueMs(ageKey(seq))).toBe(msOfSeq(seq));
      expect(dueMs(timeMs)).toBe(timeMs);
    }),
  );
});

test("SQL and TypeScript say the same of every delivery", () => {
  const db = new Database(":memory:", { strict: true });
  const read = db.prepare<{ aged: number; timed: number; none: null }, [number, number]>(
    `SELECT ${dueMsSql("?1")} AS aged, ${dueMsSql("?2")} AS timed, ${dueMsSql("NULL")} AS none`,
  );
  fc.assert(
    fc.property(seqs, times, (seq, timeMs) => {
      const expected = { aged: msOfSeq(seq), timed: timeMs, none: null };
      expect(read.get(ageKey(seq), timeMs)).toEqual(expected);
    }),
  );
  db.close();
});
