// GET /api/events/:id/explain: every reason, brought about from outside.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { eventually, eventWithStatus } from "../help/eventually.ts";
import { answer, type Receiver, startReceiver } from "../help/receiver.ts";
import { type Api, TestServer } from "../help/server.ts";

let server: TestServer;
let receiver: Receiver;

beforeAll(async () => {
  receiver = startReceiver();
  receiver.on("/failing", answer(500));
  receiver.on("/gone", answer(410));
  receiver.on("/busy", answer(429, { headers: { "retry-after": "3600" } }));
  server = await TestServer.start({ env: { WEBHOOK_ALLOW_PRIVATE: "true", RETRY_SCHEDULE: "1h" } });
});
afterAll(async () => {
  await server?.stop();
  receiver?.stop();
});

async function endpoint(api: Api, path: string, settings: object = {}): Promise<string> {
  const { status, body } = await api.post("/api/endpoints", { url: receiver.url + path, ...settings });
  expect(status).toBe(201);
  return body.id;
}
const send = async (api: Api, type = "order.created"): Promise<string> =>
  (await api.post("/api/events", { type, payload: 1 })).body.id;
const explain = async (api: Api, id: string) => (await api.get(`/api/events/${id}/explain`)).body;
const patch = (api: Api, id: string, body: object) =>
  api.send("PATCH", `/api/endpoints/${id}`, {
    body: JSON.stringify(body),
    headers: { "content-type": "application/json" },
  });

/** What is told of the only endpoint, once it is for this reason. */
async function explained(api: Api, eventId: string, reason: string) {
  const { endpoints } = await eventually(
    () => explain(api, eventId),
    (told) => told.endpoints[0].reason === reason,
  );
  expect(endpoints).toHaveLength(1);
  return endpoints[0];
}

