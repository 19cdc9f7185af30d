// The worker's loop against leases that a test hands out itself, so that each may run out, be refused, or come late.

import { afterEach, describe, expect, test } from "bun:test";
import { Triggers } from "../../src/sdk/client.ts";
import type { WorkOptions } from "../../src/sdk/worker.ts";
import { refusingUrl } from "../help/receiver.ts";
import { type Answering, inTurn, problem, Stub, told } from "../help/stub.ts";

const stubs: Stub[] = [];
afterEach(async () => {
  for (const one of stubs.splice(0)) await one.stop();
});

const LEASE = "/api/inbox/lease";
const ACK = "/api/inbox/ack";
const RELEASE = "/api/inbox/release";
const EXTEND = "/api/inbox/extend";

const lease =
  (id: string, ...ids: string[]): Answering =>
  () =>
    Response.json({
      lease_id: id,
      leased_until: "2026-11-21T08:35:00.000Z",
      events: ids.map((one) => told(one, { lease_count: 1 })),
    });
/** A long poll that finds nothing: it is answered when the client goes. */
const nothing: Answering = () => new Promise(() => {});
const counts: Answering = ({ path, body }) =>
  Response.json({
    [path === ACK ? "acknowledged" : path === RELEASE ? "released" : "extended"]: body.event_ids?.length ?? 1,
  });

function start(takes: readonly [Answering, ...Answering[]], routes: Record<string, Answering> = {}) {
  const stub = new Stub({
    [`POST ${LEASE}`]: inTurn(...takes, nothing),
    [`POST ${ACK}`]: counts,
    [`POST ${RELEASE}`]: counts,
    [`POST ${EXTEND}`]: counts,
    ...routes,
  });
  stubs.push(stub);
  const stop = new AbortController();
  const errors: unknown[] = [];
  const triggers = new Triggers({ url: stub.url, key: "k", retriesMax: 0 });
  const work = (handler: Parameters<typeof triggers.work>[0], options: WorkOptions = {}) =>
    triggers.work(handler, { signal: stop.signal, onError: (error) => errors.push(error), ...options });
  return { stub, stop, errors, work };
}

const idsOf = (asked: readonly { body: { event_ids: string[] } }[]) =>
  asked.flatMap(({ body }) => body.event_ids);

test("a worker leases, handles the oldest first, acknowledges, and waits for more", async () => {
  const { stub, stop, work, errors } = start([lease("l1", "a", "b"), lease("l2", "c")]);
  const handled: string[] = [];
  const working = work(({ id }) => handled.push(id), { type: "order.*", max: 2, leaseSeconds: 60 });
  await stub.waitFor(LEASE, 3);
  while (idsOf(stub.to(ACK)).length < 3) await stub.waitFor(ACK, stub.to(ACK).length + 1);
  stop.abort();
  expect(await working).toEqual({ done: 3, failed: 0, returned: 0 });
  expect(handled).toEqual(["a", "b", "c"]);
  expect(stub.to(LEASE)[0]?.body).toEqual({ max: 2, lease_seconds: 60, type: "order.*", wait: 20 });
  // Each lease acknowledges its own: "b" waits for the answer to "a", and "c" of another lease may overtake it.
  const of = (lease: string) => idsOf(stub.to(ACK).filter(({ body }) => body.lease_id === lease));
  expect({ l1: of("l1"), l2: of("l2") }).toEqual({ l1: ["a", "b"], l2: ["c"] });
  expect(stub.to(RELEASE)).toHaveLength(0);
  expect(errors).toEqual([]);
});

