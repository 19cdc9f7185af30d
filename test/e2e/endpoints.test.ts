// What receivers see of endpoints: which events come, how they are signed, in which order, and what never comes.

import { afterEach, describe, expect, test } from "bun:test";
import { Webhook } from "standardwebhooks";
import { eventually, eventWithStatus } from "../help/eventually.ts";
import {
  answer,
  inTurn,
  type Program,
  type Received,
  type Receiver,
  refusingUrl,
  startReceiver,
} from "../help/receiver.ts";
import { type Api, TestServer } from "../help/server.ts";

const open: { stop(): unknown }[] = [];
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.stop();
});

async function start(env: Record<string, string> = {}): Promise<Api> {
  const server = await TestServer.start({
    env: { WEBHOOK_ALLOW_PRIVATE: "true", RETRY_SCHEDULE: "20ms,20ms", ...env },
  });
  open.push(server);
  return (await server.organization()).api;
}
function receiver(program?: Program): Receiver {
  const started = startReceiver();
  if (program) started.on("/", program);
  open.push(started);
  return started;
}
async function endpoint(api: Api, url: string, settings: object = {}) {
  const { status, body } = await api.post("/api/endpoints", { url, ...settings });
  expect(status).toBe(201);
  return { id: body.id as string, secret: body.signing_secret as string, path: `/api/endpoints/${body.id}` };
}
const send = async (api: Api, type = "e"): Promise<string> =>
  (await api.post("/api/events", { type, payload: { n: 1 } })).body.id;
const patch = (api: Api, path: string, body: object) =>
  api.send("PATCH", path, {
    body: JSON.stringify(body),
    headers: { "content-type": "application/json" },
  });
const idsOf = (to: Receiver) => to.received.map((one) => one.header("webhook-id"));
const typesOf = (to: Receiver) => to.received.map((one) => one.header("x-event-type"));
const signaturesOf = (got: Received) => (got.header("webhook-signature") ?? "").split(" ");
const verifies = (secret: string, got: Received): boolean => {
  try {
    new Webhook(secret).verify(got.body, Object.fromEntries(got.rawHeaders));
    return true;
  } catch {
    return false;
  }
};

