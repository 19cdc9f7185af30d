// Deliveries as a caller sees them, in every state that an endpoint can bring them to.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { eventually } from "../help/eventually.ts";
import { answer, type Receiver, startReceiver } from "../help/receiver.ts";
import { type Api, TestServer } from "../help/server.ts";

let server: TestServer;
let receiver: Receiver;

beforeAll(async () => {
  receiver = startReceiver();
  receiver.on("/failing", answer(500, { body: "é".repeat(2_000) }));
  receiver.on("/busy", answer(503, { headers: { "retry-after": "3600" }, body: "later" }));
  server = await TestServer.start({
    env: { WEBHOOK_ALLOW_PRIVATE: "true", RETRY_SCHEDULE: "10ms" },
  });
});
afterAll(async () => {
  await server?.stop();
  receiver?.stop();
});

const TIME = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
const UNKNOWN_ID = "01a1fd3a-0340-7000-8f4e-3b8d1c6a9e54";

async function endpoint(api: Api, path: string, settings: object = {}): Promise<string> {
  const { status, body } = await api.post("/api/endpoints", { url: receiver.url + path, ...settings });
  expect(status).toBe(201);
  return body.id;
}
const send = async (api: Api, type = "e"): Promise<{ id: string; created_at: string }> =>
  (await api.post("/api/events", { type, payload: 1 })).body;
const list = async (api: Api, query = "") => (await api.get(`/api/deliveries${query}`)).body.deliveries;
const ids = async (api: Api, query = ""): Promise<string[]> =>
  (await list(api, query)).map((one: { id: string }) => one.id);

/** The only delivery of an event, once it has this status. */
async function deliveryWithStatus(api: Api, eventId: string, status: string) {
  const [delivery] = await eventually(
    () => list(api, `?event_id=${eventId}`),
    ([one]) => one?.status === status,
  );
  return delivery;
}

