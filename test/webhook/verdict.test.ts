import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { type AttemptOutcome, type FailureKind, verdict } from "../../src/webhook/verdict.ts";

const NOW_MS = 1_700_000_000_000;
const SCHEDULE = [5000, 60_000];

function outcomeOf(status: number | null, rest: Partial<AttemptOutcome> = {}): AttemptOutcome {
  return {
    startedAtMs: NOW_MS,
    durationMs: 5,
    status,
    error: null,
    responseExcerpt: "",
    retryAfter: null,
    ...rest,
  };
}

function judge(outcome: AttemptOutcome, attemptsMade = 1, schedule: readonly number[] = SCHEDULE) {
  return verdict(outcome, { schedule, attemptsMade, nowMs: NOW_MS, random: 0.5 });
}

const timeout = { kind: "timeout", message: "15000 ms passed." } as const;
const reset = { kind: "connection_reset", message: "Broken off." } as const;

describe("a delivery after an attempt", () => {
  test.each([200, 201, 202, 204, 206, 299])("is delivered by an answer of %d", (status) => {
    expect(judge(outcomeOf(status))).toEqual({ kind: "delivered" });
    expect(judge(outcomeOf(status), 99)).toEqual({ kind: "delivered" });
  });

  test.each<[number, FailureKind]>([
    [300, "redirect"],
    [301, "redirect"],
    [302, "redirect"],
    [303, "redirect"],
    [304, "redirect"],
    [307, "redirect"],
    [308, "redirect"],
    [199, "http_status"],
    [400, "http_status"],
    [401, "http_status"],
    [404, "http_status"],
    [408, "http_status"],
    [409, "http_status"],
    [422, "http_status"],
    [429, "http_status"],
    [500, "http_status"],
    [503, "http_status"],
    [599, "http_status"],
    [999, "http_status"],
  ])("is tried again after an answer of %d (%s)", (status, kind) => {
    const error = { kind, message: expect.stringContaining(String(status)) };
    expect(judge(outcomeOf(status))).toEqual({ kind: "retry", delayMs: 5000, error });
    expect(judge(outcomeOf(status), 2)).toEqual({ kind: "retry", delayMs: 60_000, error });
  });

  test("is a dead letter once the schedule is used up", () => {
    const error = { kind: "http_status" as const, message: expect.any(String) };
    expect(judge(outcomeOf(500), 3)).toEqual({ kind: "dead_letter", error });
    expect(judge(outcomeOf(500), 1, [])).toEqual({ kind: "dead_letter", error });
    expect(judge(outcomeOf(null, { error: timeout }), 3)).toEqual({ kind: "dead_letter", error: timeout });
  });

  test("is tried again when no whole answer came, whatever its status promised", () => {
    for (const status of [null, 200, 204, 500]) {
      for (const error of [timeout, reset]) {
        expect(judge(outcomeOf(status, { error }))).toEqual({ kind: "retry", delayMs: 5000, error });
      }
    }
  });

  test("is not delivered by an outcome that has neither a status nor an error", () => {
    expect(judge(outcomeOf(null)).kind).toBe("retry");
  });

  test("has met an endpoint that is gone by a 410, on any attempt and with any body", () => {
    const error = { kind: "gone" as const, message: expect.stringContaining("410") };
    for (const attemptsMade of [1, 2, 3, 99]) {
      expect(judge(outcomeOf(410), attemptsMade)).toEqual({ kind: "gone", error });
    }
    expect(judge(outcomeOf(410, { error: timeout }))).toEqual({ kind: "gone", error });
  });
});

describe("Retry-After of an endpoint", () => {
  test.each([429, 503])(
    "moves the next attempt after a %d back, when it asks for more than the schedule",
    (status) => {
      const due = (retryAfter: string | null) => judge(outcomeOf(status, { retryAfter }));
      expect(due("60")).toMatchObject({ kind: "retry", delayMs: 60_000 });
      expect(due(new Date(NOW_MS + 90_000).toUTCString())).toMatchObject({ delayMs: 90_000 });
      expect(due("999999999")).toMatchObject({ delayMs: 86_400_000 });
      expect(due("1")).toMatchObject({ delayMs: 5000 });
      expect(due("soon")).toMatchObject({ delayMs: 5000 });
      expect(due(null)).toMatchObject({ delayMs: 5000 });
    },
  );

  test.each([200, 302, 400, 500, 502, 504])("means nothing with a %d", (status) => {
    const withHeader = judge(outcomeOf(status, { retryAfter: "3600" }));
    expect(withHeader).toEqual(judge(outcomeOf(status)));
  });

  test("earns no attempt beyond the schedule", () => {
    expect(judge(outcomeOf(429, { retryAfter: "60" }), 3).kind).toBe("dead_letter");
  });

  test("is obeyed although the answer's body then broke off", () => {
    expect(judge(outcomeOf(503, { retryAfter: "60", error: reset }))).toMatchObject({
      delayMs: 60_000,
    });
  });
});

test("only a whole 2xx answer delivers, for all outcomes there are", () => {
  const errors = fc.constantFrom(null, timeout, reset);
  const statuses = fc.option(fc.integer({ min: 100, max: 999 }));
  fc.assert(
    fc.property(statuses, errors, fc.integer({ min: 1, max: 5 }), (status, error, attemptsMade) => {
      const isWhole2xx = error === null && status !== null && status >= 200 && status <= 299;
      expect(judge(outcomeOf(status, { error }), attemptsMade).kind === "delivered").toBe(isWhole2xx);
    }),
  );
});
