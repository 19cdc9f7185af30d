// Why a delivery stands where it stands: every reason, and which one wins when several hold.

import { describe, expect, test } from "bun:test";
import { BREAKER_FAILURES } from "../../src/webhook/breaker.ts";
import {
  type Circumstances,
  type ExplainedDelivery,
  type ExplainedEndpoint,
  explain,
  summarize,
} from "../../src/webhook/explain.ts";
import { explainReasons } from "../../src/wire/explain.ts";

const NOW = Date.parse("2026-11-21T08:30:00.000Z");
const MINUTE = 60_000;
const at = (ms: number) => new Date(ms).toISOString();

const EVENT = { type: "order.created", createdAtMs: NOW - MINUTE, acknowledgedAtMs: null };
const ENDPOINT: ExplainedEndpoint = {
  eventTypes: ["order.*"],
  createdAtMs: NOW - 60 * MINUTE,
  updatedAtMs: NOW - 60 * MINUTE,
  disabledAtMs: null,
  disabledReason: null,
  deletedAtMs: null,
  ordered: false,
  failures: 0,
  pausedUntilMs: null,
};
const PENDING: ExplainedDelivery = {
  status: "pending",
  attempts: 0,
  responseStatus: null,
  lastError: null,
  nextAttemptAtMs: NOW - MINUTE,
};
const FAILED: ExplainedDelivery = {
  status: "failed",
  attempts: 2,
  responseStatus: 500,
  lastError: "http_status: The endpoint answered 500.",
  nextAttemptAtMs: NOW + 5 * MINUTE,
};

type Given = Partial<Omit<Circumstances, "event" | "endpoint">> & {
  readonly event?: Partial<typeof EVENT> | { acknowledgedAtMs: number };
  readonly endpoint?: Partial<ExplainedEndpoint>;
};

function explained({ event, endpoint, ...rest }: Given) {
  return explain({
    nowMs: NOW,
    deliveryDisabled: false,
    delivery: PENDING,
    waitsForEventId: null,
    ...rest,
    event: { ...EVENT, ...event },
    endpoint: { ...ENDPOINT, ...endpoint },
  });
}

describe("an event that was not meant for an endpoint", () => {
  test("names the patterns that do not match its type", () => {
    const { reason, detail, nextAttemptAtMs } = explained({
      delivery: null,
      endpoint: { eventTypes: ["invoice.*", "order"] },
    });
    expect([reason, nextAttemptAtMs]).toEqual(["type_not_matched", null]);
    expect(detail).toBe(
      "The type order.created matches none of the endpoint's event_types: invoice.*, order.",
    );
  });

  test("names the first five of a hundred patterns", () => {
    const eventTypes = Array.from({ length: 100 }, (_, i) => `t${i}`);
    const { detail } = explained({ delivery: null, endpoint: { eventTypes } });
    expect(detail).toEndWith(": t0, t1, t2, t3, t4 and 95 more.");
  });

  test("tells that the endpoint was made later, and what sends it", () => {
    const createdAtMs = NOW - 1;
    const { reason, detail } = explained({ delivery: null, endpoint: { createdAtMs, updatedAtMs: NOW } });
    expect(reason).toBe("created_later");
    expect(detail).toContain(at(createdAtMs));
    expect(detail).toContain("missing_only");
  });

  test("tells that the endpoint was changed later", () => {
    const { reason, detail } = explained({ delivery: null, endpoint: { updatedAtMs: NOW - 1 } });
    expect(reason).toBe("changed_later");
    expect(detail).toContain(at(NOW - 1));
    expect(detail).toContain("missing_only");
  });

  test("does not call an endpoint changed that never was", () => {
    expect(explained({ delivery: null }).reason).toBe("created_later");
  });

  test("tells of the type first when the endpoint was made later too", () => {
    const endpoint = { eventTypes: ["x"], createdAtMs: NOW };
    expect(explained({ delivery: null, endpoint }).reason).toBe("type_not_matched");
  });
});