test("what fails is given back with a delay, and spoils nothing else", async () => {
  const { stub, stop, work, errors } = start([lease("l1", "a", "b", "c")]);
  const working = work(
    ({ id }) => {
      if (id !== "b") return;
      throw new Error("no b");
    },
    { releaseDelaySeconds: ({ id, leaseCount }) => (id === "b" ? 7 * (leaseCount ?? 0) : 0) },
  );
  await stub.waitFor(RELEASE, 1);
  await stub.waitFor(LEASE, 2);
  stop.abort();
  expect(await working).toEqual({ done: 2, failed: 1, returned: 0 });
  expect(stub.to(RELEASE)[0]?.body).toEqual({ lease_id: "l1", event_ids: ["b"], delay_seconds: 7 });
  expect(idsOf(stub.to(ACK))).toEqual(["a", "c"]);
  expect(errors.map(String)).toEqual(["Error: no b"]);
});

test("the delay grows with each lease of an event, unless told otherwise", async () => {
  const events = [1, 2, 5, 40].map((lease_count) => told(`n${lease_count}`, { lease_count }));
  const taken: Answering = () => Response.json({ lease_id: "l", leased_until: null, events });
  const { stub, stop, work } = start([taken]);
  const working = work(() => Promise.reject(new Error("no")), { concurrency: 4 });
  await stub.waitFor(LEASE, 2);
  stop.abort();
  await working;
  const delays = stub.to(RELEASE).map(({ body }) => [body.event_ids[0], body.delay_seconds]);
  expect(delays.toSorted()).toEqual([
    ["n1", 10],
    ["n2", 20],
    ["n40", 3_600],
    ["n5", 160],
  ]);
});

test("as many handlers run at a time as were asked for, and no more events are taken than that needs", async () => {
  const { stub, stop, work } = start([lease("l1", "a", "b"), lease("l2", "c", "d"), lease("l3", "e")]);
  const gates = Array.from({ length: 5 }, () => Promise.withResolvers<void>());
  let begun = 0;
  let running = 0;
  let most = 0;
  const allBegun = Promise.withResolvers<void>();
  const working = work(
    async () => {
      const gate = gates[begun++];
      most = Math.max(most, ++running);
      if (begun === 3) allBegun.resolve();
      await gate?.promise;
      running--;
    },
    { concurrency: 3, max: 2 },
  );
  await allBegun.promise;
  expect(stub.to(LEASE)).toHaveLength(2);
  for (const gate of gates) gate.resolve();
  await stub.waitFor(LEASE, 4);
  stop.abort();
  expect((await working).done).toBe(5);
  expect(most).toBe(3);
});

describe("a stop", () => {
  test("lets handlers end, gives back what they have not begun, and takes no more", async () => {
    const { stub, stop, work } = start([lease("l1", "a", "b", "c")]);
    const begun = Promise.withResolvers<void>();
    const gate = Promise.withResolvers<void>();
    const working = work(async () => {
      begun.resolve();
      await gate.promise;
    });
    await begun.promise;
    stop.abort();
    await stub.waitFor(RELEASE, 1);
    expect(stub.to(RELEASE)[0]?.body).toEqual({ lease_id: "l1", event_ids: ["b", "c"], delay_seconds: 0 });
    gate.resolve();
    expect(await working).toEqual({ done: 1, failed: 0, returned: 2 });
    expect(idsOf(stub.to(ACK))).toEqual(["a"]);
    expect(stub.to(LEASE)).toHaveLength(1);
  });

  test("ends a long poll at once", async () => {
    const { stub, stop, work } = start([nothing]);
    const working = work(() => {});
    await stub.waitFor(LEASE, 1);
    stop.abort();
    expect(await working).toEqual({ done: 0, failed: 0, returned: 0 });
  });

  test("before the start is a worker that does nothing", async () => {
    const { stub, stop, work } = start([lease("l1", "a")]);
    stop.abort();
    expect((await work(() => {})).done).toBe(0);
    expect(stub.asked).toHaveLength(0);
  });
});

