// GET /api/inbox?wait=: an empty page is answered when there is something, or at the end.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { gaugeIs } from "../help/gauge.ts";
import { type Api, TestServer } from "../help/server.ts";

let server: TestServer;

beforeAll(async () => {
  server = await TestServer.start();
});
afterAll(async () => {
  await server?.stop();
});

const send = async (api: Api, type: string): Promise<string> =>
  (await api.post("/api/events", { type, payload: 1 })).body.id;
const waiting = (api: Api, count: number) => gaugeIs(api, "waiting_calls", count);
const ids = (events: { id: string }[]) => events.map(({ id }) => id);

test("what is there is answered at once", async () => {
  const { api } = await server.organization();
  const id = await send(api, "a");
  expect(ids((await api.get("/api/inbox?wait=30")).body.events)).toEqual([id]);
});

test("an event that comes is answered to all who wait for it, and to nobody else", async () => {
  const [{ api }, other] = [await server.organization(), await server.organization({ name: "Other" })];
  const plain = api.get("/api/inbox?wait=30");
  const same = api.get("/api/inbox?wait=30");
  const typed = api.get("/api/inbox?wait=30&type=order.*&status=undelivered");
  const theirs = other.api.get("/api/inbox?wait=1");
  await waiting(api, 4);
  const first = await send(api, "invoice");
  for (const one of [await plain, await same]) expect(ids(one.body.events)).toEqual([first]);
  const second = await send(api, "order.created");
  expect(ids((await typed).body.events)).toEqual([second]);
  expect((await theirs).body).toEqual({ events: [], next_cursor: null, has_more: false });
});

test("a rare type is waited for in a full inbox, past pages that are empty before the end", async () => {
  const { api } = await server.organization();
  const events = Array.from({ length: 1_000 }, () => ({ type: "common", payload: 1 }));
  for (let n = 0; n < 21; n++) await api.post("/api/events/batch", { events });
  expect((await api.get("/api/inbox?type=rare")).body).toMatchObject({ events: [], has_more: true });
  const answers = ["asc", "desc"].map((order) => api.get(`/api/inbox?type=rare&order=${order}&wait=30`));
  await waiting(api, 2);
  const id = await send(api, "rare");
  for (const { body } of await Promise.all(answers)) expect(ids(body.events)).toEqual([id]);
});

test("at the end the page is empty", async () => {
  const { api } = await server.organization();
  await send(api, "a");
  const { status, body } = await api.get("/api/inbox?wait=1&type=b");
  expect([status, body]).toEqual([200, { events: [], next_cursor: null, has_more: false }]);
  await waiting(api, 0);
});

test("a client that goes away waits no more", async () => {
  const { api, key } = await server.organization();
  const abort = new AbortController();
  const gone = fetch(`${server.url}/api/inbox?wait=30`, {
    headers: { "x-api-key": key },
    signal: abort.signal,
  });
  await waiting(api, 1);
  abort.abort();
  await gone.catch(() => {});
  await waiting(api, 0);
});

test("a server that stops answers at once, with the empty page", async () => {
  const stopping = await TestServer.start();
  const { api } = await stopping.organization();
  const answers = [api.get("/api/inbox?wait=30"), api.post("/api/inbox/lease", { wait: 30 })];
  await waiting(api, 2);
  const code = stopping.stop();
  const [page, lease] = await Promise.all(answers);
  expect([page?.status, page?.body.events]).toEqual([200, []]);
  expect([lease?.status, lease?.body]).toEqual([200, { lease_id: null, leased_until: null, events: [] }]);
  expect(await code).toBe(0);
});

test.each(["31", "-1", "1.5", "x", ""])("wait=%s is refused", async (wait) => {
  const { api } = await server.organization();
  const { status, body } = await api.get(`/api/inbox?wait=${wait}`);
  expect([status, body.errors[0].pointer]).toEqual([422, "/wait"]);
});