describe("a delivery that has ended", () => {
  test("was delivered, also when the endpoint is gone or the event acknowledged", () => {
    const delivery = { ...FAILED, status: "delivered", responseStatus: 204, nextAttemptAtMs: null } as const;
    const { reason, detail } = explained({
      delivery,
      endpoint: { deletedAtMs: NOW, disabledAtMs: NOW, disabledReason: "gone" },
      event: { acknowledgedAtMs: NOW },
    });
    expect(reason).toBe("delivered");
    expect(detail).toBe("It was delivered by attempt 2; the endpoint answered 204.");
  });

  test("has exhausted its attempts: says why the last one failed and what sends it again", () => {
    const delivery = { ...FAILED, status: "dead_letter", nextAttemptAtMs: null } as const;
    const { reason, detail, nextAttemptAtMs } = explained({ delivery });
    expect([reason, nextAttemptAtMs]).toEqual(["attempts_exhausted", null]);
    expect(detail).toBe(
      "All attempts failed (2). The last one failed: http_status: The endpoint answered 500. " +
        "A retry of the delivery, or a replay, sends it again.",
    );
  });

  test.each([
    ["acknowledged", "cancelled", NOW - 5, null],
    ["acknowledged", "cancelled", NOW - 5, NOW],
    ["endpoint_deleted", "cancelled", null, NOW],
    ["endpoint_deleted", "cancelled", NOW, NOW - 5],
    ["endpoint_deleted", "dead_letter", null, NOW],
    ["endpoint_deleted", "pending", null, NOW],
  ] as const)("is %s when it is %s (acknowledged %p, deleted %p)", (reason, status, acked, deleted) => {
    const told = explained({
      delivery: { ...FAILED, status },
      event: acked === null ? {} : { acknowledgedAtMs: acked },
      endpoint: { deletedAtMs: deleted },
    });
    expect([told.reason, told.nextAttemptAtMs]).toEqual([reason, null]);
    expect(told.detail).toContain(at(reason === "acknowledged" ? (acked ?? 0) : (deleted ?? 0)));
  });
});

describe("a delivery that waits", () => {
  test.each([
    ["manual", "by a call"],
    ["gone", "410"],
    ["failing", "five days"],
  ] as const)(
    "is held by an endpoint that is disabled (%s), and enabling sends it",
    (disabledReason, why) => {
      const { reason, detail, nextAttemptAtMs } = explained({
        endpoint: { disabledAtMs: NOW - 7, disabledReason, failures: 50, pausedUntilMs: NOW + 1 },
        deliveryDisabled: true,
        waitsForEventId: "x",
      });
      expect([reason, nextAttemptAtMs]).toEqual(["endpoint_disabled", null]);
      expect(detail).toContain(at(NOW - 7));
      expect(detail).toContain(why);
      expect(detail).toContain("/enable");
    },
  );

  test("is held when the operator switched delivery off, and names the setting", () => {
    const { reason, detail, nextAttemptAtMs } = explained({ deliveryDisabled: true });
    expect([reason, nextAttemptAtMs]).toEqual(["delivery_disabled", null]);
    expect(detail).toContain("DISABLE_WEBHOOK_DELIVERY");
  });

  test("waits for an earlier event of an ordered endpoint, and names it", () => {
    const { reason, detail, nextAttemptAtMs } = explained({
      waitsForEventId: "01a1fd3a-0340-7000-8f4e-3b8d1c6a9e52",
      endpoint: { failures: 20, pausedUntilMs: NOW + MINUTE },
    });
    expect([reason, nextAttemptAtMs]).toEqual(["waits_for_earlier", null]);
    expect(detail).toContain("01a1fd3a-0340-7000-8f4e-3b8d1c6a9e52");
  });

  test("waits for the breaker after ten failures in a row, and tells when the next probe is", () => {
    const pausedUntilMs = NOW + MINUTE;
    const open = explained({ endpoint: { failures: BREAKER_FAILURES, pausedUntilMs } });
    expect([open.reason, open.nextAttemptAtMs]).toEqual(["breaker_open", pausedUntilMs]);
    expect(open.detail).toContain(`The last 10 attempts to this endpoint failed`);
    expect(open.detail).toContain(`is due at ${at(pausedUntilMs)}`);
    expect(open.detail).not.toContain("own attempt");
    const closed = explained({ endpoint: { failures: BREAKER_FAILURES - 1, pausedUntilMs } });
    expect(closed.reason).toBe("paused");
  });

  test("tells under an open breaker that its own attempt is later, and that a probe may be due now", () => {
    const { detail, nextAttemptAtMs } = explained({ delivery: FAILED, endpoint: { failures: 12 } });
    expect(nextAttemptAtMs).toBe(FAILED.nextAttemptAtMs);
    expect(detail).toContain("The next one is due now.");
    expect(detail).toContain(`not due before ${at(FAILED.nextAttemptAtMs ?? 0)}`);
  });

  test("is paused when the endpoint asked to wait", () => {
    const pausedUntilMs = NOW + MINUTE;
    const delivery = { ...PENDING, nextAttemptAtMs: pausedUntilMs };
    const { reason, detail, nextAttemptAtMs } = explained({
      delivery,
      endpoint: { failures: 1, pausedUntilMs },
    });
    expect([reason, nextAttemptAtMs]).toEqual(["paused", pausedUntilMs]);
    expect(explained({ endpoint: { failures: 1, pausedUntilMs } })).toMatchObject({ reason, detail });
    expect(detail).toBe(`The endpoint asked to wait: nothing is sent to it before ${at(pausedUntilMs)}.`);
  });

  test("is not paused by a pause that is over", () => {
    expect(explained({ endpoint: { pausedUntilMs: NOW } }).reason).toBe("due_now");
  });

  test("is paused, too, when it was its own failure that asked to wait", () => {
    const pausedUntilMs = (FAILED.nextAttemptAtMs ?? 0) + 1;
    const { reason, detail, nextAttemptAtMs } = explained({ delivery: FAILED, endpoint: { pausedUntilMs } });
    expect([reason, nextAttemptAtMs]).toEqual(["paused", pausedUntilMs]);
    expect(detail).toEndWith("The last one failed: http_status: The endpoint answered 500.");
  });

  test("tells of its retry: which attempt, when, and why the last one failed", () => {
    const expected = [
      "retry_scheduled",
      FAILED.nextAttemptAtMs,
      `Attempt 3 is due at ${at(NOW + 5 * MINUTE)}. The last one failed: http_status: The endpoint answered 500.`,
    ];
    for (const endpoint of [
      { failures: 1 },
      { failures: 1, pausedUntilMs: NOW + 1 },
      // On an ordered endpoint the retry is a pause of the endpoint.
      { failures: 1, ordered: true, pausedUntilMs: FAILED.nextAttemptAtMs },
    ]) {
      const { reason, detail, nextAttemptAtMs } = explained({ delivery: FAILED, endpoint });
      expect([reason, nextAttemptAtMs, detail]).toEqual(expected);
    }
  });

  test("is due now: its first attempt, or a retry", () => {
    const first = explained({});
    expect([first.reason, first.nextAttemptAtMs]).toEqual(["due_now", PENDING.nextAttemptAtMs]);
    expect(first.detail).toBe("Attempt 1 is due now, or under way.");
    const again = explained({ delivery: { ...FAILED, nextAttemptAtMs: NOW } });
    expect(again.reason).toBe("due_now");
    expect(again.detail).toStartWith("Attempt 3 is due now, or under way. The last one failed");
  });
});