describe("a lease", () => {
  test("is extended at half its time while a handler runs, and no longer", async () => {
    const { stub, stop, work } = start([lease("l1", "a")]);
    const gate = Promise.withResolvers<void>();
    const working = work(() => gate.promise, { leaseSeconds: 1 });
    await stub.waitFor(EXTEND, 2);
    gate.resolve();
    await stub.waitFor(ACK, 1);
    stop.abort();
    await working;
    expect(stub.to(EXTEND).every(({ body }) => body.lease_id === "l1" && body.lease_seconds === 1)).toBe(
      true,
    );
    expect(stub.to(EXTEND)).toHaveLength(2);
  });

  test("of which another consumer has events by now loses those alone", async () => {
    const { stub, stop, work, errors } = start([lease("l1", "a", "b", "c")], {
      [`POST ${EXTEND}`]: inTurn(
        () => problem(409, "lease_expired", { extended: 1, lost: ["a", "c"] }),
        counts,
      ),
    });
    const working = work(
      ({ id }, { signal }) =>
        new Promise<void>((resolve) => {
          if (id === "a") signal.addEventListener("abort", () => resolve());
          else resolve();
        }),
      { leaseSeconds: 1 },
    );
    await stub.waitFor(ACK, 1);
    stop.abort();
    expect(await working).toEqual({ done: 1, failed: 0, returned: 2 });
    expect(idsOf(stub.to(ACK))).toEqual(["b"]);
    expect(stub.to(RELEASE)).toHaveLength(0);
    expect(errors).toMatchObject([{ code: "lease_expired" }]);
  });

  test("of which an event was released before goes on without a word", async () => {
    const { stub, stop, work, errors } = start([lease("l1", "a", "b")], {
      [`POST ${EXTEND}`]: () => problem(409, "lease_expired", { extended: 1, lost: ["a"] }),
    });
    const gate = Promise.withResolvers<void>();
    const working = work(({ id }) => (id === "a" ? Promise.reject(new Error("no a")) : gate.promise), {
      leaseSeconds: 1,
    });
    // The second is due only if the first counted as done.
    await stub.waitFor(EXTEND, 2);
    gate.resolve();
    await stub.waitFor(ACK, 1);
    stop.abort();
    expect(await working).toEqual({ done: 1, failed: 1, returned: 0 });
    expect(errors.map(String)).toEqual(["Error: no a"]);
  });

  test("that the server does not know any more is lost as a whole", async () => {
    const { stub, stop, work } = start([lease("l1", "a", "b")], {
      [`POST ${EXTEND}`]: () => problem(404, "not_found"),
    });
    const working = work(
      (_event, { signal }) =>
        new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve())),
      { leaseSeconds: 1 },
    );
    await stub.waitFor(LEASE, 2);
    stop.abort();
    expect(await working).toEqual({ done: 0, failed: 0, returned: 2 });
    expect(stub.to(ACK)).toHaveLength(0);
  });

  test("whose extension does not get through is extended again soon", async () => {
    const { stub, stop, work, errors } = start([lease("l1", "a")], {
      [`POST ${EXTEND}`]: inTurn(() => problem(500, "internal_error"), counts),
    });
    const gate = Promise.withResolvers<void>();
    const working = work(() => gate.promise, { leaseSeconds: 1 });
    await stub.waitFor(EXTEND, 2);
    gate.resolve();
    await stub.waitFor(ACK, 1);
    stop.abort();
    expect((await working).done).toBe(1);
    expect(errors).toMatchObject([{ code: "internal_error" }]);
  });

  test("that could not be extended in its time is not begun on", async () => {
    const { stub, stop, work } = start([lease("l1", "a", "b")], {
      [`POST ${EXTEND}`]: () => problem(500, "internal_error"),
    });
    const handled: string[] = [];
    const working = work(
      async ({ id }) => {
        handled.push(id);
        // The first extension is due at 0.5 s, then one each 0.1 s: the sixth is after the lease has run out.
        await stub.waitFor(EXTEND, 7);
      },
      { leaseSeconds: 1 },
    );
    await stub.waitFor(LEASE, 2);
    stop.abort();
    expect(await working).toMatchObject({ done: 1, returned: 1 });
    expect(handled).toEqual(["a"]);
  });
});

