// The rate limiter on a virtual clock, against a model that keeps every request of the last minute in a list.

import { expect, test } from "bun:test";
import fc from "fast-check";
import { addressGroup, createAddressLimiter, Limiter } from "../../src/http/limit.ts";

const MINUTE_MS = 60_000;

/** The definition: each half-open window (t - 60 s, t] holds at most `limit`. */
function exactModel() {
  let sent: { atMs: number; n: number }[] = [];
  return (limit: number, n: number, nowMs: number) => {
    sent = sent.filter(({ atMs }) => atMs > nowMs - MINUTE_MS);
    const used = sent.reduce((sum, request) => sum + request.n, 0);
    const allowed = used + n <= limit;
    if (allowed && n > 0) sent.push({ atMs: nowMs, n });
    const lastMs = sent.at(-1)?.atMs ?? nowMs - MINUTE_MS;
    return {
      allowed,
      remaining: Math.max(0, limit - used - (allowed ? n : 0)),
      resetSeconds: Math.ceil((lastMs + MINUTE_MS - nowMs) / 1_000),
    };
  };
}

const step = fc.record({
  afterMs: fc.oneof(fc.nat(50), fc.nat(5_000), fc.constantFrom(0, 1, 59_999, 60_000, 60_001)),
  n: fc.oneof(fc.constant(1), fc.nat(12)),
});

test("up to 1 024 a minute every answer is that of the definition, also while the limit changes", () => {
  const changingStep = fc.record({ step, limit: fc.constantFrom(1, 5, 10, 40, 1_024) });
  fc.assert(
    fc.property(fc.array(changingStep, { maxLength: 200 }), fc.nat(1_000_000), (steps, startMs) => {
      const limiter = new Limiter();
      const model = exactModel();
      let nowMs = startMs;
      for (const { step, limit } of steps) {
        nowMs += step.afterMs;
        expect(limiter.take("a", limit, step.n, nowMs)).toMatchObject(model(limit, step.n, nowMs));
      }
    }),
    { numRuns: 500 },
  );
});

test("above 1 024 a minute nothing is refused that the definition allows, nor allowed 60 ms too early", () => {
  const bigStep = fc.record({ afterMs: step.map(({ afterMs }) => afterMs), n: fc.nat(900) });
  fc.assert(
    fc.property(
      fc.array(bigStep, { maxLength: 200 }),
      fc.double({ min: 0, max: 1e6, noNaN: true }),
      (steps, startMs) => {
        const limiter = new Limiter();
        const sent: { atMs: number; n: number }[] = [];
        let nowMs = startMs;
        for (const { afterMs, n } of steps) {
          nowMs += afterMs;
          const usedSince = (ms: number) => sent.reduce((sum, s) => (s.atMs > ms ? sum + s.n : sum), 0);
          const { allowed } = limiter.take("a", 2_000, n, nowMs);
          if (usedSince(nowMs - MINUTE_MS - 0.001) + n <= 2_000) expect(allowed).toBe(true);
          if (usedSince(nowMs - MINUTE_MS + 60) + n > 2_000) expect(allowed).toBe(false);
          if (allowed) sent.push({ atMs: nowMs, n });
        }
      },
    ),
    { numRuns: 300 },
  );
});

test("a refused request fits after exactly the seconds it was told, and not a second earlier", () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 60 }), fc.constantFrom(12, 30), (steps, limit) => {
      const [waits, hurries] = [new Limiter(), new Limiter()];
      let nowMs = 0;
      for (const { afterMs, n } of steps) {
        nowMs += afterMs;
        hurries.take("a", limit, n, nowMs);
        const first = waits.take("a", limit, n, nowMs);
        if (first.allowed) continue;
        expect(first.retryAfterSeconds).toBeWithin(1, 61);
        const waitMs = first.retryAfterSeconds * 1_000;
        if (waitMs > 1_000) expect(hurries.take("a", limit, n, nowMs + waitMs - 1_000).allowed).toBe(false);
        expect(waits.take("a", limit, n, nowMs + waitMs).allowed).toBe(true);
        return;
      }
    }),
    { numRuns: 300 },
  );
});

