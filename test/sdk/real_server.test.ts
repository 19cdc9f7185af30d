// The client with the real server: what it sends, reads, leases and follows is what is there.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Triggers } from "../../src/sdk/client.ts";
import { verifyWebhook, type Webhook } from "../../src/sdk/verify.ts";
import { startReceiver } from "../help/receiver.ts";
import { TestServer } from "../help/server.ts";

let server: TestServer;
const env = { WEBHOOK_ALLOW_PRIVATE: "true" };
beforeAll(async () => {
  server = await TestServer.start({ env });
});
afterAll(() => server?.stop());

type Events = { "order.created": unknown; "invoice.paid": { n: number } };

/** An organization of its own for each test. */
async function start(tier = "enterprise") {
  const { key, api } = await server.organization({ tier });
  return { key, api, triggers: new Triggers<Events>({ url: server.url, key }) };
}

test("an event and its payload's text come back as they were sent", async () => {
  const { triggers } = await start();
  const payloadText = '{"z":1.0,"a":9007199254740993,"e":"\\u00e9"}';
  const sent = await triggers.send({ type: "order.created", payloadText, dedupId: "o-1" });
  expect(sent.status).toBe("accepted");
  expect(await triggers.send({ type: "order.created", payload: 0, dedupId: "o-1" })).toEqual({
    id: sent.id,
    status: "duplicate",
    createdAt: null,
  });
  const events = await Array.fromAsync(triggers.inbox());
  expect(events).toMatchObject([
    { id: sent.id, dedupId: "o-1", payloadText, createdAt: sent.createdAt as string },
  ]);
  expect(await triggers.ack(sent.id, "nobody")).toEqual({ acknowledged: 1, notFound: ["nobody"] });
  expect(await Array.fromAsync(triggers.inbox({ status: "undelivered" }))).toEqual([]);
});

test("a batch of any size is in the inbox in its order, and again it is nothing but duplicates", async () => {
  const { triggers } = await start();
  const events = Array.from({ length: 2_300 }, (_, n) => ({
    type: "invoice.paid" as const,
    payload: { n },
    dedupId: `i-${n}`,
  }));
  const bad = { type: "no type" as "invoice.paid", payload: { n: -1 } };
  const first = await triggers.sendBatch([...events, bad]);
  expect(first).toMatchObject({ accepted: 2_300, duplicates: 0, rejected: 1 });
  expect(first.results.at(-1)).toMatchObject({ status: "rejected", code: "validation_failed" });
  const again = await triggers.sendBatch(events);
  expect(again).toMatchObject({ accepted: 0, duplicates: 2_300 });
  expect(again.results.map((one) => "id" in one && one.id)).toEqual(
    first.results.slice(0, -1).map((one) => "id" in one && one.id),
  );
  const read = await Array.fromAsync(triggers.inbox({ order: "asc", type: "invoice.*", pageSize: 500 }));
  expect(read.map(({ payload }) => payload)).toEqual(events.map(({ payload }) => payload));
});

test("a batch that the rate limit has no room for goes in the part that it has room for, and then waits", async () => {
  const { key } = await start("pro");
  const waits: number[] = [];
  const stop = new AbortController();
  const triggers = new Triggers({
    url: server.url,
    key,
    onRetry: (error, waitMs) => {
      expect(error).toMatchObject({ status: 429, code: "rate_limited" });
      waits.push(waitMs);
      // The rest would fit in a minute.
      if (waitMs > 0) stop.abort(new Error("enough"));
    },
  });
  const events = Array.from({ length: 600 }, (_, n) => ({ type: "t", payload: n, dedupId: `d-${n}` }));
  expect((await triggers.sendBatch(events)).accepted).toBe(600);
  const more = events.map((event) => ({ ...event, dedupId: `more-${event.dedupId}` }));
  const sending = triggers.sendBatch(more, { signal: stop.signal });
  expect(await sending.catch((error) => error.message)).toBe("enough");
  expect(waits[0]).toBe(0);
  expect(waits[1]).toBeWithin(30_000, 80_000);
  expect(await Array.fromAsync(triggers.inbox({ pageSize: 1_000 }))).toHaveLength(1_000);
});