describe("the whole", () => {
  const one = (reason: (typeof explainReasons)[number], matched = true) => ({ reason, matched });

  test("says that there are no endpoints", () => {
    expect(summarize(EVENT, [])).toBe(
      "The organization has no endpoints, so it is sent nowhere: POST /api/endpoints makes one. " +
        "It waits in the inbox until it is acknowledged.",
    );
  });

  test("says that no pattern matches", () => {
    expect(summarize(EVENT, [one("type_not_matched", false)])).toBe(
      "No endpoint has a pattern in its event_types that matches order.created, so it is sent nowhere. " +
        "It waits in the inbox until it is acknowledged.",
    );
  });

  test("says that what matches came later", () => {
    const endpoints = [one("type_not_matched", false), one("created_later", false)];
    expect(summarize(EVENT, endpoints)).toStartWith("It is sent nowhere: the endpoints whose event_types");
  });

  test("counts what became of it", () => {
    const endpoints = [
      one("delivered"),
      one("delivered"),
      one("due_now"),
      one("paused"),
      one("endpoint_disabled"),
      one("type_not_matched", false),
    ];
    expect(summarize(EVENT, endpoints)).toBe(
      "It is meant for 5 of 6 endpoints: delivered to 2, waiting for 2, held for 1.",
    );
  });

  test("says that it was acknowledged, and then that it waits for nobody", () => {
    const told = summarize({ ...EVENT, acknowledgedAtMs: NOW }, []);
    expect(told).toStartWith(`A consumer acknowledged it at ${at(NOW)}; `);
    expect(told).not.toContain("waits");
  });
});

test("every documented reason is one that is given, and the other way round", () => {
  const endpoint = { failures: 1, pausedUntilMs: NOW + 1 };
  const given = [
    explained({ delivery: { ...PENDING, status: "delivered" } }),
    explained({ delivery: { ...PENDING, status: "cancelled" } }),
    explained({ endpoint: { deletedAtMs: NOW } }),
    explained({ delivery: null, endpoint: { eventTypes: ["x"] } }),
    explained({ delivery: null, endpoint: { createdAtMs: NOW } }),
    explained({ delivery: null, endpoint: { updatedAtMs: NOW } }),
    explained({ delivery: { ...PENDING, status: "dead_letter" } }),
    explained({ endpoint: { disabledAtMs: NOW } }),
    explained({ deliveryDisabled: true }),
    explained({ waitsForEventId: "x" }),
    explained({ endpoint: { failures: 10 } }),
    explained({ endpoint }),
    explained({ delivery: FAILED }),
    explained({}),
  ];
  expect(given.map(({ reason }) => reason)).toEqual([...explainReasons]);
});