for (const limit of [7, 100, 700, 1_000, 1_024, 10_000, 100_000]) {
  test(`a client that sends evenly at ${limit} a minute is never refused in ten minutes, twice the rate is`, () => {
    const limiter = new Limiter();
    let refused = 0;
    for (let i = 0; i < limit * 10; i++) {
      if (!limiter.take("steady", limit, 1, 1_234.567 + (i * MINUTE_MS) / limit).allowed) refused++;
    }
    // Adding up the interval comes out a few billionths of a millisecond short of the minute at 7.
    for (let i = 0, nowMs = 0; i < limit * 10; i++, nowMs += MINUTE_MS / limit) {
      if (!limiter.take("adding", limit, 1, nowMs).allowed) refused++;
    }
    let refusedOfTwice = 0;
    for (let i = 0; i < limit * 20; i++) {
      if (!limiter.take("twice", limit, 1, (i * MINUTE_MS) / limit / 2).allowed) refusedOfTwice++;
    }
    expect(refused).toBe(0);
    expect(refusedOfTwice / (limit * 10)).toBeWithin(0.98, 1.001);
  });

  test(`a client that sends ${limit} at once every minute is never refused, one event more is`, () => {
    const limiter = new Limiter();
    for (let minute = 0; minute < 10; minute++) {
      const nowMs = 59.9 + minute * MINUTE_MS;
      for (let i = 0; i < limit; i++) expect(limiter.take("a", limit, 1, nowMs).allowed).toBe(true);
      expect(limiter.take("a", limit, 1, nowMs).allowed).toBe(false);
      expect(limiter.take("a", limit, 1, nowMs + 59_900).allowed).toBe(false);
    }
  });
}

test("a batch of n counts n, is taken whole or not at all, and a refused one counts nothing", () => {
  const limiter = new Limiter();
  expect(limiter.take("a", 100, 60, 0)).toMatchObject({ allowed: true, remaining: 40, retryAfterSeconds: 0 });
  expect(limiter.take("a", 100, 41, 10_000)).toMatchObject({
    allowed: false,
    limit: 100,
    remaining: 40,
    retryAfterSeconds: 50,
    neverFits: false,
  });
  expect(limiter.take("a", 100, 40, 10_000)).toMatchObject({ allowed: true, remaining: 0, resetSeconds: 60 });
});

test("a batch larger than a minute's limit is told that it never fits, and counts nothing", () => {
  const limiter = new Limiter();
  expect(limiter.take("a", 100, 101, 0)).toEqual({
    allowed: false,
    limit: 100,
    remaining: 100,
    resetSeconds: 0,
    retryAfterSeconds: 60,
    neverFits: true,
  });
  expect(limiter.take("a", 100, 100, 0).allowed).toBe(true);
  expect(limiter.take("a", 0, 1, 0)).toMatchObject({ allowed: false, remaining: 0, neverFits: true });
});

test("asking how much is left takes nothing", () => {
  const limiter = new Limiter();
  expect(limiter.take("a", 10, 0, 0)).toMatchObject({ allowed: true, remaining: 10, resetSeconds: 0 });
  limiter.take("a", 10, 10, 0);
  expect(limiter.take("a", 10, 0, 1_000)).toMatchObject({ allowed: true, remaining: 0, resetSeconds: 59 });
  expect(limiter.size).toBe(1);
});

test("one organization's traffic takes nothing from another", () => {
  const limiter = new Limiter<number>();
  expect(limiter.take(1, 10, 10, 0).remaining).toBe(0);
  expect(limiter.take(2, 10, 1, 0).remaining).toBe(9);
});

test("a higher limit counts for the next request, a lower one too, with what was sent before", () => {
  const limiter = new Limiter();
  limiter.take("a", 100, 100, 0);
  expect(limiter.take("a", 1_000, 900, 1_000)).toMatchObject({ allowed: true, remaining: 0 });
  expect(limiter.take("a", 100, 1, 1_000)).toMatchObject({
    allowed: false,
    remaining: 0,
    retryAfterSeconds: 60,
  });
  expect(limiter.take("a", 100, 1, 60_000).allowed).toBe(false);
  expect(limiter.take("a", 100, 1, 61_000).allowed).toBe(true);
});

test("a limit raised and lowered in mid-traffic forgets nothing that was sent", () => {
  const limiter = new Limiter();
  let nowMs = 0;
  for (let i = 0; i < 1_024; i++) limiter.take("a", 1_024, 1, nowMs++);
  for (let i = 0; i < 40_000; i++) limiter.take("a", 100_000, 1, nowMs++);
  expect(limiter.take("a", 100_000, 0, nowMs).remaining).toBe(100_000 - 41_024);
  expect(limiter.take("a", 1_000, 1, nowMs)).toMatchObject({ allowed: false, retryAfterSeconds: 59 });
  expect(limiter.take("a", 100_000, 0, 101_100)).toMatchObject({ remaining: 100_000, resetSeconds: 0 });
});