describe("leases", () => {
  test("are shared by two workers, each event to one of them; what fails comes back", async () => {
    const { triggers } = await start();
    const stop = new AbortController();
    const seen = new Map<number, number>();
    const failed: unknown[] = [];
    let done = 0;
    const worker = () =>
      triggers.work(
        ({ payload, leaseCount }) => {
          const { n } = payload as { n: number };
          seen.set(n, (seen.get(n) ?? 0) + 1);
          if (n === 7 && leaseCount === 1) throw new Error("not now");
          if (++done === 120) stop.abort();
        },
        {
          signal: stop.signal,
          max: 5,
          concurrency: 3,
          releaseDelaySeconds: () => 0,
          onError: (error) => failed.push(error),
        },
      );
    const working = [worker(), worker()];
    // They wait by now; each batch wakes them.
    for (let batch = 0; batch < 3; batch++)
      await triggers.sendBatch(
        Array.from({ length: 40 }, (_, n) => ({
          type: "invoice.paid" as const,
          payload: { n: batch * 40 + n },
        })),
      );
    const summaries = await Promise.all(working);
    expect(summaries.reduce((sum, one) => sum + one.done, 0)).toBe(120);
    expect(failed.map(String)).toEqual(["Error: not now"]);
    expect([...seen].filter(([, count]) => count > 1)).toEqual([[7, 2]]);
    expect(await Array.fromAsync(triggers.inbox({ status: "undelivered" }))).toEqual([]);
  });

  test("are given back at a stop, and can be had at once", async () => {
    const { triggers } = await start();
    await triggers.sendBatch([1, 2, 3].map((n) => ({ type: "invoice.paid" as const, payload: { n } })));
    const stop = new AbortController();
    const summary = await triggers.work(() => stop.abort(), { signal: stop.signal });
    expect(summary).toEqual({ done: 1, failed: 0, returned: 2 });
    const { id, events } = await triggers.lease();
    expect(events.map(({ payload, leaseCount }) => [payload, leaseCount])).toEqual([
      [{ n: 2 }, 2],
      [{ n: 3 }, 2],
    ]);
    expect(await triggers.extendLease(id ?? "", 60)).toBe(2);
    expect(await triggers.releaseLease(id ?? "", [events[0]?.id ?? ""])).toBe(1);
    expect(await triggers.ackLease(id ?? "", [events[1]?.id ?? ""])).toBe(1);
    expect((await triggers.lease()).events).toHaveLength(1);
    expect(await triggers.lease()).toEqual({ id: null, leasedUntil: null, events: [] });
  });

  test("of which one event failed are extended for the other, without a word and without taking it back", async () => {
    const { triggers } = await start();
    await triggers.sendBatch([1, 2].map((n) => ({ type: "invoice.paid" as const, payload: { n } })));
    const stop = new AbortController();
    const errors: string[] = [];
    const failed = Promise.withResolvers<void>();
    const gate = Promise.withResolvers<void>();
    const working = triggers.work(
      async ({ payload }) => {
        if ((payload as { n: number }).n === 1) return await gate.promise;
        throw new Error("not now");
      },
      {
        concurrency: 2,
        leaseSeconds: 1,
        // Longer than the lease, which so is extended meanwhile.
        releaseDelaySeconds: () => 2,
        signal: stop.signal,
        onError: (error) => {
          errors.push(String(error));
          failed.resolve();
        },
      },
    );
    await failed.promise;
    // No more is leased, but the handler goes on: what failed is for another.
    stop.abort();
    const { events } = await triggers.lease({ waitSeconds: 10 });
    expect(events).toMatchObject([{ payload: { n: 2 }, leaseCount: 2 }]);
    gate.resolve();
    expect(await working).toEqual({ done: 1, failed: 1, returned: 0 });
    expect(errors).toEqual(["Error: not now"]);
  });

  test("given back at a stop stay so while a handler goes on past the time of its lease", async () => {
    const { key, triggers } = await start();
    await triggers.sendBatch([1, 2].map((n) => ({ type: "invoice.paid" as const, payload: { n } })));
    const stop = new AbortController();
    const extended = Promise.withResolvers<void>();
    const gate = Promise.withResolvers<void>();
    const watched = new Triggers({
      url: server.url,
      key: key,
      fetch: async (url, init) => {
        const answer = await fetch(url, init);
        if (url.endsWith("/extend")) extended.resolve();
        return answer;
      },
    });
    const working = watched.work(
      async () => {
        stop.abort();
        await gate.promise;
      },
      { leaseSeconds: 1, signal: stop.signal },
    );
    await extended.promise;
    expect((await triggers.lease()).events).toMatchObject([{ payload: { n: 2 }, leaseCount: 2 }]);
    gate.resolve();
    expect(await working).toEqual({ done: 1, failed: 0, returned: 1 });
  });

  test("are held for as long as a handler runs, past their own time", async () => {
    const { triggers } = await start();
    await triggers.send({ type: "invoice.paid", payload: { n: 1 } });
    const stop = new AbortController();
    const began = Promise.withResolvers<void>();
    const gate = Promise.withResolvers<void>();
    const working = triggers.work(
      async () => {
        began.resolve();
        await gate.promise;
      },
      { leaseSeconds: 1, signal: stop.signal },
    );
    await began.promise;
    // Longer than the lease: nobody gets it meanwhile.
    expect((await triggers.lease({ waitSeconds: 2 })).events).toEqual([]);
    gate.resolve();
    stop.abort();
    expect(await working).toEqual({ done: 1, failed: 0, returned: 0 });
    expect(await Array.fromAsync(triggers.inbox({ status: "delivered" }))).toHaveLength(1);
  });
});

