// What the client sends, what it repeats, and what it must not: with a server whose answers are written here.

import { afterEach, describe, expect, test } from "bun:test";
import { Triggers } from "../../src/sdk/client.ts";
import type { ConnectionOptions } from "../../src/sdk/connection.ts";
import { TriggersError } from "../../src/sdk/error.ts";
import {
  answer,
  inTurn as connectionsInTurn,
  type Receiver,
  refusingUrl,
  startReceiver,
} from "../help/receiver.ts";
import { type Answering, acceptAll, inTurn, problem, Stub } from "../help/stub.ts";

const KEY = "zap_test_key";
const event = { type: "order.created", payload: { order: 1 } } as const;
const open: { stop(): unknown }[] = [];
afterEach(async () => {
  for (const one of open.splice(0)) await one.stop();
});

function start(routes: Record<string, Answering>, options: Partial<ConnectionOptions> = {}) {
  const stub = new Stub(routes);
  open.push(stub);
  return { stub, triggers: new Triggers({ url: stub.url, key: KEY, ...options }) };
}

function startRaw(): Receiver {
  const receiver = startReceiver();
  open.push(receiver);
  return receiver;
}

const accepted: Answering = () =>
  Response.json({ id: "id-1", status: "accepted", created_at: "2026-11-21T08:30:00.000Z" }, { status: 202 });
const one = (answering: Answering) => ({ "POST /api/events": answering });
const batch = (answering: Answering) => ({ "POST /api/events/batch": answering });
/** Retry-After: 0 keeps the tests quick; that a longer one is kept to has a test of its own. */
const busy = (code: string, status = 503) => problem(status, code, {}, { "retry-after": "0" });

async function errorOf(work: Promise<unknown>): Promise<TriggersError> {
  const error = await work.catch((thrown) => thrown);
  if (!(error instanceof TriggersError)) throw new Error(`no TriggersError: ${JSON.stringify(error)}`);
  return error;
}

describe("an event", () => {
  test("is sent with its key, and what the server told comes back", async () => {
    const { stub, triggers } = start(one(accepted));
    const deliverAt = new Date("2026-11-22T00:00:00Z");
    const sent = await triggers.send({ ...event, dedupId: "o-1", deliverAt });
    expect(sent).toEqual({ id: "id-1", status: "accepted", createdAt: "2026-11-21T08:30:00.000Z" });
    expect(stub.asked).toHaveLength(1);
    expect(stub.asked[0]?.headers.get("x-api-key")).toBe(KEY);
    expect(stub.asked[0]?.headers.get("content-type")).toBe("application/json");
    expect(stub.asked[0]?.body).toEqual({
      type: "order.created",
      payload: { order: 1 },
      dedup_id: "o-1",
      deliver_at: "2026-11-22T00:00:00.000Z",
    });
  });

  test("goes out as the text that it is given as", async () => {
    const { stub, triggers } = start(one(accepted));
    const payloadText = '{"b":1.0, "a":9007199254740993}';
    await triggers.send({ type: "t", payloadText });
    expect(stub.asked[0]?.text).toBe(`{"type":"t","payload":${payloadText}}`);
  });

  test("whose text is no JSON value, or that has none, is not sent", async () => {
    const { stub, triggers } = start(one(accepted));
    for (const payloadText of ["", "{", '1,"dedup_id":"x"', "undefined"])
      await expect(triggers.send({ type: "t", payloadText })).rejects.toThrow(TypeError);
    await expect(triggers.send({ type: "t", payload: undefined })).rejects.toThrow(TypeError);
    expect(stub.asked).toHaveLength(0);
  });

  test("that is there already is a success, with the id of the first", async () => {
    const { triggers } = start(
      one(() => problem(409, "duplicate_event", { event_id: "id-0", dedup_id: "o-1" })),
    );
    expect(await triggers.send({ ...event, dedupId: "o-1" })).toEqual({
      id: "id-0",
      status: "duplicate",
      createdAt: null,
    });
  });

  test("that the server refuses is an error with all that it told", async () => {
    const errors = [{ pointer: "/type", detail: "It must be a string." }];
    const { triggers, stub } = start(
      one(() => problem(422, "validation_failed", { errors }, { "x-request-id": "r-1", "retry-after": "7" })),
    );
    const error = await errorOf(triggers.send(event));
    expect(error).toMatchObject({
      status: 422,
      code: "validation_failed",
      detail: "The detail of validation_failed.",
      retryAfterSeconds: 7,
      requestId: "r-1",
      problem: { errors },
    });
    expect(error.message).toBe("422 validation_failed: The detail of validation_failed.");
    expect(stub.asked).toHaveLength(1);
  });
});