test("a clock that jumps refuses nobody for more than a minute, and one set back doubles nobody's minute", () => {
  const jump = fc.constantFrom(-86_400_000, -3_600_000, -61_000, -500, -1, 86_400_000, 61_000);
  fc.assert(
    fc.property(
      fc.array(fc.record({ jump, step }), { maxLength: 50 }),
      fc.constantFrom(10, 2_000),
      (jumps, limit) => {
        const limiter = new Limiter();
        let nowMs = 1e9;
        for (const { jump, step } of jumps) {
          nowMs += step.afterMs;
          limiter.take("a", limit, step.n, nowMs);
          nowMs += jump;
          const used = limit - limiter.take("a", limit, 0, nowMs).remaining;
          const { allowed, retryAfterSeconds, resetSeconds } = limiter.take("a", limit, limit, nowMs);
          expect(allowed).toBe(used === 0);
          expect(retryAfterSeconds).toBeWithin(0, 61);
          expect(resetSeconds).toBeWithin(0, 61);
        }
        expect(limiter.take("a", limit, limit, nowMs + MINUTE_MS).allowed).toBe(true);
      },
    ),
  );
  const limiter = new Limiter();
  limiter.take("a", 10, 10, 100_000);
  expect(limiter.take("a", 10, 1, 90_000).allowed).toBe(false);
  expect(limiter.take("a", 10, 1, 149_999).allowed).toBe(false);
  expect(limiter.take("a", 10, 1, 150_000).allowed).toBe(true);
});

test("a grace lets a client jitter by as much around its rate, and no more", () => {
  const limiter = new Limiter({ graceMs: 100 });
  const late = (i: number) => (i % 200 === 0 ? 90 : 0);
  for (let i = 0; i < 1_000; i++) {
    expect(limiter.take("a", 100, 1, i * 600 + late(i)).allowed).toBe(true);
  }
  limiter.take("b", 1, 1, 0);
  expect(limiter.take("b", 1, 1, 59_899).allowed).toBe(false);
  expect(limiter.take("b", 1, 1, 59_900).allowed).toBe(true);
});

test("windows of the idle go away as others come, without a timer", () => {
  const limiter = new Limiter<number>();
  for (let org = 0; org < 1_000; org++) limiter.take(org, 10, 1, 0);
  expect(limiter.size).toBe(1_000);
  for (let org = 1_000; org < 2_000; org++) limiter.take(org, 10, 1, MINUTE_MS);
  expect(limiter.size).toBe(1_000);
});

test("beyond the bound the organization that was quiet longest is forgotten, not one that is busy", () => {
  const limiter = new Limiter<number>({ keysMax: 100 });
  for (let org = 0; org < 100; org++) limiter.take(org, 10, 10, org);
  expect(limiter.take(0, 10, 1, 100).allowed).toBe(false);
  limiter.take(100, 10, 10, 101);
  expect(limiter.size).toBe(100);
  expect(limiter.take(0, 10, 1, 102).allowed).toBe(false);
  expect(limiter.take(1, 10, 1, 103).allowed).toBe(true);
});

test("an address may make 60 keys a minute, and another address as many", () => {
  const limiter = createAddressLimiter();
  for (let i = 0; i < 60; i++) expect(limiter.take("192.0.2.1", i).allowed).toBe(true);
  expect(limiter.take("192.0.2.1", 60)).toMatchObject({ allowed: false, limit: 60, retryAfterSeconds: 60 });
  expect(limiter.take("::ffff:192.0.2.1", 60).allowed).toBe(false);
  expect(limiter.take("192.0.2.2", 60).allowed).toBe(true);
  expect(createAddressLimiter({ perMinute: 1 }).take("192.0.2.1", 0).remaining).toBe(0);
});

test("the addresses of one client are one client", () => {
  const same = [
    ["192.0.2.1", "::ffff:192.0.2.1", "::ffff:c000:201", "::FFFF:192.0.2.1"],
    ["2001:db8:1:2::1", "2001:DB8:1:2:ffff:ffff:ffff:ffff", "2001:0db8:0001:0002::"],
    ["fe80::1%eth0", "fe80::2"],
    ["", "not an address", "unix:/run/socket"],
  ];
  const groups = same.map((addresses) => new Set(addresses.map(addressGroup)));
  for (const group of groups) expect(group.size).toBe(1);
  expect(new Set(groups.flatMap((group) => [...group])).size).toBe(same.length);
  expect(addressGroup("2001:db8:1:3::1")).not.toBe(addressGroup("2001:db8:1:2::1"));
});