describe("the stream", () => {
  test("tells each event once and in order, also over a restart of the server", async () => {
    const own = await TestServer.start({ env });
    const port = new URL(own.url).port;
    let running = own;
    const stop = new AbortController();
    try {
      const { key } = await own.organization();
      const triggers = new Triggers({ url: own.url, key });
      const sent: string[] = [];
      const send = async (count: number) => {
        const events = Array.from({ length: count }, (_, n) => ({ type: "t", payload: n }));
        const { results } = await triggers.sendBatch(events);
        sent.push(...results.map((one) => ("id" in one ? one.id : "none")));
      };
      await send(5);
      const seen: string[] = [];
      let onSeen = () => {};
      const until = (count: number) =>
        new Promise<void>((resolve) => {
          onSeen = () => void (seen.length >= count && resolve());
          onSeen();
        });
      const breaks: string[] = [];
      const following = (async () => {
        const options = { since: new Date(0), signal: stop.signal };
        const onReconnect = ({ code }: { code: string }) => breaks.push(code);
        for await (const { id } of triggers.stream({ ...options, onReconnect })) {
          seen.push(id);
          onSeen();
        }
      })();
      await until(5);
      await send(50);
      await until(55);
      for (const signal of ["SIGTERM", "SIGKILL"] as const) {
        await running.kill(signal);
        running = await TestServer.start({ dataDir: own.dataDir, env: { ...env, PORT: port } });
        // Whether the stream is back already or not.
        await send(50);
        await until(sent.length);
      }
      stop.abort();
      await following;
      expect(seen).toEqual(sent);
      expect(breaks.length).toBeGreaterThanOrEqual(2);
    } finally {
      stop.abort();
      await running.stop();
    }
  });
});

test("a webhook that the server sends is verified, before and after its secret is exchanged", async () => {
  const { api, triggers } = await start();
  const receiver = startReceiver();
  try {
    const endpoint = (await api.post("/api/endpoints", { url: receiver.url })).body;
    const verified = async (secret: string | string[]): Promise<Webhook> => {
      const { rawHeaders, body } = await receiver.next();
      const headers = Object.fromEntries(rawHeaders.map(([name, value]) => [name.toLowerCase(), value]));
      return await verifyWebhook({ secret, headers, body });
    };
    const payloadText = '{"n": 1.0}';
    const { id } = await triggers.send({ type: "order.created", payloadText });
    expect(await verified(endpoint.signing_secret)).toMatchObject({ id, type: "order.created", payloadText });
    const { signing_secret } = (await api.post(`/api/endpoints/${endpoint.id}/rotate-secret`)).body;
    for (const secret of [endpoint.signing_secret, signing_secret]) {
      const sent = await triggers.send({ type: "order.created", payloadText });
      expect((await verified(secret)).id).toBe(sent.id);
    }
  } finally {
    receiver.stop();
  }
});
