import { expect, test } from "bun:test";
import fc from "fast-check";
import { decodeOps, encodeOps, type Op } from "../../src/store/sqlite/op.ts";

const text = fc.string({ unit: "binary", maxLength: 40 });
const ingest = fc.record({
  op: fc.constant("ingest" as const),
  seq: fc.maxSafeNat(),
  id: fc.uuid({ version: 7 }),
  org: fc.nat(),
  type: text,
  dedupId: fc.option(text),
  payload: fc.oneof(text, fc.json()),
  appearAtMs: fc.option(fc.nat()),
});
const ack = fc.record({ op: fc.constant("ack" as const), org: fc.nat(), ids: fc.array(text) });

test("ops cross between threads unchanged, whatever is in their texts", () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(ingest, ack), { maxLength: 20 }), (ops) => {
      expect(decodeOps(encodeOps(ops as Op[]))).toEqual(ops as Op[]);
    }),
  );
});