describe("an endpoint", () => {
  test("gets the events that its patterns match, and no others", async () => {
    const api = await start();
    const [orders, created, prefix, all] = [receiver(), receiver(), receiver(), receiver()];
    await endpoint(api, orders.url, { event_types: ["order.*"] });
    await endpoint(api, created.url, { event_types: ["order.created", "invoice.created"] });
    await endpoint(api, prefix.url, { event_types: ["ord*", "order.*"] });
    await endpoint(api, all.url);
    const types = ["order.created", "order", "orders.x", "invoice.created", "invoice", "order.a.b", "last"];
    for (const type of types) await eventWithStatus(api, await send(api, type), "delivered");
    expect(typesOf(all)).toEqual(types);
    expect(typesOf(orders)).toEqual(["order.created", "order.a.b"]);
    expect(typesOf(created)).toEqual(["order.created", "invoice.created"]);
    expect(typesOf(prefix)).toEqual(["order.created", "order", "orders.x", "order.a.b"]);
  });

  test("gets each event under a secret of its own, and with headers of its own", async () => {
    const api = await start();
    const [one, two] = [receiver(), receiver()];
    const own = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
    const headers = { Authorization: "Bearer RECEIVER", "x-empty": "", "x-all": "~ !\t%" };
    const first = await endpoint(api, one.url, { signing_secret: own, headers });
    const second = await endpoint(api, two.url);
    const id = await send(api);
    const [atOne, atTwo] = [await one.next(), await two.next()];
    expect([verifies(own, atOne), verifies(second.secret, atOne)]).toEqual([true, false]);
    expect([verifies(second.secret, atTwo), verifies(own, atTwo)]).toEqual([true, false]);
    expect([first.secret, atOne.header("webhook-id"), atTwo.header("webhook-id")]).toEqual([own, id, id]);
    expect([atOne.header("authorization"), atOne.header("x-empty"), atOne.header("x-all")]).toEqual([
      "Bearer RECEIVER",
      "",
      "~ !\t%",
    ]);
    expect(atTwo.header("authorization")).toBeNull();
    expect(atOne.header("content-type")).toBe("application/json");
  });

  test("is sent its changed settings with the next attempt, also for what waits", async () => {
    const api = await start({ RETRY_SCHEDULE: "1h" });
    const before = receiver(answer(500));
    const after = receiver();
    const { path } = await endpoint(api, before.url, { headers: { "x-tenant": "old" } });
    const id = await send(api);
    const event = await eventWithStatus(api, id, "failed");
    await patch(api, path, { url: after.url, headers: { "x-tenant": "new" } });
    await api.post(`/api/deliveries/${event.deliveries[0].id}/retry`);
    const got = await after.next();
    expect([got.header("x-tenant"), got.header("webhook-id"), got.header("x-attempt")]).toEqual([
      "new",
      id,
      "2",
    ]);
    expect(before.received[0]?.header("x-tenant")).toBe("old");
  });

  test("gets nothing of what it was not meant for when its patterns change", async () => {
    const api = await start();
    const [to, all] = [receiver(), receiver()];
    const { path } = await endpoint(api, to.url, { event_types: ["a"] });
    await endpoint(api, all.url);
    await eventWithStatus(api, await send(api, "b"), "delivered");
    await patch(api, path, { event_types: ["b"] });
    for (const type of ["a", "b"]) await eventWithStatus(api, await send(api, type), "delivered");
    expect(typesOf(to)).toEqual(["b"]);
    expect(typesOf(all)).toEqual(["b", "a", "b"]);
  });

  test("is given no more time than its own timeout", async () => {
    const api = await start({ RETRY_SCHEDULE: "1h" });
    const to = receiver({ kind: "hang" });
    await endpoint(api, to.url, { timeout_ms: 100 });
    const event = await eventWithStatus(api, await send(api), "failed");
    expect(event.last_error).toContain("timeout");
  });

  test("has no more requests at once than it wants", async () => {
    const api = await start();
    const [hanging, taking] = [receiver({ kind: "hang" }), receiver()];
    await endpoint(api, hanging.url, { max_in_flight: 2 });
    await endpoint(api, taking.url);
    for (let i = 0; i < 20; i++) await send(api);
    await hanging.waitFor(2);
    await taking.waitFor(20);
    expect(hanging.received).toHaveLength(2);
  });

  test("has no more requests a second than it wants", async () => {
    const api = await start();
    const to = receiver();
    await endpoint(api, to.url, { rate_limit_per_second: 10 });
    for (let i = 0; i < 8; i++) await send(api);
    const got = await to.waitFor(8);
    const tookMs = (got.at(-1)?.receivedAtMs ?? 0) - (got[0]?.receivedAtMs ?? 0);
    // Seven tenths of a second; less a little, because the sender's clock is another one than ours.
    expect(tookMs).toBeGreaterThan(600);
  });

  test("that is ordered gets each event only after the one before was taken", async () => {
    const api = await start();
    const to = receiver(inTurn(answer(), answer(500), answer(500), answer(200, { delayMs: 30 }), answer()));
    await endpoint(api, to.url, { ordered: true, max_in_flight: 32 });
    const ids: string[] = [];
    for (let i = 0; i < 6; i++) ids.push(await send(api));
    await to.waitFor(8);
    const [first, second, ...rest] = ids;
    expect(idsOf(to)).toEqual([first, second, second, second, ...rest] as string[]);
  });

  test("that is ordered goes on after a dead letter", async () => {
    const api = await start({ RETRY_SCHEDULE: "20ms" });
    const to = receiver(inTurn(answer(500), answer(500), answer()));
    await endpoint(api, to.url, { ordered: true });
    const [dead, next] = [await send(api), await send(api)];
    await eventWithStatus(api, next, "delivered");
    expect((await api.get(`/api/events/${dead}`)).body.status).toBe("dead_letter");
    expect(idsOf(to)).toEqual([dead, dead, next]);
  });

  test("that is deleted gets nothing more", async () => {
    const api = await start({ RETRY_SCHEDULE: "20ms,20ms,20ms,20ms,20ms,20ms" });
    const [gone, stays] = [receiver(answer(500)), receiver()];
    const { path } = await endpoint(api, gone.url);
    await endpoint(api, stays.url);
    const before = await send(api);
    await gone.next();
    await api.send("DELETE", path);
    const count = gone.received.length;
    const event = (await api.get(`/api/events/${before}`)).body;
    expect(event.deliveries.map((one: { status: string }) => one.status)).toContain("cancelled");
    for (let i = 0; i < 20; i++) await send(api);
    await stays.waitFor(21);
    // One attempt may have been under way.
    expect(gone.received.length).toBeLessThanOrEqual(count + 1);
  });
});