describe("a call is made again", () => {
  test.each(["overloaded", "storage_unavailable"])(
    "when the server says %s, which means that nothing is stored",
    async (code) => {
      const { stub, triggers } = start(one(inTurn(() => busy(code), accepted)));
      expect((await triggers.send(event)).id).toBe("id-1");
      expect(stub.asked).toHaveLength(2);
    },
  );

  test("not before the seconds of Retry-After, and its caller can hear of it", async () => {
    const waits: number[] = [];
    const limited = () => problem(429, "rate_limited", {}, { "retry-after": "1" });
    const onRetry = (error: TriggersError, waitMs: number) => {
      expect(error.code).toBe("rate_limited");
      waits.push(waitMs);
    };
    const { triggers } = start(one(inTurn(limited, accepted)), { onRetry });
    const startedMs = performance.now();
    await triggers.send(event);
    expect(performance.now() - startedMs).toBeGreaterThanOrEqual(990);
    expect(waits).toHaveLength(1);
    expect(waits[0]).toBeWithin(1_000, 1_300);
  });

  test("when the connection breaks, for an event with a dedup id", async () => {
    const receiver = startRaw().on(
      "*",
      connectionsInTurn({ kind: "reset" }, { kind: "hang_up" }, answer(202, { body: "{}" })),
    );
    const triggers = new Triggers({ url: receiver.url, key: KEY });
    expect((await triggers.send({ ...event, dedupId: "o-1" })).status).toBe("accepted");
    expect(receiver.received).toHaveLength(3);
  });

  test("when a proxy is at a loss, for what does the same twice", async () => {
    const { stub, triggers } = start({
      "POST /api/ack": inTurn(
        () => new Response("<h1>Bad gateway</h1>", { status: 502 }),
        () => Response.json({ acknowledged: 1, not_found: ["b"] }),
      ),
    });
    expect(await triggers.ack("a", "b")).toEqual({ acknowledged: 1, notFound: ["b"] });
    expect(stub.asked).toHaveLength(2);
  });
});

describe("a call is not made again", () => {
  test("when it is not known whether an event without a dedup id was stored", async () => {
    for (const kind of ["reset", "hang_up"] as const) {
      const receiver = startRaw().on("*", { kind });
      const error = await errorOf(new Triggers({ url: receiver.url, key: KEY }).send(event));
      expect(error).toMatchObject({ status: 0, code: "unreachable", retryAfterSeconds: null });
      expect(receiver.received).toHaveLength(1);
    }
    const { stub, triggers } = start(
      one(() => new Response("busy", { status: 503, headers: { "retry-after": "0" } })),
    );
    expect(await errorOf(triggers.send(event))).toMatchObject({
      status: 503,
      code: "http_503",
      detail: "busy",
    });
    expect(stub.asked).toHaveLength(1);
  });

  test("for ever", async () => {
    const { stub, triggers } = start(
      one(() => busy("overloaded")),
      { retriesMax: 2 },
    );
    expect((await errorOf(triggers.send(event))).code).toBe("overloaded");
    expect(stub.asked).toHaveLength(3);
  });

  test("when that would take longer than the caller has patience for", async () => {
    const limited = () => problem(429, "rate_limited", {}, { "retry-after": "86400" });
    const { stub, triggers } = start(one(limited));
    expect((await errorOf(triggers.send(event))).retryAfterSeconds).toBe(86_400);
    expect(stub.asked).toHaveLength(1);
  });

  test("after the server's own mistake, a missing key, or another service's answer", async () => {
    const answers = [
      [() => problem(500, "internal_error"), "internal_error"],
      [() => problem(401, "invalid_api_key"), "invalid_api_key"],
      [() => new Response("<html>"), "not_this_service"],
      [() => Response.redirect("http://127.0.0.1:1/elsewhere", 307), "redirected"],
    ] as const;
    for (const [answering, code] of answers) {
      const { stub, triggers } = start(one(answering));
      expect((await errorOf(triggers.send({ ...event, dedupId: "o-1" }))).code).toBe(code);
      expect(stub.asked).toHaveLength(1);
    }
  });

  test("when its signal is aborted: on the way, or while it waits for the next try", async () => {
    const reason = new Error("enough");
    const hanging = new AbortController();
    const receiver = startRaw().on("*", { kind: "hang" });
    const call = new Triggers({ url: receiver.url, key: KEY }).send(event, { signal: hanging.signal });
    await receiver.next();
    hanging.abort(reason);
    expect(await call.catch((error) => error)).toBe(reason);

    const waiting = new AbortController();
    const limited = () => problem(429, "rate_limited", {}, { "retry-after": "60" });
    const { triggers } = start(one(limited), { onRetry: () => waiting.abort(reason) });
    expect(await triggers.send(event, { signal: waiting.signal }).catch((error) => error)).toBe(reason);
  });
});