describe("a delivery", () => {
  test("that was taken is told, with its one attempt", async () => {
    const { api } = await server.organization();
    const endpointId = await endpoint(api, "/taking");
    const event = await send(api, "order.created");
    const delivery = await deliveryWithStatus(api, event.id, "delivered");
    expect(delivery).toEqual({
      id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      event_id: event.id,
      event_type: "order.created",
      endpoint_id: endpointId,
      webhook_url: `${receiver.url}/taking`,
      status: "delivered",
      attempts: 1,
      response_status: 200,
      last_error: null,
      next_attempt_at: null,
      created_at: event.created_at,
      updated_at: TIME,
      attempts_made: [
        {
          attempt: 1,
          started_at: TIME,
          duration_ms: expect.any(Number),
          response_status: 200,
          error_kind: null,
          error: null,
          response_excerpt: "ok",
        },
      ],
    });
    // Alone it is told as in the list.
    const shown = await api.get(`/api/deliveries/${delivery.id}`);
    expect([shown.status, shown.body]).toEqual([200, delivery]);
    const { attempts_made: _, ...withoutAttempts } = delivery;
    expect((await api.get(`/api/events/${event.id}`)).body.deliveries).toEqual([withoutAttempts]);
  });

  test("that is a dead letter tells every attempt and the first 1 KB of each answer", async () => {
    const { api } = await server.organization();
    await endpoint(api, "/failing");
    const { id } = await deliveryWithStatus(api, (await send(api)).id, "dead_letter");
    const { body } = await api.get(`/api/deliveries/${id}`);
    expect(body).toMatchObject({ attempts: 2, response_status: 500, next_attempt_at: null });
    expect(body.last_error).toContain("500");
    expect(body.attempts_made.map((one: { attempt: number }) => one.attempt)).toEqual([1, 2]);
    for (const attempt of body.attempts_made) {
      expect(attempt).toMatchObject({ response_status: 500, error_kind: "http_status" });
      expect(attempt.error).toBe("The endpoint answered 500.");
      expect(attempt.response_excerpt).toStartWith("ééé");
      expect(Buffer.byteLength(attempt.response_excerpt)).toBeLessThanOrEqual(1_026);
    }
    const [first, second] = body.attempts_made.map((one: { started_at: string }) => one.started_at);
    expect(first <= second).toBe(true);
  });

  test("is found by its status, its endpoint, its event and its time, and by several of them", async () => {
    const { api } = await server.organization();
    const taking = await endpoint(api, "/taking", { event_types: ["take.*"] });
    const failing = await endpoint(api, "/failing", { event_types: ["fail"] });
    const busy = await endpoint(api, "/busy", { event_types: ["busy", "acked"] });
    const held = await endpoint(api, "/taking", { event_types: ["held", "take.both"] });
    await api.post(`/api/endpoints/${held}/disable`);
    const of = async (type: string, status: string) =>
      (await deliveryWithStatus(api, (await send(api, type)).id, status)).id as string;
    const delivered = await of("take.one", "delivered");
    const dead = await of("fail", "dead_letter");
    const failed = await of("busy", "failed");
    const pending = await of("held", "pending");
    const acked = await send(api, "acked");
    await api.post(`/api/ack/${acked.id}`);
    const cancelled = (await deliveryWithStatus(api, acked.id, "cancelled")).id;
    const both = await send(api, "take.both");
    const toBoth = await eventually(
      () => list(api, `?event_id=${both.id}`),
      (all) => all.some((one: { status: string }) => one.status === "delivered"),
    );
    const [bothTaken, bothHeld] = [taking, held].map(
      (id) => toBoth.find((one: { endpoint_id: string }) => one.endpoint_id === id).id,
    );

    expect((await ids(api, "?status=delivered")).sort()).toEqual([delivered, bothTaken].sort());
    expect(await ids(api, "?status=dead_letter")).toEqual([dead]);
    expect(await ids(api, "?status=failed")).toEqual([failed]);
    expect(await ids(api, "?status=pending")).toEqual([bothHeld, pending]);
    expect(await ids(api, "?status=cancelled")).toEqual([cancelled]);
    expect(await ids(api, `?endpoint_id=${failing}`)).toEqual([dead]);
    expect(await ids(api, `?endpoint_id=${busy}`)).toEqual([cancelled, failed]);
    expect(await ids(api, `?endpoint_id=${held}&status=delivered`)).toEqual([]);
    expect(await ids(api, `?event_id=${both.id}&endpoint_id=${held}`)).toEqual([bothHeld]);
    expect(await ids(api, `?event_id=${both.id}&status=delivered`)).toEqual([bothTaken]);
    expect((await ids(api, `?since=${both.created_at}`)).sort()).toEqual([bothTaken, bothHeld].sort());
    expect(await ids(api, `?since=${acked.created_at}&until=${both.created_at}`)).toEqual([cancelled]);
    expect(await ids(api, `?until=2026-01-01T00:00:00Z`)).toEqual([]);
    expect(await ids(api)).toHaveLength(7);
  });

  test("is told of a deleted endpoint too", async () => {
    const { api } = await server.organization();
    const id = await endpoint(api, "/taking");
    const delivery = await deliveryWithStatus(api, (await send(api)).id, "delivered");
    await api.send("DELETE", `/api/endpoints/${id}`);
    expect(await list(api, `?endpoint_id=${id}`)).toEqual([delivery]);
    expect((await api.get(`/api/deliveries/${delivery.id}`)).body).toMatchObject(delivery);
  });
});