describe("an event", () => {
  test("of an organization without endpoints says so", async () => {
    const { api } = await server.organization();
    const id = await send(api);
    expect(await explain(api, id)).toEqual({
      event_id: id,
      type: "order.created",
      status: "pending",
      detail: expect.stringMatching(/no endpoints.*POST \/api\/endpoints.*inbox/),
      endpoints: [],
    });
    await api.post(`/api/ack/${id}`);
    expect(await explain(api, id)).toMatchObject({
      status: "delivered",
      detail: expect.stringMatching(/^A consumer acknowledged it at .*no endpoints/),
    });
  });

  test("that no pattern matches names the patterns", async () => {
    const { api } = await server.organization();
    const endpointId = await endpoint(api, "/taking", { event_types: ["invoice.*", "order"] });
    const id = await send(api);
    expect(await explain(api, id)).toEqual({
      event_id: id,
      type: "order.created",
      status: "pending",
      detail: expect.stringMatching(/^No endpoint .* order\.created.*inbox/),
      endpoints: [
        {
          endpoint_id: endpointId,
          webhook_url: `${receiver.url}/taking`,
          matched: false,
          reason: "type_not_matched",
          detail: expect.stringContaining("invoice.*, order"),
          status: null,
          attempts: 0,
          next_attempt_at: null,
        },
      ],
    });
  });

  test("from before an endpoint was made, or changed, is told how to be sent", async () => {
    const { api } = await server.organization();
    const changed = await endpoint(api, "/taking", { event_types: ["other"] });
    const id = await send(api);
    await patch(api, changed, { event_types: ["order.*"] });
    const later = await endpoint(api, "/taking");
    const { detail, endpoints } = await explain(api, id);
    expect(endpoints).toMatchObject([
      { endpoint_id: changed, matched: false, reason: "changed_later" },
      { endpoint_id: later, matched: false, reason: "created_later" },
    ]);
    for (const one of endpoints) expect(one.detail).toContain("missing_only");
    expect(detail).toContain("made or changed after");
  });

  test("that was delivered says by which attempt, also when the endpoint is deleted", async () => {
    const { api } = await server.organization();
    const endpointId = await endpoint(api, "/taking");
    const id = await send(api);
    const expected = {
      endpoint_id: endpointId,
      matched: true,
      status: "delivered",
      attempts: 1,
      next_attempt_at: null,
      detail: "It was delivered by attempt 1; the endpoint answered 200.",
    };
    expect(await explained(api, id, "delivered")).toMatchObject(expected);
    await api.send("DELETE", `/api/endpoints/${endpointId}`);
    expect(await explained(api, id, "delivered")).toMatchObject(expected);
    expect((await explain(api, id)).detail).toBe("It is meant for 1 of 1 endpoints: delivered to 1.");
  });

  test("that failed once says when it is tried again, and why it failed", async () => {
    const { api } = await server.organization();
    await endpoint(api, "/failing");
    const id = await send(api);
    const told = await explained(api, id, "retry_scheduled");
    expect(told).toMatchObject({ matched: true, status: "failed", attempts: 1 });
    expect(told.detail).toContain("Attempt 2");
    expect(told.detail).toContain("500");
    expect(told.detail).toContain(told.next_attempt_at);
    expect(Date.parse(told.next_attempt_at)).toBeGreaterThan(Date.now());
  });

  test("whose endpoint asked to wait says until when", async () => {
    const { api } = await server.organization();
    const endpointId = await endpoint(api, "/busy");
    await eventWithStatus(api, await send(api), "failed");
    const id = await send(api);
    const told = await explained(api, id, "paused");
    expect(told).toMatchObject({ status: "pending", attempts: 0 });
    const { paused_until, consecutive_failures } = (await api.get(`/api/endpoints/${endpointId}`)).body;
    expect([told.next_attempt_at, consecutive_failures]).toEqual([paused_until, 1]);
    expect(told.detail).toContain(paused_until);
  });

  test("whose endpoint failed ten times in a row says that it is being probed", async () => {
    const { api } = await server.organization();
    const endpointId = await endpoint(api, "/failing");
    for (let i = 0; i < 10; i++) await send(api);
    await eventually(
      () => api.get(`/api/endpoints/${endpointId}`),
      ({ body }) => body.consecutive_failures >= 10,
    );
    const told = await explained(api, await send(api), "breaker_open");
    expect(told.detail).toMatch(/The last \d\d attempts .* one probe at a time/);
  });

  test("whose endpoint is disabled says why, and that enabling sends it", async () => {
    const { api } = await server.organization();
    const endpointId = await endpoint(api, "/gone");
    const gone = await explained(api, await send(api), "endpoint_disabled");
    expect(gone).toMatchObject({ matched: true, attempts: 1, next_attempt_at: null });
    expect(gone.detail).toMatch(/410 Gone.*\/enable/);
    await patch(api, endpointId, { url: `${receiver.url}/taking` });
    await api.post(`/api/endpoints/${endpointId}/enable`);
    await api.post(`/api/endpoints/${endpointId}/disable`);
    const id = await send(api);
    const manual = await explained(api, id, "endpoint_disabled");
    expect(manual).toMatchObject({ status: "pending", attempts: 0 });
    expect(manual.detail).toContain("by a call");
    await api.post(`/api/endpoints/${endpointId}/enable`);
    await explained(api, id, "delivered");
  });

  test("behind another of an ordered endpoint names it", async () => {
    const { api } = await server.organization();
    await endpoint(api, "/failing", { ordered: true });
    const first = await send(api);
    expect(await explained(api, first, "retry_scheduled")).toMatchObject({ status: "failed", attempts: 1 });
    const second = await send(api);
    const third = await send(api);
    for (const id of [second, third]) {
      const told = await explained(api, id, "waits_for_earlier");
      expect(told).toMatchObject({ status: "pending", attempts: 0, next_attempt_at: null });
      expect(told.detail).toContain(first);
    }
  });

  test("that was acknowledged says so for what was still to be sent", async () => {
    const { api } = await server.organization();
    await endpoint(api, "/failing");
    const id = await send(api);
    await explained(api, id, "retry_scheduled");
    const { acknowledged_at } = (await api.post(`/api/ack/${id}`)).body;
    const told = await explained(api, id, "acknowledged");
    expect(told).toMatchObject({ matched: true, status: "cancelled", attempts: 1, next_attempt_at: null });
    expect(told.detail).toContain(acknowledged_at);
    expect((await explain(api, id)).detail).toContain("cancelled for 1");
  });

  test("whose endpoint was deleted before it was delivered says so, and other endpoints are told beside it", async () => {
    const { api } = await server.organization();
    const deleted = await endpoint(api, "/failing");
    const id = await send(api);
    await explained(api, id, "retry_scheduled");
    await api.send("DELETE", `/api/endpoints/${deleted}`);
    expect(await explained(api, id, "endpoint_deleted")).toMatchObject({
      endpoint_id: deleted,
      matched: true,
      status: "cancelled",
    });
    const later = await endpoint(api, "/taking");
    expect((await explain(api, id)).endpoints.map((one: { endpoint_id: string }) => one.endpoint_id)).toEqual(
      [deleted, later],
    );
  });

  test("that is a dead letter says what sends it again", async () => {
    const short = await TestServer.start({
      env: { WEBHOOK_ALLOW_PRIVATE: "true", RETRY_SCHEDULE: "10ms" },
    });
    const { api } = await short.organization();
    await endpoint(api, "/failing");
    const id = await send(api);
    const told = await explained(api, id, "attempts_exhausted");
    expect(told).toMatchObject({ status: "dead_letter", attempts: 2, next_attempt_at: null });
    expect(told.detail).toMatch(/500.*retry.*replay/);
    await short.stop();
  });

  test("on a server that sends nothing says so, and a test of the endpoint is refused", async () => {
    const silent = await TestServer.start({
      env: { WEBHOOK_ALLOW_PRIVATE: "true", DISABLE_WEBHOOK_DELIVERY: "true" },
    });
    const { api } = await silent.organization();
    const endpointId = await endpoint(api, "/taking");
    const told = await explained(api, await send(api), "delivery_disabled");
    expect(told).toMatchObject({ matched: true, status: "pending", next_attempt_at: null });
    expect(told.detail).toContain("DISABLE_WEBHOOK_DELIVERY");
    const refused = await api.post(`/api/endpoints/${endpointId}/test`);
    expect([refused.status, refused.body.code]).toEqual([409, "delivery_disabled"]);
    await silent.stop();
  });
});

describe("a call", () => {
  test("needs the scope consume, and no other", async () => {
    const { api } = await server.organization();
    const id = await send(api);
    const keyWith = async (scopes: string[]) =>
      server.api((await api.post("/api/keys", { scopes })).body.api_key);
    const reader = await keyWith(["consume"]);
    expect((await reader.get(`/api/events/${id}/explain`)).status).toBe(200);
    const refused = await (await keyWith(["publish", "manage"])).get(`/api/events/${id}/explain`);
    expect([refused.status, refused.body.required_scope]).toEqual([403, "consume"]);
  });

  test("for another organization's event, or none, finds nothing", async () => {
    const mine = await server.organization();
    const { api } = await server.organization({ name: "Stranger" });
    const unknown = "01a1fd3a-0340-7000-8f4e-3b8d1c6a9e52";
    for (const id of [await send(mine.api), unknown, "x", "%00"]) {
      const { status, body } = await api.get(`/api/events/${id}/explain`);
      expect([status, body.code]).toEqual([404, "not_found"]);
    }
  });
});
