// What concerns many rows goes to the writer in short steps, one after the other: others' events go between them.

import { expect, test } from "bun:test";
import { LongWrites } from "../../src/store/sqlite/long_writes.ts";
import type { RareOp } from "../../src/store/sqlite/op.ts";
import type { Written } from "../../src/store/store.ts";

const keys = (count: number) =>
  Array.from({ length: count }, (_, i) => ({ keyId: `k${i}`, lastUsedAtMs: i }));

test("the use of many keys is noted in steps, each key once, the next when the one before is done", async () => {
  const ops: RareOp[] = [];
  let running = 0;
  const long = new LongWrites(async <T>(op: RareOp): Promise<Written<T>> => {
    expect(++running).toBe(1);
    ops.push(op);
    await new Promise((resolve) => setImmediate(resolve));
    running--;
    return { kind: "done", value: null as T };
  });
  const used = keys(1_001);
  expect(await long.touchKeys(used)).toEqual({ kind: "done", value: null });
  const steps = ops.map((op) => (op.op === "touchKeys" ? op.used : []));
  expect(steps.flat()).toEqual(used);
  expect(Math.max(...steps.map((step) => step.length))).toBeLessThanOrEqual(200);
});

test("the first step that is refused is the last", async () => {
  let asked = 0;
  const refused = { kind: "unavailable", reason: "disk full" } as const;
  const long = new LongWrites(async () => {
    asked++;
    return refused;
  });
  expect(await long.touchKeys(keys(500))).toEqual(refused);
  expect(asked).toBe(1);
});