describe("the list of deliveries", () => {
  test("is walked by cursor: each exactly once, the newest event first, while new ones come", async () => {
    const { api } = await server.organization();
    const [one, two] = [await endpoint(api, "/taking"), await endpoint(api, "/taking")];
    for (const id of [one, two]) await api.post(`/api/endpoints/${id}/disable`);
    const events: string[] = [];
    for (let i = 0; i < 20; i++) events.push((await send(api)).id);
    const newestFirst = events.toReversed();
    for (const [filter, endpoints] of [
      ["", [one, two]],
      [`&endpoint_id=${two}`, [two]],
      ["&status=pending", [one, two]],
    ] as const) {
      const seen: [event: string, endpoint: string][] = [];
      for (let query = `?limit=7${filter}`; query !== ""; ) {
        const { body } = await api.get(`/api/deliveries${query}`);
        expect(body.deliveries.length).toBeLessThanOrEqual(7);
        for (const { event_id, endpoint_id } of body.deliveries) seen.push([event_id, endpoint_id]);
        expect(body.has_more).toBe(body.next_cursor !== null);
        query = body.has_more ? `?limit=7${filter}&cursor=${body.next_cursor}` : "";
        await send(api);
      }
      const ofStart = seen.filter(([event]) => events.includes(event));
      const pairs = newestFirst.flatMap((event) => endpoints.map((id) => `${event} ${id}`));
      expect(ofStart.map((pair) => pair.join(" ")).sort()).toEqual(pairs.sort());
      expect([...new Set(ofStart.map(([event]) => event))]).toEqual(newestFirst);
    }
  });

  test("refuses a cursor of another walk", async () => {
    const { api } = await server.organization();
    const id = await endpoint(api, "/taking");
    for (let i = 0; i < 3; i++) await send(api);
    const { next_cursor: cursor } = (await api.get(`/api/deliveries?limit=1&endpoint_id=${id}`)).body;
    expect(await list(api, `?limit=5&endpoint_id=${id}&cursor=${cursor}`)).toHaveLength(2);
    const other = await server.organization({ name: "Other" });
    for (const wrong of [
      await api.get(`/api/deliveries?cursor=${cursor}`),
      await api.get(`/api/deliveries?endpoint_id=${id}&status=pending&cursor=${cursor}`),
      await other.api.get(`/api/deliveries?endpoint_id=${id}&cursor=${cursor}`),
      await api.get("/api/deliveries?cursor=x"),
    ]) {
      expect([wrong.status, wrong.body.errors?.[0].pointer]).toEqual([422, "/cursor"]);
    }
  });

  test.each([
    ["status=waiting", "/status"],
    ["status=undelivered", "/status"],
    ["endpoint_id=x", "/endpoint_id"],
    [`event_id=${UNKNOWN_ID.toUpperCase()}`, "/event_id"],
    ["since=yesterday", "/since"],
    ["until=2026", "/until"],
    ["limit=0", "/limit"],
    ["limit=1001", "/limit"],
    ["type=a", "/type"],
    ["status=failed&status=pending", "/status"],
  ])("refuses %s and points at it", async (query, pointer) => {
    const { api } = await shared();
    const { status, body } = await api.get(`/api/deliveries?${query}`);
    expect([status, body.code, body.errors[0].pointer]).toEqual([422, "validation_failed", pointer]);
  });

  test("is empty for an endpoint or an event that is not there, or another organization's", async () => {
    const { api } = await server.organization();
    const id = await endpoint(api, "/taking");
    const event = await send(api);
    const delivery = await deliveryWithStatus(api, event.id, "delivered");
    const other = (await shared()).api;
    for (const query of [
      `?endpoint_id=${id}`,
      `?event_id=${event.id}`,
      `?endpoint_id=${UNKNOWN_ID}`,
      `?event_id=${UNKNOWN_ID}`,
    ]) {
      expect((await other.get(`/api/deliveries${query}`)).body).toEqual({
        deliveries: [],
        next_cursor: null,
        has_more: false,
      });
    }
    for (const wrong of [delivery.id, UNKNOWN_ID, "x", "%00"]) {
      const [shown, retried] = [
        await other.get(`/api/deliveries/${wrong}`),
        await other.post(`/api/deliveries/${wrong}/retry`),
      ];
      expect([shown.status, shown.body.code]).toEqual([404, "not_found"]);
      expect([retried.status, retried.body.code]).toEqual([404, "not_found"]);
    }
    expect((await api.get(`/api/deliveries/${delivery.id}`)).body).toMatchObject(delivery);
  });
});

