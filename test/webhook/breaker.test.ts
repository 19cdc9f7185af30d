import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  afterFailure,
  BREAKER_FAILURES,
  DISABLE_AFTER_MS,
  HEALTHY,
  type Health,
  isBreakerOpen,
  isHopeless,
} from "../../src/webhook/breaker.ts";

const START_MS = 1_700_000_000_000;
const randoms = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
/** Failures in the order of time: how long after the one before, and what the endpoint asked for. */
const failures = (asked: fc.Arbitrary<number>) =>
  fc.array(fc.record({ afterMs: fc.nat(200_000), askedMs: asked, random: randoms }), { maxLength: 40 });
const NO_PAUSE = fc.constant(0);

type Failure = { afterMs: number; askedMs: number; random: number };

/** The health after each of them, and when it was. */
function course(
  list: readonly Failure[],
): { nowMs: number; before: Health; after: Health; failure: Failure }[] {
  let [nowMs, before] = [START_MS, HEALTHY];
  return list.map((failure) => {
    nowMs += failure.afterMs;
    const after = afterFailure(before, nowMs, failure.askedMs, failure.random);
    const step = { nowMs, before, after, failure };
    before = after;
    return step;
  });
}

/** Ten failures in a row, the last of them at `nowMs`, with nothing asked for. */
function opened(sinceMs: number, nowMs: number, random: number): Health {
  const nine: Health = { failures: BREAKER_FAILURES - 1, failingSinceMs: sinceMs, pausedUntilMs: null };
  return afterFailure(nine, nowMs, 0, random);
}

describe("the breaker", () => {
  test("opens at the tenth failure in a row, and pauses nothing before", () => {
    fc.assert(
      fc.property(failures(NO_PAUSE), (list) => {
        course(list).forEach(({ after }, i) => {
          expect(after.failures).toBe(i + 1);
          expect(isBreakerOpen(after)).toBe(i + 1 >= 10);
          expect(after.pausedUntilMs === null).toBe(i + 1 < 10);
        });
      }),
    );
  });

  test("is closed again by one success, which forgets everything", () => {
    expect(HEALTHY).toEqual({ failures: 0, failingSinceMs: null, pausedUntilMs: null });
    expect(isBreakerOpen(HEALTHY)).toBe(false);
    expect(afterFailure(HEALTHY, START_MS, 0, 0)).toEqual({
      ...{ failures: 1, failingSinceMs: START_MS, pausedUntilMs: null },
    });
  });

  test("remembers since when it has been failing", () => {
    fc.assert(
      fc.property(failures(NO_PAUSE), (list) => {
        const steps = course(list);
        for (const { after } of steps) expect(after.failingSinceMs).toBe(steps[0]?.nowMs ?? null);
      }),
    );
  });
});

describe("the next probe", () => {
  test("comes after a tenth of the time that it has been failing, from 1 s to 60 s, ±20 %", () => {
    fc.assert(
      fc.property(fc.nat(10 * 24 * 3_600_000), randoms, (failingMs, random) => {
        const nowMs = START_MS + failingMs;
        const pauseMs = (opened(START_MS, nowMs, random).pausedUntilMs ?? 0) - nowMs;
        const middleMs = Math.min(Math.max(failingMs / 10, 1_000), 60_000);
        expect(Number.isInteger(pauseMs)).toBe(true);
        expect(pauseMs).toBeGreaterThanOrEqual(Math.floor(middleMs * 0.8));
        expect(pauseMs).toBeLessThanOrEqual(Math.ceil(middleMs * 1.2));
      }),
    );
  });

  test.each([
    [0, 0, 800],
    [0, 0.5, 1_000],
    [100_000, 0.5, 10_000],
    [600_000, 0, 48_000],
    [24 * 3_600_000, 0.5, 60_000],
  ])(
    "of an endpoint that has been failing for %d ms, with dice at %d, is after %d ms",
    (failingMs, random, pauseMs) => {
      const nowMs = START_MS + failingMs;
      expect(opened(START_MS, nowMs, random).pausedUntilMs).toBe(nowMs + pauseMs);
    },
  );

  test("is not put off by failures of attempts that were in flight when the breaker opened", () => {
    fc.assert(
      fc.property(
        randoms,
        fc.array(fc.record({ shareOfPause: fc.nat(999), random: randoms })),
        (random, late) => {
          const nowMs = START_MS + 300_000;
          let health = opened(START_MS, nowMs, random);
          const { pausedUntilMs } = health;
          const pauseMs = (pausedUntilMs ?? 0) - nowMs;
          for (const { shareOfPause, random: dice } of late) {
            health = afterFailure(health, nowMs + (pauseMs * shareOfPause) / 1000, 0, dice);
            expect(health.pausedUntilMs).toBe(pausedUntilMs);
          }
          expect(health.failures).toBe(BREAKER_FAILURES + late.length);
        },
      ),
    );
  });

  test("is put off when a probe failed", () => {
    fc.assert(
      fc.property(randoms, randoms, (first, second) => {
        const health = opened(START_MS, START_MS + 300_000, first);
        const probeMs = health.pausedUntilMs ?? 0;
        expect(afterFailure(health, probeMs, 0, second).pausedUntilMs).toBeGreaterThan(probeMs);
      }),
    );
  });
});

describe("a pause that the endpoint asked for", () => {
  const asked = fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 24 * 3_600_000 }));

  test("is kept, open or closed, and never made shorter by a later failure", () => {
    fc.assert(
      fc.property(failures(asked), (list) => {
        for (const { nowMs, before, after, failure } of course(list)) {
          const until = after.pausedUntilMs ?? 0;
          if (failure.askedMs > 0) expect(until).toBeGreaterThanOrEqual(nowMs + failure.askedMs);
          if ((before.pausedUntilMs ?? 0) > nowMs)
            expect(until).toBeGreaterThanOrEqual(before.pausedUntilMs ?? 0);
        }
      }),
    );
  });

  test("ends: one that lies in the past is forgotten by the next failure", () => {
    const paused: Health = { failures: 1, failingSinceMs: START_MS, pausedUntilMs: START_MS + 1_000 };
    expect(afterFailure(paused, START_MS + 1_000, 0, 0.5).pausedUntilMs).toBeNull();
    expect(afterFailure(paused, START_MS + 999, 0, 0.5).pausedUntilMs).toBe(START_MS + 1_000);
  });
});

describe("an endpoint is hopeless", () => {
  const broken = (failures: number): Health => ({ failures, failingSinceMs: START_MS, pausedUntilMs: null });

  test("after five days without a success, and not a millisecond before", () => {
    expect(DISABLE_AFTER_MS).toBe(5 * 86_400_000);
    expect(isHopeless(broken(BREAKER_FAILURES), START_MS + DISABLE_AFTER_MS)).toBe(true);
    expect(isHopeless(broken(BREAKER_FAILURES), START_MS + DISABLE_AFTER_MS - 1)).toBe(false);
  });

  test("only with an open breaker: one failure before a quiet week is no proof", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1000 }), fc.nat(100 * 86_400_000), (count, failingMs) => {
        const expected = count >= 10 && failingMs >= DISABLE_AFTER_MS;
        expect(isHopeless(broken(count), START_MS + failingMs)).toBe(expected);
      }),
    );
    expect(isHopeless(HEALTHY, START_MS)).toBe(false);
  });
});
