// What an event may look like. The hot path has a check of its own; here it is held against the schema.

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { isNewEvent, NewEvent } from "../../src/wire/event.ts";

const type = fc.oneof(
  fc.constantFrom("a", "order.created", "a b", "", "é", "a".repeat(255), "a".repeat(256), 'a"', "a\n"),
  fc.anything(),
);
const dedupId = fc.oneof(
  fc.constantFrom("x", "", "😀".repeat(255), "😀".repeat(256), "a".repeat(256), "\0", "\ud800", "\udc00x"),
  fc.anything(),
);
const fields = fc.record(
  { type, payload: fc.jsonValue(), dedup_id: dedupId, deliver_at: fc.string() },
  { requiredKeys: [] },
);
const accepted = fc.record(
  { type: fc.constant("order.created"), payload: fc.jsonValue(), dedup_id: fc.constantFrom("x", "é") },
  { requiredKeys: ["type", "payload"] },
);

describe("an event on its way in", () => {
  test("is accepted by the fast check exactly when the schema accepts it", () => {
    fc.assert(
      fc.property(fc.oneof(fields, accepted, fc.anything()), (value) => {
        // As it comes: out of JSON.parse.
        const parsed: unknown = JSON.parse(JSON.stringify(value) ?? "null");
        expect(isNewEvent(parsed)).toBe(NewEvent.safeParse(parsed).success);
      }),
      { numRuns: 3_000 },
    );
  });

  test.each([
    ["the longest type", { type: "t".repeat(255), payload: 1 }, true],
    ["a type that is too long", { type: "t".repeat(256), payload: 1 }, false],
    ["a type with a space", { type: "a b", payload: 1 }, false],
    ["a type with a line end", { type: "a\n", payload: 1 }, false],
    ["a payload of null", { type: "a", payload: null }, true],
    ["no payload", { type: "a" }, false],
    ["255 emojis as dedup_id", { type: "a", payload: 1, dedup_id: "😀".repeat(255) }, true],
    ["256 emojis as dedup_id", { type: "a", payload: 1, dedup_id: "😀".repeat(256) }, false],
    ["an empty dedup_id", { type: "a", payload: 1, dedup_id: "" }, false],
    ["a dedup_id of null", { type: "a", payload: 1, dedup_id: null }, false],
    ["half a surrogate pair", { type: "a", payload: 1, dedup_id: "a\ud83d" }, false],
    ["U+0000", { type: "a", payload: 1, dedup_id: "a\0" }, false],
    ["an unknown field", { type: "a", payload: 1, priority: 1 }, false],
    ["a list", [{ type: "a", payload: 1 }], false],
  ] as const)("with %s", (_, value, isAccepted) => {
    expect(isNewEvent(value)).toBe(isAccepted);
    expect(NewEvent.safeParse(value).success).toBe(isAccepted);
  });

  test("may not smuggle a field in under the name __proto__", () => {
    expect(isNewEvent(JSON.parse('{"type":"a","payload":1,"__proto__":{"x":1}}'))).toBe(false);
  });
});