describe("a retry", () => {
  test("of a dead letter begins the schedule anew, and tells all attempts of both rounds", async () => {
    const { api } = await server.organization();
    await endpoint(api, "/failing");
    const event = await send(api);
    const dead = await deliveryWithStatus(api, event.id, "dead_letter");
    const retried = await api.post(`/api/deliveries/${dead.id}/retry`);
    expect(retried.status).toBe(202);
    expect(retried.body).toMatchObject({ id: dead.id, event_id: event.id });
    // As it is by then: the first attempt of the new round may be over before the answer is made.
    expect(["pending", "failed", "dead_letter"]).toContain(retried.body.status);
    const again = await eventually(
      () => api.get(`/api/deliveries/${dead.id}`),
      ({ body }) => body.status === "dead_letter" && body.attempts_made.length === 4,
    );
    expect(again.body.attempts_made.map((one: { attempt: number }) => one.attempt)).toEqual([1, 2, 3, 4]);
    expect((await api.get(`/api/events/${event.id}`)).body.status).toBe("dead_letter");
  });

  test("of what was delivered, cancelled or waits for long is sent now", async () => {
    const { api } = await server.organization();
    const path = "/then-taking";
    receiver.on(path, answer(503, { headers: { "retry-after": "3600" } }));
    const endpointId = await endpoint(api, path);
    const failed = await send(api);
    const waiting = await deliveryWithStatus(api, failed.id, "failed");
    const acked = await send(api);
    await api.post(`/api/ack/${acked.id}`);
    const cancelled = await deliveryWithStatus(api, acked.id, "cancelled");
    receiver.on(path, answer());
    // The endpoint asked to wait an hour; enabling it forgets that.
    await api.post(`/api/endpoints/${endpointId}/enable`);
    for (const one of [waiting, cancelled]) {
      expect((await api.post(`/api/deliveries/${one.id}/retry`)).status).toBe(202);
      await deliveryWithStatus(api, one.event_id, "delivered");
    }
    const before = receiver.received.length;
    expect((await api.post(`/api/deliveries/${waiting.id}/retry`)).status).toBe(202);
    await receiver.waitFor(before + 1);
    const sent = receiver.received.filter((one) => one.path === path);
    const ofFailed = sent.filter((one) => one.header("webhook-id") === failed.id);
    expect(ofFailed.length).toBeGreaterThanOrEqual(3);
    await deliveryWithStatus(api, failed.id, "delivered");
  });

  test("to a disabled endpoint is held", async () => {
    const { api } = await server.organization();
    const endpointId = await endpoint(api, "/taking");
    const event = await send(api);
    const { id } = await deliveryWithStatus(api, event.id, "delivered");
    await api.post(`/api/endpoints/${endpointId}/disable`);
    expect((await api.post(`/api/deliveries/${id}/retry`)).body.status).toBe("pending");
    expect((await list(api, "?status=pending"))[0].id).toBe(id);
    await api.post(`/api/endpoints/${endpointId}/enable`);
    await deliveryWithStatus(api, event.id, "delivered");
  });

  test("to a deleted endpoint is refused", async () => {
    const { api } = await server.organization();
    const endpointId = await endpoint(api, "/taking");
    const { id } = await deliveryWithStatus(api, (await send(api)).id, "delivered");
    await api.send("DELETE", `/api/endpoints/${endpointId}`);
    const refused = await api.post(`/api/deliveries/${id}/retry`);
    expect([refused.status, refused.body.code]).toEqual([409, "endpoint_deleted"]);
    expect((await api.get(`/api/deliveries/${id}`)).body.status).toBe("delivered");
  });
});

let sharedOrganization: ReturnType<TestServer["organization"]> | undefined;
function shared() {
  sharedOrganization ??= server.organization({ name: "Shared" });
  return sharedOrganization;
}