test("a server that does not answer is given up after the time limit", async () => {
  const receiver = startRaw().on("*", { kind: "hang" });
  const triggers = new Triggers({ url: receiver.url, key: KEY, timeoutMs: 50, retriesMax: 1 });
  expect((await errorOf(triggers.send({ ...event, dedupId: "o" }))).code).toBe("timeout");
  expect(receiver.received).toHaveLength(2);
});

test("a server that is not there is an error that says so, without the key", async () => {
  const error = await errorOf(new Triggers({ url: refusingUrl(), key: KEY, retriesMax: 0 }).send(event));
  expect(error).toMatchObject({ status: 0, code: "unreachable" });
  expect(error.message).not.toContain(KEY);
});

test("a key that no header can carry is refused without being repeated", () => {
  expect(() => new Triggers({ url: "http://127.0.0.1", key: "se cret" })).toThrow(
    /^the key has white space or a character that an HTTP header cannot carry$/,
  );
});

describe("a batch", () => {
  const events = (count: number, more: object = {}) =>
    Array.from({ length: count }, (_, n) => ({ type: "t", payload: n, ...more }));
  const withIds = (count: number) =>
    Array.from({ length: count }, (_, n) => ({ type: "t", payload: n, dedupId: `d-${n}` }));

  test("of any size goes in calls of at most 1000 events, and its results are in order", async () => {
    const { stub, triggers } = start(batch(acceptAll()));
    const sent = await triggers.sendBatch(events(2_500));
    expect(stub.asked.map(({ body }) => body.events.length)).toEqual([1_000, 1_000, 500]);
    expect(sent).toMatchObject({ accepted: 2_500, duplicates: 0, rejected: 0 });
    expect(sent.results.map((result) => "id" in result && result.id)).toEqual(
      Array.from({ length: 2_500 }, (_, n) => `id-${n + 1}`),
    );
  });

  test("goes in calls of at most 8 MiB", async () => {
    const { stub, triggers } = start(batch(acceptAll()));
    const payload = "ä".repeat(100_000);
    const sent = await triggers.sendBatch(Array.from({ length: 100 }, () => ({ type: "t", payload })));
    expect(sent.accepted).toBe(100);
    expect(stub.asked).toHaveLength(3);
    for (const { text } of stub.asked) expect(Buffer.byteLength(text)).toBeLessThanOrEqual(8 << 20);
  });

  test("of nothing is no call", async () => {
    const { stub, triggers } = start(batch(acceptAll()));
    expect(await triggers.sendBatch([])).toEqual({ accepted: 0, duplicates: 0, rejected: 0, results: [] });
    expect(stub.asked).toHaveLength(0);
  });

  test("tells in their places what is no JSON and what is too large for any call", async () => {
    const { stub, triggers } = start(batch(acceptAll()));
    const sent = await triggers.sendBatch([
      { type: "t", payload: 0 },
      { type: "t", payloadText: "{" },
      { type: "t", payload: "x".repeat(9 << 20) },
      { type: "t", payload: 3 },
    ]);
    expect(sent.results).toMatchObject([
      { status: "accepted", id: "id-1" },
      { status: "rejected", code: "malformed_json" },
      { status: "rejected", code: "payload_too_large" },
      { status: "accepted", id: "id-2" },
    ]);
    expect(stub.asked[0]?.body.events).toHaveLength(2);
  });

  test("is repeated after a lost answer when all of it has dedup ids, and not otherwise", async () => {
    const lost = () => new Response("bad gateway", { status: 502 });
    const first = start(batch(inTurn(lost, acceptAll())));
    expect((await first.triggers.sendBatch(withIds(3))).accepted).toBe(3);
    const second = start(batch(inTurn(lost, acceptAll())));
    const mixed = [...withIds(2), { type: "t", payload: 0 }];
    expect((await errorOf(second.triggers.sendBatch(mixed))).status).toBe(502);
    expect(second.stub.asked).toHaveLength(1);
  });

  test("that is larger than the limit of a minute goes in parts of it, at once as far as there is room", async () => {
    let room = 150;
    const limit = 200;
    const accept = acceptAll();
    const limited: Answering = (asked) => {
      const count = asked.body.events.length;
      if (count > room) {
        const told = problem(429, "rate_limited", { limit, fits_now: room }, { "retry-after": "0" });
        if (room < 100) room = limit;
        return told;
      }
      room -= count;
      return accept(asked);
    };
    const { stub, triggers } = start(batch(limited));
    const sent = await triggers.sendBatch(events(500));
    expect(sent.results.map((result) => "id" in result && result.id)).toEqual(
      Array.from({ length: 500 }, (_, n) => `id-${n + 1}`),
    );
    const accepted = stub.asked.map(({ body }) => body.events.length);
    expect(accepted).toEqual([500, 150, 200, 200, 150, 150]);
  });

  test("that fails in a later part has told what became of the earlier ones", async () => {
    const refuse: Answering = () =>
      problem(429, "rate_limited", { limit: 200, fits_now: 0 }, { "retry-after": "0" });
    const gone: Answering = () => problem(401, "expired_api_key");
    const { triggers } = start(batch(inTurn(refuse, acceptAll(), gone)));
    const told: unknown[] = [];
    const sending = (async () => {
      const bad = { type: "t", payloadText: "{" };
      for await (const { events: sent, results } of triggers.sendAll([bad, ...events(300)]))
        told.push([
          sent.length,
          results.map(({ status }) => status).filter((one) => one === "accepted").length,
        ]);
    })();
    expect((await errorOf(sending)).code).toBe("expired_api_key");
    expect(told).toEqual([[201, 200]]);
  });

  test("of nothing that can be sent is told without a call", async () => {
    const { stub, triggers } = start(batch(acceptAll()));
    expect(await triggers.sendBatch([{ type: "t", payloadText: "{" }])).toMatchObject({ rejected: 1 });
    expect(stub.asked).toHaveLength(0);
  });

  test("from a slow source does not wait to be full", async () => {
    const { stub, triggers } = start(batch(acceptAll()));
    const rest = Promise.withResolvers<void>();
    async function* slow() {
      yield { type: "t", payload: 1 };
      await rest.promise;
      yield { type: "t", payload: 2 };
    }
    const sending = Array.fromAsync(triggers.sendAll(slow(), { lingerMs: 1 }));
    await stub.waitFor("/api/events/batch", 1);
    rest.resolve();
    expect((await sending).map(({ events }) => events.map(({ payload }) => payload))).toEqual([[1], [2]]);
  });

  test("reads no further than it has sent", async () => {
    const { triggers } = start(batch(acceptAll()));
    let read = 0;
    function* endless() {
      for (;;) yield { type: "t", payload: read++ };
    }
    for await (const { results } of triggers.sendAll(endless())) {
      expect(results).toHaveLength(1_000);
      expect(read).toBeLessThanOrEqual(1_001);
      break;
    }
    expect(read).toBeLessThanOrEqual(1_001);
  });

  test("ends with its source's error, and by its signal also while the source says nothing", async () => {
    const { triggers } = start(batch(acceptAll()));
    async function* failing() {
      yield { type: "t", payload: 1 };
      throw new Error("no more disk");
    }
    await expect(Array.fromAsync(triggers.sendAll(failing()))).rejects.toThrow("no more disk");
    const stop = new AbortController();
    async function* silent() {
      yield { type: "t", payload: 1 };
      stop.abort(new Error("enough"));
      await new Promise(() => {});
    }
    await expect(Array.fromAsync(triggers.sendAll(silent(), { signal: stop.signal }))).rejects.toThrow(
      "enough",
    );
  });
});
