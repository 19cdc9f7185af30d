// deliver_at: an event that is stored now and shows itself later.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { eventWithStatus } from "../help/eventually.ts";
import { type Receiver, startReceiver } from "../help/receiver.ts";
import { type Answer, TestServer } from "../help/server.ts";
import { StreamReader } from "../help/sse.ts";

const DAY_MS = 24 * 60 * 60 * 1_000;

let server: TestServer;
let receiver: Receiver;

beforeAll(async () => {
  receiver = startReceiver();
  server = await TestServer.start({ env: { WEBHOOK_ALLOW_PRIVATE: "true" } });
});
afterAll(async () => {
  await server?.stop();
  receiver?.stop();
});

const inMs = (ms: number) => new Date(Date.now() + ms).toISOString();
const ids = (answer: Answer): string[] => answer.body.events.map((event: { id: string }) => event.id);

test("until its time an event is in no inbox, lease or webhook, and only its own path shows it", async () => {
  const { api } = await server.organization();
  await api.post("/api/endpoints", { url: `${receiver.url}/later` });
  const later = { type: "a", payload: 1, deliver_at: inMs(DAY_MS) };
  const single = await api.post("/api/events", later);
  const batch = await api.post("/api/events/batch", { events: [later, { type: "a", payload: 2 }] });
  expect([single.status, batch.body.accepted]).toEqual([202, 2]);
  const now = batch.body.results[1].id;
  await eventWithStatus(api, now, "delivered");
  expect(ids(await api.get("/api/inbox"))).toEqual([now]);
  expect(ids(await api.get("/api/inbox?status=pending"))).toEqual([]);
  expect(ids(await api.post("/api/inbox/lease"))).toEqual([]);
  const shown = await api.get(`/api/events/${single.body.id}`);
  expect([shown.status, shown.body.status]).toEqual([200, "pending"]);
  const sent = receiver.received.filter(({ path }) => path === "/later");
  expect(sent.map((one) => one.header("webhook-id"))).toEqual([now]);
});

test("at its time it appears to all who wait", async () => {
  const { api, key } = await server.organization();
  const stream = await StreamReader.open(`${server.url}/api/inbox/stream`, { "x-api-key": key });
  const page = api.get("/api/inbox?wait=30");
  const leased = api.post("/api/inbox/lease", { wait: 30 });
  const { body } = await api.post("/api/events", { type: "a", payload: 1, deliver_at: inMs(700) });
  expect(ids(await page)).toEqual([body.id]);
  expect(ids(await leased)).toEqual([body.id]);
  expect((await stream.take(1)).map(({ id }) => id)).toEqual([body.id]);
  stream.close();
});

test("at its time it is delivered, not before", async () => {
  const { api } = await server.organization();
  await api.post("/api/endpoints", { url: `${receiver.url}/due` });
  const deliver_at = inMs(700);
  const { body } = await api.post("/api/events", { type: "a", payload: 1, deliver_at });
  const { updated_at } = await eventWithStatus(api, body.id, "delivered");
  expect(updated_at >= deliver_at).toBe(true);
});

test("a time that has come means at once", async () => {
  const { api } = await server.organization();
  for (const deliver_at of ["2020-01-01T00:00:00Z", inMs(0), "2020-01-01T00:00:00.123456789+02:00"]) {
    const { body } = await api.post("/api/events", { type: "a", payload: 1, deliver_at });
    expect(ids(await api.get("/api/inbox?limit=1"))).toEqual([body.id]);
  }
});

test("a duplicate of one that has not come yet is one", async () => {
  const { api } = await server.organization();
  const event = { type: "a", payload: 1, dedup_id: "x", deliver_at: inMs(DAY_MS) };
  const first = await api.post("/api/events", event);
  const again = await api.post("/api/events", { ...event, deliver_at: undefined });
  expect([again.status, again.body.event_id]).toEqual([409, first.body.id]);
});

test.each([
  [inMs(90 * DAY_MS + 60_000)],
  ["tomorrow"],
  ["2026-11-21"],
  ["2026-02-30T00:00:00Z"],
  [1_800_000_000_000],
  [null],
])("%p is refused", async (deliver_at) => {
  const { api } = await server.organization();
  const refused = await api.post("/api/events", { type: "a", payload: 1, deliver_at });
  expect([refused.status, refused.body.errors[0].pointer]).toEqual([422, "/deliver_at"]);
  const { body } = await api.post("/api/events/batch", { events: [{ type: "a", payload: 1, deliver_at }] });
  expect(body.results[0]).toMatchObject({ status: "rejected", code: "validation_failed" });
});

test("90 days ahead is not too far", async () => {
  const { api } = await server.organization();
  const event = { type: "a", payload: 1, deliver_at: inMs(90 * DAY_MS - 1_000) };
  expect((await api.post("/api/events", event)).status).toBe(202);
});