describe("a server that has no time", () => {
  test("is asked again, and the worker tells", async () => {
    const { stub, stop, work, errors } = start([
      () => problem(503, "not_ready"),
      () => Response.json({ lease_id: null, leased_until: null, events: [] }),
      lease("l1", "a"),
    ]);
    const working = work(() => {});
    await stub.waitFor(ACK, 1);
    stop.abort();
    expect((await working).done).toBe(1);
    expect(errors).toMatchObject([{ code: "not_ready" }]);
  });

  test("or is not there, does not end the worker, and does not hold up its stop", async () => {
    const stop = new AbortController();
    const triggers = new Triggers({ url: refusingUrl(), key: "k", retriesMax: 0 });
    const onError = (error: unknown) => {
      expect(error).toMatchObject({ code: "unreachable" });
      stop.abort();
    };
    expect(await triggers.work(() => {}, { signal: stop.signal, onError })).toMatchObject({ done: 0 });
  });

  test("to take an acknowledgement is told, and the event comes back by itself", async () => {
    const { stub, stop, work, errors } = start([lease("l1", "a")], {
      [`POST ${ACK}`]: () => problem(500, "internal_error"),
    });
    const working = work(() => {});
    await stub.waitFor(LEASE, 2);
    stop.abort();
    expect((await working).done).toBe(1);
    expect(errors).toMatchObject([{ code: "internal_error" }]);
  });
});

describe("a callback that throws ends the worker, with nothing left in hand, and what it threw is told:", () => {
  const thrown = new Error("a mistake of the caller");
  const fail = () => {
    throw thrown;
  };

  test("onError, of a handler", async () => {
    const { stub, work } = start([lease("l1", "a", "b")]);
    expect(await work(() => Promise.reject(new Error("no a")), { onError: fail }).catch((one) => one)).toBe(
      thrown,
    );
    expect(idsOf(stub.to(RELEASE)).toSorted()).toEqual(["a", "b"]);
    expect(stub.to(LEASE)).toHaveLength(1);
  });

  test("onError, of a call", async () => {
    const { stub, work } = start([lease("l1", "a")], {
      [`POST ${ACK}`]: () => problem(500, "internal_error"),
    });
    expect(await work(() => {}, { onError: fail, concurrency: 1 }).catch((one) => one)).toBe(thrown);
    expect(stub.to(ACK)).toHaveLength(1);
  });

  test("releaseDelaySeconds", async () => {
    const { stub, work, errors } = start([lease("l1", "a", "b")]);
    const working = work(() => Promise.reject(new Error("no a")), { releaseDelaySeconds: fail });
    expect(await working.catch((one) => one)).toBe(thrown);
    expect(stub.to(RELEASE).map(({ body }) => body.delay_seconds)).toEqual([0]);
    expect(idsOf(stub.to(RELEASE))).toEqual(["a", "b"]);
    expect(errors.map(String)).toEqual(["Error: no a"]);
  });
});

test.each([0, Number.NaN, -1])("a worker of %p handlers is refused", async (concurrency) => {
  const { stub, work } = start([lease("l1", "a")]);
  expect(await work(() => {}, { concurrency }).catch((error) => error)).toBeInstanceOf(RangeError);
  expect(stub.asked).toHaveLength(0);
});

test("a server that refuses for good ends the worker, with nothing left in hand", async () => {
  const { stub, work } = start([lease("l1", "a", "b"), () => problem(401, "expired_api_key")]);
  const handled: string[] = [];
  const error = await work(({ id }) => handled.push(id), { concurrency: 3 }).catch((thrown) => thrown);
  expect(error).toMatchObject({ status: 401, code: "expired_api_key" });
  expect(handled).toEqual(["a", "b"]);
  expect(idsOf(stub.to(ACK))).toEqual(["a", "b"]);
});