describe("a disabled endpoint", () => {
  test("gets nothing, and all that was held when it is enabled, the oldest first", async () => {
    const api = await start();
    const [to, other] = [receiver(), receiver()];
    const { path } = await endpoint(api, to.url, { max_in_flight: 1 });
    await endpoint(api, other.url);
    await api.post(`${path}/disable`);
    const ids: string[] = [];
    for (let i = 0; i < 30; i++) ids.push(await send(api));
    await other.waitFor(30);
    expect(to.received).toHaveLength(0);
    for (const id of ids) expect((await api.get(`/api/events/${id}`)).body.status).toBe("pending");
    await api.post(`${path}/enable`);
    await to.waitFor(30);
    expect(idsOf(to)).toEqual(ids);
    for (const id of ids) await eventWithStatus(api, id, "delivered");
  });
});

describe("an exchanged secret", () => {
  test("signs beside the old one until the overlap ends", async () => {
    const api = await start();
    const to = receiver();
    const { path, secret: old } = await endpoint(api, to.url);
    const rotated = await api.post(`${path}/rotate-secret`, { overlap_seconds: 2 });
    const { signing_secret: fresh } = rotated.body;
    await send(api);
    const both = await to.next();
    expect(signaturesOf(both)).toHaveLength(2);
    expect([verifies(old, both), verifies(fresh, both)]).toEqual([true, true]);
    const after = await eventually(
      async () => {
        await send(api);
        return to.next();
      },
      (got) => signaturesOf(got).length === 1,
    );
    expect([verifies(old, after), verifies(fresh, after)]).toEqual([false, true]);
    expect(after.receivedAtMs).toBeGreaterThan(Date.parse(rotated.body.old_secret_expires_at) - 100);
  });

  test("signs alone when there is no overlap, and beside all that are still valid when it is exchanged twice", async () => {
    const api = await start();
    const to = receiver();
    const { path, secret: first } = await endpoint(api, to.url);
    const rotate = async (overlap_seconds: number): Promise<string> =>
      (await api.post(`${path}/rotate-secret`, { overlap_seconds })).body.signing_secret;
    const second = await rotate(0);
    await send(api);
    const alone = await to.next();
    expect([verifies(first, alone), verifies(second, alone)]).toEqual([false, true]);
    expect(signaturesOf(alone)).toHaveLength(1);
    const third = await rotate(3_600);
    const fourth = await rotate(3_600);
    await send(api);
    const several = await to.next();
    expect([second, third, fourth].map((one) => verifies(one, several))).toEqual([true, true, true]);
    expect(verifies(first, several)).toBe(false);
  });
});

