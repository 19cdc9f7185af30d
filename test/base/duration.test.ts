// Durations: what is written is what is read, and nothing else is read.

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { formatDuration, formatDurations, parseDuration, parseDurations } from "../../src/base/duration.ts";

const anyMs = fc.oneof(
  fc.maxSafeNat(),
  fc.nat({ max: 100_000 }).map((n) => n * 1_000),
  fc.nat({ max: 100 }).map((n) => n * 3_600_000),
);

describe("a duration", () => {
  test.each([
    ["150ms", 150],
    ["5s", 5_000],
    ["1m", 60_000],
    ["2h", 7_200_000],
    ["0s", 0],
    ["007s", 7_000],
    [" 5s ", 5_000],
  ])("%p is read as %p ms", (text, ms) => {
    expect(parseDuration(text)).toEqual({ ok: true, value: ms });
  });

  test.each([
    ["", "missing"],
    ["  ", "missing"],
    ["5", "no unit"],
    ["1.5s", "whole number"],
    ["-5s", "whole number"],
    ["5 s", "whole number"],
    ["1m30s", "whole number"],
    ["5S", "whole number"],
    ["1d", "whole number"],
    ["s", "whole number"],
    ["٥s", "whole number"],
    ["1e3ms", "whole number"],
    ["9007199254740992ms", "too long"],
    ["9999999999999999h", "too long"],
  ])("%p is refused: %s", (text, why) => {
    const read = parseDuration(text);
    expect(read).toMatchObject({ ok: false, detail: expect.stringContaining(why) });
  });

  test("that was written is read as the same number of milliseconds", () => {
    fc.assert(
      fc.property(anyMs, (ms) => expect(parseDuration(formatDuration(ms))).toEqual({ ok: true, value: ms })),
    );
  });

  test("is written in its largest whole unit, so never longer than in milliseconds", () => {
    fc.assert(fc.property(anyMs, (ms) => formatDuration(ms).length <= `${ms}ms`.length));
    expect([0, 999, 1_000, 90_000, 60_000, 3_600_000, 86_400_000].map(formatDuration)).toEqual([
      "0s",
      "999ms",
      "1s",
      "90s",
      "1m",
      "1h",
      "24h",
    ]);
  });

  test("that is no whole number of milliseconds is not written at all", () => {
    for (const ms of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53])
      expect(() => formatDuration(ms)).toThrow(RangeError);
  });

  test("never comes out of a text as anything but a safe whole number", () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(..."0159.-+ esmhdMS,") }), (text) => {
        const read = parseDuration(text);
        return read.ok ? Number.isSafeInteger(read.value) && read.value >= 0 : read.detail.length > 0;
      }),
    );
  });
});

describe("a list of durations", () => {
  test("that was written is read as the same list", () => {
    fc.assert(
      fc.property(fc.array(anyMs, { minLength: 1 }), (listMs) =>
        expect(parseDurations(formatDurations(listMs))).toEqual({ ok: true, value: listMs }),
      ),
    );
  });

  test.each(["", ",", "5s,", ",5s", "5s,,6s", "5s;6s", "5s 6s", "5s,6"])("%p is refused", (text) => {
    expect(parseDurations(text).ok).toBe(false);
  });

  test("says which entry is wrong", () => {
    expect(parseDurations("5s, 1m, 5x")).toMatchObject({ detail: expect.stringContaining('"5x"') });
  });
});
