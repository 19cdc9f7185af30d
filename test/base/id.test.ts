import { expect, test } from "bun:test";
import fc from "fast-check";
import { firstSeqOfMs, IdSource, idOfSeq, isId, msOfSeq, seqOfId, withVariant } from "../../src/base/id.ts";

const times = fc.integer({ min: Date.UTC(2024, 0, 1), max: Date.UTC(2090, 0, 1) });

test("an id carries its key, and the key its time", () => {
  fc.assert(
    fc.property(times, (ms) => {
      const { seq, id } = new IdSource(-1).next(ms);
      expect(isId(id)).toBe(true);
      expect(seqOfId(id)).toBe(seq);
      expect(msOfSeq(seq)).toBe(ms);
      expect(Number.isSafeInteger(seq)).toBe(true);
    }),
  );
});

test("ids rise strictly, also when the clock goes back or stands still", () => {
  fc.assert(
    fc.property(fc.array(times, { minLength: 2, maxLength: 50 }), (clock) => {
      const source = new IdSource(-1);
      const ids = clock.map((ms) => source.next(ms));
      for (let i = 1; i < ids.length; i++) {
        expect(ids[i]?.seq).toBeGreaterThan(ids[i - 1]?.seq ?? 0);
        expect((ids[i]?.id ?? "") > (ids[i - 1]?.id ?? "")).toBe(true);
      }
    }),
  );
});

test("after a restart ids go on above the last stored one", () => {
  const ms = Date.UTC(2026, 0, 1);
  const last = new IdSource(-1).next(ms + 60_000);
  expect(new IdSource(last.seq).next(ms).seq).toBe(last.seq + 1);
});

test("ids of one second are all different", () => {
  const source = new IdSource(-1);
  const ids = new Set<string>();
  for (let i = 0; i < 200_000; i++) ids.add(source.next(Date.UTC(2026, 0, 1) + (i % 1000)).id);
  expect(ids.size).toBe(200_000);
});

test("what is no lower-case UUIDv7 has no key", () => {
  for (const text of [
    "",
    "not-an-id",
    "01A1FB8E-1E2A-790F-B9B2-883286ADC699",
    "01a1fb8e-1e2a-490f-b9b2-883286adc699",
    "01a1fb8e-1e2a-790f-79b2-883286adc699",
    "01a1fb8e-1e2a-790f-b9b2-883286adc6990",
    "00000000-0000-7000-8000-000000000000",
  ]) {
    expect(seqOfId(text)).toBeNull();
  }
});

test("the first key of a millisecond is the bound between it and the one before", () => {
  const ms = Date.UTC(2026, 5, 1);
  expect(msOfSeq(firstSeqOfMs(ms))).toBe(ms);
  expect(msOfSeq(firstSeqOfMs(ms) - 1)).toBe(ms - 1);
  expect(isId(idOfSeq(firstSeqOfMs(ms), withVariant("0123456789abcdef")))).toBe(true);
});