describe("a test", () => {
  test("is a signed webhook.test with the endpoint's headers, is answered, and is stored nowhere", async () => {
    const api = await start();
    const to = receiver(answer(202));
    const { path, secret } = await endpoint(api, to.url, {
      event_types: ["order.*"],
      headers: { "x-tenant": "7" },
    });
    const told = await api.post(`${path}/test`);
    expect([told.status, told.body]).toEqual([
      200,
      { delivered: true, response_status: 202, duration_ms: expect.any(Number), error: null },
    ]);
    const got = await to.next();
    expect(got.header("x-event-type")).toBe("webhook.test");
    expect([got.header("x-tenant"), verifies(secret, got)]).toEqual(["7", true]);
    expect(JSON.parse(got.body)).toMatchObject({ id: got.header("webhook-id"), type: "webhook.test" });
    expect((await api.get("/api/inbox")).body.events).toEqual([]);
    expect((await api.get("/api/deliveries")).body.deliveries).toEqual([]);
    expect((await api.get(`/api/events/${got.header("webhook-id")}`)).status).toBe(404);
  });

  test("that fails says how, is tried once, and says nothing about the endpoint's health", async () => {
    const api = await start();
    const to = receiver(answer(503, { headers: { "retry-after": "3600" } }));
    const failing = await endpoint(api, to.url);
    const refusing = await endpoint(api, refusingUrl());
    const hanging = await endpoint(api, receiver({ kind: "hang" }).url, { timeout_ms: 100 });
    const results = [];
    for (const { path } of [failing, refusing, hanging]) {
      const { status, body } = await api.post(`${path}/test`);
      results.push([status, body.delivered, body.response_status, body.error]);
      expect((await api.get(path)).body).toMatchObject({
        consecutive_failures: 0,
        failing_since: null,
        paused_until: null,
        status: "active",
      });
    }
    expect(results).toEqual([
      [200, false, 503, expect.stringContaining("503")],
      [200, false, null, expect.stringContaining("connection_refused")],
      [200, false, null, expect.stringContaining("timeout")],
    ]);
    expect(to.received).toHaveLength(1);
  });

  test("goes to a disabled endpoint too, and enables nothing", async () => {
    const api = await start();
    const to = receiver(answer(410));
    const { path } = await endpoint(api, to.url);
    expect((await api.post(`${path}/test`)).body).toMatchObject({ delivered: false, response_status: 410 });
    expect((await api.get(path)).body.status).toBe("active");
    await api.post(`${path}/disable`);
    to.on("/", answer());
    expect((await api.post(`${path}/test`)).body).toMatchObject({ delivered: true });
    expect((await api.get(path)).body.status).toBe("disabled");
  });

  test("is refused while too many of the endpoint are under way", async () => {
    const api = await start();
    const to = receiver({ kind: "hang" });
    const { path } = await endpoint(api, to.url);
    const running = [api.post(`${path}/test`), api.post(`${path}/test`)];
    await to.waitFor(2);
    const busy = await api.post(`${path}/test`);
    expect([busy.status, busy.body.code, busy.headers.get("retry-after")]).toEqual([
      429,
      "too_many_tests",
      "1",
    ]);
    to.hangUp();
    for (const { status, body } of await Promise.all(running)) {
      expect([status, body.delivered]).toEqual([200, false]);
    }
    to.on("/", answer());
    expect((await api.post(`${path}/test`)).body).toMatchObject({ delivered: true });
  });
});

describe("sending again", () => {
  test("by a retry has the same webhook-id and the next number of attempt", async () => {
    const api = await start({ RETRY_SCHEDULE: "20ms" });
    const to = receiver(answer(500));
    await endpoint(api, to.url);
    const id = await send(api);
    const event = await eventWithStatus(api, id, "dead_letter");
    to.on("/", answer());
    await api.post(`/api/deliveries/${event.deliveries[0].id}/retry`);
    await eventWithStatus(api, id, "delivered");
    expect(idsOf(to)).toEqual([id, id, id]);
    expect(to.received.map((one) => one.header("x-attempt"))).toEqual(["1", "2", "3"]);
    expect(new Set(to.received.map((one) => one.body)).size).toBe(1);
  });

  test("by a replay reaches one endpoint alone, and each event once", async () => {
    const api = await start({ RETRY_SCHEDULE: "20ms" });
    const [to, other] = [receiver(answer(500)), receiver()];
    const { path } = await endpoint(api, to.url);
    await endpoint(api, other.url);
    const ids: string[] = [];
    for (let i = 0; i < 5; i++) ids.push(await send(api));
    for (const id of ids) await eventWithStatus(api, id, "dead_letter");
    to.on("/", answer());
    await api.post(`${path}/enable`);
    const before = to.received.length;
    await api.post(`${path}/replay`, { since: "2026-01-01T00:00:00Z" });
    for (const id of ids) await eventWithStatus(api, id, "delivered");
    expect(idsOf(to).slice(before).sort()).toEqual(ids.toSorted());
    expect(other.received).toHaveLength(5);
  });
});
