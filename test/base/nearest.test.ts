// Distances between names: the classic examples, and the laws of a distance.

import { expect, test } from "bun:test";
import fc from "fast-check";
import { editDistance, misspelt, nearest } from "../../src/base/nearest.ts";

test.each([
  ["", "", 0],
  ["abc", "abc", 0],
  ["", "abc", 3],
  ["kitten", "sitting", 3],
  ["ADMIN_TOKN", "ADMIN_TOKEN", 1],
  ["ADMIN_TOEKN", "ADMIN_TOKEN", 1],
  ["RETRY_SHEDULE", "RETRY_SCHEDULE", 1],
  ["ca", "abc", 3],
])("from %p to %p it is %p edits", (a, b, edits) => {
  expect(editDistance(a, b)).toBe(edits);
});

test("a distance is the same both ways, nought for equal texts alone, and at most the longer length", () => {
  const word = fc.string({ unit: fc.constantFrom("a", "b", "c"), maxLength: 8 });
  fc.assert(
    fc.property(word, word, (a, b) => {
      const distance = editDistance(a, b);
      expect(distance).toBe(editDistance(b, a));
      expect(distance === 0).toBe(a === b);
      expect(distance).toBeLessThanOrEqual(Math.max(a.length, b.length));
    }),
  );
});

test("one edit is a distance of one, wherever it falls", () => {
  const word = fc.string({ unit: fc.constantFrom("a", "b", "c"), minLength: 1, maxLength: 12 });
  fc.assert(
    fc.property(word, fc.nat(), (text, at) => {
      const cut = at % text.length;
      expect(editDistance(text, text.slice(0, cut) + text.slice(cut + 1))).toBe(1);
      expect(editDistance(text, `${text.slice(0, cut)}x${text.slice(cut)}`)).toBe(1);
      expect(editDistance(text, `${text.slice(0, cut)}x${text.slice(cut + 1)}`)).toBe(1);
    }),
  );
});

test("the nearest name is the closest one, and none beyond the limit", () => {
  expect(nearest("prot", ["host", "port"], 2)).toBe("port");
  expect(nearest("xyz", ["host", "port"], 2)).toBeNull();
  expect(nearest("port", [], 2)).toBeNull();
});

test("a name that is known is not misspelt, and a short one never is", () => {
  const known = ["PORT", "DATA_DIR", "LOG_LEVEL"];
  expect(misspelt(["PORT", "PROT", "DATA_DIR", "LOG_LEVEL", "META_DIR"], known)).toEqual([]);
  expect(misspelt(["DATADIR", "LOGLVEL", "data_dir"], known)).toEqual([
    { name: "DATADIR", meant: "DATA_DIR" },
    { name: "LOGLVEL", meant: "LOG_LEVEL" },
    { name: "data_dir", meant: "DATA_DIR" },
  ]);
});
