import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { retryAfterMs, retryDelayMs } from "../../src/webhook/backoff.ts";

const DAY_MS = 86_400_000;
const NOW_MS = Date.UTC(1994, 10, 6, 8, 49, 37);
const randoms = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
const schedules = fc.array(fc.integer({ min: 1, max: 7 * DAY_MS }), { minLength: 1, maxLength: 20 });

describe("the delay before a retry", () => {
  test("stays within 20 % of the schedule's, whatever the dice say", () => {
    fc.assert(
      fc.property(schedules, fc.nat(), randoms, (schedule, pick, random) => {
        const attemptsMade = 1 + (pick % schedule.length);
        const scheduledMs = schedule[attemptsMade - 1] ?? Number.NaN;
        const delayMs = retryDelayMs(schedule, attemptsMade, random) ?? Number.NaN;
        expect(Number.isInteger(delayMs)).toBe(true);
        expect(delayMs).toBeGreaterThanOrEqual(Math.floor(scheduledMs * 0.8));
        expect(delayMs).toBeLessThanOrEqual(Math.ceil(scheduledMs * 1.2));
      }),
    );
  });

  test.each([
    [1, 0, 4000],
    [1, 0.5, 5000],
    [1, 0.999999, 6000],
    [2, 0, 48_000],
    [2, 0.75, 66_000],
  ])(
    "after attempt %d with dice at %d is %d ms on the schedule 5s,1m",
    (attemptsMade, random, expectedMs) => {
      expect(retryDelayMs([5000, 60_000], attemptsMade, random)).toBe(expectedMs);
    },
  );

  test("is none once the schedule is used up", () => {
    fc.assert(
      fc.property(schedules, fc.integer({ min: 1, max: 1000 }), randoms, (schedule, beyond, random) => {
        expect(retryDelayMs(schedule, schedule.length + beyond, random)).toBeNull();
      }),
    );
    expect(retryDelayMs([], 1, 0.5)).toBeNull();
  });

  test("is nothing for what was never tried", () => {
    expect(retryDelayMs([5000], 0, 0.5)).toBe(0);
  });
});

describe("Retry-After", () => {
  test.each([
    ["0", 0],
    ["1", 1000],
    ["120", 120_000],
    [" 7 ", 7000],
    ["007", 7000],
    ["86400", DAY_MS],
    ["86401", DAY_MS],
    ["99999999999999999999999", DAY_MS],
    ["Sun, 06 Nov 1994 08:49:37 GMT", 0],
    ["Sun, 06 Nov 1994 08:50:07 GMT", 30_000],
    ["Sunday, 06-Nov-94 08:50:07 GMT", 30_000],
    ["Sun Nov  6 08:50:07 1994", 30_000],
    ["Sun, 06 Nov 1994 08:00:00 GMT", 0],
    ["Fri, 31 Dec 9999 23:59:59 GMT", DAY_MS],
    ["Monday, 06-Nov-95 08:49:37 GMT", DAY_MS],
    ["Saturday, 06-Nov-60 08:49:37 GMT", 0],
  ])("%j asks to wait %d ms", (header, expectedMs) => {
    expect(retryAfterMs(header, NOW_MS)).toBe(expectedMs);
  });

  test.each([
    [null],
    [""],
    [" "],
    ["-1"],
    ["+5"],
    ["1.5"],
    ["1e3"],
    ["0x10"],
    ["5s"],
    ["5, 10"],
    ["soon"],
    ["next 5"],
    ["NaN"],
    ["Infinity"],
    ["1994-11-06T08:50:07Z"],
    ["Sun, 06 Nov 1994 08:50:07"],
    ["Sun, 06 Nov 1994 08:50:07 +0100"],
    ["Sun, 06 Foo 1994 08:50:07 GMT"],
    ["Thu, 31 Feb 1994 08:50:07 GMT"],
    ["Sun, 00 Nov 1994 08:50:07 GMT"],
    ["Sun, 06 Nov 1994 25:50:07 GMT"],
  ])("%j is ignored", (header) => {
    expect(retryAfterMs(header, NOW_MS)).toBeNull();
  });

  test("reads a year of two digits as the one that is at most 50 years ahead", () => {
    const nowMs = Date.UTC(2026, 0, 1);
    expect(retryAfterMs("Sunday, 06-Nov-94 08:49:37 GMT", nowMs)).toBe(0);
    expect(retryAfterMs("Thursday, 01-Jan-26 00:00:09 GMT", nowMs)).toBe(9000);
    expect(retryAfterMs("Friday, 06-Nov-76 08:49:37 GMT", nowMs)).toBe(DAY_MS);
  });

  test("is never negative, more than a day, or an exception, whatever a receiver writes", () => {
    const texts = fc.oneof(
      fc.string(),
      fc.stringMatching(/^[0-9A-Za-z ,:+-]{0,40}$/),
      fc.date({ noInvalidDate: true }).map((date) => date.toUTCString()),
    );
    fc.assert(
      fc.property(texts, fc.integer({ min: 0, max: 4e12 }), (header, nowMs) => {
        const waitMs = retryAfterMs(header, nowMs) ?? 0;
        expect(waitMs).toBeGreaterThanOrEqual(0);
        expect(waitMs).toBeLessThanOrEqual(DAY_MS);
      }),
    );
  });

  test("understands every date that a server of today writes", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 86_400 }),
        fc.integer({ min: 1_600_000_000, max: 4_000_000_000 }),
        (seconds, now) => {
          const header = new Date((now + seconds) * 1000).toUTCString();
          expect(retryAfterMs(header, now * 1000)).toBe(seconds * 1000);
        },
      ),
    );
  });
});
