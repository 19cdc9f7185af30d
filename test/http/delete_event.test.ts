// DELETE /api/events/:id: gone from every read, and not sent any more.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { eventually, eventWithStatus } from "../help/eventually.ts";
import { answer, type Receiver, startReceiver } from "../help/receiver.ts";
import { type Api, TestServer } from "../help/server.ts";

let server: TestServer;
let receiver: Receiver;

beforeAll(async () => {
  receiver = startReceiver();
  receiver.on("/failing", answer(500));
  server = await TestServer.start({ env: { WEBHOOK_ALLOW_PRIVATE: "true", RETRY_SCHEDULE: "1h" } });
});
afterAll(async () => {
  await server?.stop();
  receiver?.stop();
});

const send = async (api: Api, more: object = {}): Promise<string> =>
  (await api.post("/api/events", { type: "e", payload: 1, ...more })).body.id;
const remove = (api: Api, id: string) => api.send("DELETE", `/api/events/${id}`);

test("a deleted event is gone from every read, and deleting it again finds nothing", async () => {
  const { api } = await server.organization();
  await api.post("/api/endpoints", { url: `${receiver.url}/failing` });
  const [kept, id] = [await send(api), await send(api)];
  await eventWithStatus(api, id, "failed");
  const { deliveries } = (await api.get(`/api/deliveries?event_id=${id}`)).body;
  const deleted = await remove(api, id);
  expect([deleted.status, deleted.text]).toEqual([204, ""]);
  for (const path of [
    `/api/events/${id}`,
    `/api/events/${id}/explain`,
    `/api/deliveries/${deliveries[0].id}`,
  ]) {
    const { status, body } = await api.get(path);
    expect([path, status, body.code]).toEqual([path, 404, "not_found"]);
  }
  for (const query of ["", "?status=undelivered", "?status=failed", "?order=asc", "?type=e"]) {
    const { events } = (await api.get(`/api/inbox${query}`)).body;
    expect(events.map((event: { id: string }) => event.id)).toEqual([kept]);
  }
  expect((await api.get(`/api/deliveries?event_id=${id}`)).body.deliveries).toEqual([]);
  const all = (await api.get("/api/deliveries")).body.deliveries;
  expect(all.map((one: { event_id: string }) => one.event_id)).toEqual([kept]);
  expect((await api.post(`/api/ack/${id}`)).status).toBe(404);
  expect((await api.post(`/api/deliveries/${deliveries[0].id}/retry`)).status).toBe(404);
  expect((await remove(api, id)).status).toBe(404);
});

test("what waits of a deleted event is not sent any more", async () => {
  const { api } = await server.organization();
  const made = (await api.post("/api/endpoints", { url: `${receiver.url}/taking` })).body;
  await api.post(`/api/endpoints/${made.id}/disable`);
  const [id, kept] = [await send(api), await send(api)];
  await remove(api, id);
  await api.post(`/api/endpoints/${made.id}/enable`);
  await eventWithStatus(api, kept, "delivered");
  const sent = receiver.received.filter(({ path }) => path === "/taking");
  expect(sent.map((one) => one.header("webhook-id"))).toEqual([kept]);
});

test("the dedup_id of a deleted event stays taken, and names it", async () => {
  const { api } = await server.organization();
  const id = await send(api, { dedup_id: "once" });
  await remove(api, id);
  const again = await api.post("/api/events", { type: "e", payload: 1, dedup_id: "once" });
  expect([again.status, again.body.event_id]).toEqual([409, id]);
});

test("an acknowledged and a delivered event can be deleted", async () => {
  const { api } = await server.organization();
  await api.post("/api/endpoints", { url: `${receiver.url}/other` });
  const [acked, delivered] = [await send(api), await send(api)];
  await api.post(`/api/ack/${acked}`);
  await eventWithStatus(api, delivered, "delivered");
  for (const id of [acked, delivered]) expect((await remove(api, id)).status).toBe(204);
  expect((await api.get("/api/inbox")).body.events).toEqual([]);
});

test("deleting needs the scope manage, and finds nothing of another organization", async () => {
  const { api } = await server.organization();
  const id = await send(api);
  const { body } = await api.post("/api/keys", { scopes: ["publish", "consume"] });
  const refused = await remove(server.api(body.api_key), id);
  expect([refused.status, refused.body.required_scope]).toEqual([403, "manage"]);
  const stranger = await server.organization({ name: "Stranger" });
  for (const wrong of [id, "01a1fd3a-0340-7000-8f4e-3b8d1c6a9e52", "x", "%00"]) {
    const { status, body } = await remove(stranger.api, wrong);
    expect([status, body.code]).toEqual([404, "not_found"]);
  }
  expect((await api.get(`/api/events/${id}`)).status).toBe(200);
  expect(server.output).not.toContain(`"event_id":"${id}"`);
});

test("a deleted event is not sent again by a replay", async () => {
  const { api } = await server.organization();
  const [gone, kept] = [await send(api), await send(api)];
  const made = (await api.post("/api/endpoints", { url: `${receiver.url}/replayed` })).body;
  await remove(api, gone);
  const replay = await api.post(`/api/endpoints/${made.id}/replay`, {
    since: "2026-01-01T00:00:00Z",
    missing_only: true,
  });
  const { body } = await eventually(
    () => api.get(`/api/replays/${replay.body.id}`),
    (one) => one.body.status === "completed",
  );
  expect(body.queued).toBe(1);
  await eventWithStatus(api, kept, "delivered");
  expect(receiver.received.filter(({ path }) => path === "/replayed")).toHaveLength(1);
});

test("many are deleted at once, and ids that are not there are named", async () => {
  const { api } = await server.organization();
  const stranger = await server.organization({ name: "Stranger" });
  const [one, two, kept, theirs] = [
    await send(api),
    await send(api),
    await send(api),
    await send(stranger.api),
  ];
  const strange = [theirs, "01a1fd3a-0340-7000-8f4e-3b8d1c6a9e52", "x", ""];
  const deleted = await api.post("/api/events/delete", { event_ids: [one, ...strange, two, one] });
  expect([deleted.status, deleted.body]).toEqual([200, { deleted: 2, not_found: strange }]);
  const { events } = (await api.get("/api/inbox")).body;
  expect(events.map((event: { id: string }) => event.id)).toEqual([kept]);
  const again = await api.post("/api/events/delete", { event_ids: [one, two] });
  expect(again.body).toEqual({ deleted: 0, not_found: [one, two] });
  expect((await stranger.api.get(`/api/events/${theirs}`)).status).toBe(200);
});

test("deleting many needs the scope manage and 1 to 1 000 ids", async () => {
  const { api } = await server.organization();
  const { body } = await api.post("/api/keys", { scopes: ["publish", "consume"] });
  const refused = await server.api(body.api_key).post("/api/events/delete", { event_ids: ["x"] });
  expect([refused.status, refused.body.required_scope]).toEqual([403, "manage"]);
  for (const event_ids of [[], Array.from({ length: 1_001 }, () => "x"), "x", [1]]) {
    expect((await api.post("/api/events/delete", { event_ids })).status).toBe(422);
  }
});
