// Pages and their cursors, without a server.

import { describe, expect, test } from "bun:test";
import { decodeCursor, encodeCursor } from "../../src/http/cursor.ts";
import { listJson } from "../../src/http/list_json.ts";
import { HttpProblem } from "../../src/http/problem.ts";

const page = (rows: string[], limit: number) =>
  JSON.parse(
    listJson(
      "rows",
      rows,
      limit,
      (text) => ({ text }),
      (text) => `after ${text.slice(0, 5)}`,
    ),
  );

describe("a page", () => {
  test("tells at most the limit, and that there is more", () => {
    expect(page(["a", "b", "c"], 2)).toEqual({
      rows: [{ text: "a" }, { text: "b" }],
      next_cursor: "after b",
      has_more: true,
    });
  });

  test("says that it is the last one", () => {
    const rows = [{ text: "a" }, { text: "b" }];
    expect(page(["a", "b"], 2)).toEqual({ rows, next_cursor: null, has_more: false });
    expect(page([], 2)).toEqual({ rows: [], next_cursor: null, has_more: false });
  });

  test("ends before it passes 8 MiB, and goes on after the last row that it told", () => {
    const rows = Array.from({ length: 9 }, (_, i) =>
      `row-${i}`.padEnd(1024 * 1024 - 40, "é").slice(0, 524_000),
    );
    let seen = 0;
    for (let from = 0; from < rows.length; from = seen) {
      const text = listJson(
        "rows",
        rows.slice(from),
        100,
        (row) => ({ row }),
        (row) => row.slice(0, 5),
      );
      expect(Buffer.byteLength(text)).toBeLessThanOrEqual(8 * 1024 * 1024);
      const told = JSON.parse(text);
      seen += told.rows.length;
      expect(told.next_cursor).toBe(seen === rows.length ? null : `row-${seen - 1}`);
    }
    expect(seen).toBe(9);
  });

  test("reads no more rows than it takes, and one", () => {
    let read = 0;
    function* endless() {
      for (;;) yield String(++read);
    }
    listJson(
      "rows",
      endless(),
      3,
      (text) => ({ text }),
      (text) => text,
    );
    expect(read).toBe(4);
  });

  test("tells one row at least, however large", () => {
    const large = "x".repeat(9 * 1024 * 1024);
    expect(page([large, "b"], 5)).toMatchObject({ rows: [{ text: large }], has_more: true });
  });
});

describe("a cursor", () => {
  test.each([
    [0, 0],
    [7, 0],
    [7, 3],
    [Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
  ])("carries its key of one number or two (%i, %i)", (row, within) => {
    expect(decodeCursor("walk", encodeCursor("walk", row, within))).toEqual({ row, within });
  });

  test("of no walk is none", () => {
    expect(decodeCursor("walk", undefined)).toBeNull();
  });

  test.each([
    ["another walk's", encodeCursor("other", 1)],
    ["no base64", "*"],
    ["empty", ""],
    ["without a number", Buffer.from("1..x").toString("base64url")],
    ["of three numbers", Buffer.from(`1.1.2.3.${Bun.hash("walk").toString(36)}`).toString("base64url")],
    ["of a number too large", encodeCursor("walk", 2 ** 53)],
    ["of a second number too large", encodeCursor("walk", 1, 2 ** 53)],
  ])("that is %s is refused", (_, cursor) => {
    expect(() => decodeCursor("walk", cursor)).toThrow(HttpProblem);
  });
});
