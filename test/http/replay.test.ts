// Replays: which events they send again, what is refused, and how far they are.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { eventually, eventWithStatus } from "../help/eventually.ts";
import { answer, type Receiver, startReceiver } from "../help/receiver.ts";
import { type Api, type Organization, TestServer } from "../help/server.ts";

let server: TestServer;
let receiver: Receiver;

beforeAll(async () => {
  receiver = startReceiver();
  server = await TestServer.start({
    env: { WEBHOOK_ALLOW_PRIVATE: "true", RETRY_SCHEDULE: "10ms" },
  });
});
afterAll(async () => {
  await server?.stop();
  receiver?.stop();
});

const TIME = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
const SINCE = "2026-01-01T00:00:00.000Z";

async function endpoint(api: Api, path: string, settings: object = {}): Promise<string> {
  const { status, body } = await api.post("/api/endpoints", { url: receiver.url + path, ...settings });
  expect(status).toBe(201);
  return body.id;
}
const send = async (api: Api, type = "e"): Promise<string> =>
  (await api.post("/api/events", { type, payload: 1 })).body.id;
const replay = (api: Api, endpointId: string, body: object) =>
  api.post(`/api/endpoints/${endpointId}/replay`, body);

/** Replays, and waits for its end. */
async function replayed(api: Api, endpointId: string, body: object) {
  const begun = await replay(api, endpointId, body);
  expect(begun.status).toBe(202);
  const { body: ended } = await eventually(
    () => api.get(`/api/replays/${begun.body.id}`),
    (one) => one.body.status === "completed",
  );
  return ended;
}

/** Ids of the events that came to a path, in order. */
const cameTo = (path: string) =>
  receiver.received.filter((one) => one.path === path).map((one) => one.header("webhook-id"));

/** Three dead letters at an endpoint that takes everything from now on. */
async function withDeadLetters(path: string, types = ["a.1", "a.2", "b"]) {
  const { api } = await server.organization();
  receiver.on(path, answer(500));
  const endpointId = await endpoint(api, path);
  const ids: string[] = [];
  for (const type of types) ids.push(await send(api, type));
  for (const id of ids) await eventWithStatus(api, id, "dead_letter");
  receiver.on(path, answer());
  await api.post(`/api/endpoints/${endpointId}/enable`);
  const before = cameTo(path).length;
  return { api, endpointId, ids, came: () => cameTo(path).slice(before).sort() };
}

describe("a replay", () => {
  test("sends the dead letters again unless told otherwise, and tells how far it is", async () => {
    const { api, endpointId, ids, came } = await withDeadLetters("/dead");
    const ended = await replayed(api, endpointId, { since: SINCE });
    expect(ended).toEqual({
      id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      endpoint_id: endpointId,
      status: "completed",
      since: SINCE,
      until: TIME,
      statuses: ["dead_letter"],
      event_types: ["*"],
      missing_only: false,
      queued: 3,
      progress: 1,
      created_at: TIME,
      updated_at: TIME,
      completed_at: TIME,
    });
    for (const id of ids) await eventWithStatus(api, id, "delivered");
    expect(came()).toEqual(ids.toSorted());
    expect(await replayed(api, endpointId, { since: SINCE })).toMatchObject({ queued: 0, progress: 1 });
  });

  test("keeps to its range of time: since is included, until is not", async () => {
    const { api, endpointId, ids, came } = await withDeadLetters("/range");
    const times = await Promise.all(
      ids.map(async (id) => (await api.get(`/api/events/${id}`)).body.created_at),
    );
    const within = times.filter((time) => time >= times[1] && time < times[2]).length;
    const ended = await replayed(api, endpointId, { since: times[1], until: times[2] });
    expect(ended).toMatchObject({ queued: within, since: times[1], until: times[2] });
    for (const [i, id] of ids.entries()) {
      if (times[i] >= times[1] && times[i] < times[2]) await eventWithStatus(api, id, "delivered");
    }
    expect(came()).toHaveLength(within);
    expect(await replayed(api, endpointId, { since: times[2], until: times[2] })).toMatchObject({
      queued: 0,
    });
  });

  test("keeps to its types", async () => {
    const { api, endpointId, ids, came } = await withDeadLetters("/types");
    const ended = await replayed(api, endpointId, { since: SINCE, event_types: ["a.*", "c"] });
    expect(ended).toMatchObject({ queued: 2, event_types: ["a.*", "c"] });
    for (const id of ids.slice(0, 2)) await eventWithStatus(api, id, "delivered");
    expect(came()).toEqual(ids.slice(0, 2).sort());
    expect((await api.get(`/api/events/${ids[2]}`)).body.status).toBe("dead_letter");
  });

  test("sends again what has the statuses that it is told, and nothing else", async () => {
    const { api } = await server.organization();
    const endpointId = await endpoint(api, "/statuses");
    const delivered = await send(api);
    await eventWithStatus(api, delivered, "delivered");
    await api.post(`/api/endpoints/${endpointId}/disable`);
    const acked = await send(api);
    await api.post(`/api/ack/${acked}`);
    const pending = await send(api);
    await api.post(`/api/endpoints/${endpointId}/enable`);
    await eventWithStatus(api, pending, "delivered");
    expect(cameTo("/statuses")).toEqual([delivered, pending]);

    expect(
      await replayed(api, endpointId, { since: SINCE, status: ["failed", "dead_letter"] }),
    ).toMatchObject({ queued: 0, statuses: ["failed", "dead_letter"] });
    expect(await replayed(api, endpointId, { since: SINCE, status: ["cancelled"] })).toMatchObject({
      queued: 1,
    });
    await eventually(
      async () => cameTo("/statuses"),
      (all) => all.includes(acked),
    );
    expect(await replayed(api, endpointId, { since: SINCE, status: ["delivered"] })).toMatchObject({
      queued: expect.any(Number),
    });
    const times = (all: readonly (string | null)[], id: string) => all.filter((one) => one === id).length;
    // The acknowledged one may be among them or not: its delivery was a moment ago.
    await eventually(
      async () => cameTo("/statuses"),
      (all) => times(all, delivered) === 2 && times(all, pending) === 2,
    );
  });

  test("with missing_only sends what was accepted before the endpoint was made or changed", async () => {
    const { api } = await server.organization();
    const [before, other] = [await send(api, "order.created"), await send(api, "invoice.paid")];
    const endpointId = await endpoint(api, "/missing", { event_types: ["order.*"] });
    const after = await send(api, "order.created");
    await eventWithStatus(api, after, "delivered");
    const ended = await replayed(api, endpointId, { since: SINCE, missing_only: true });
    expect(ended).toMatchObject({
      queued: 1,
      statuses: [],
      event_types: ["order.*"],
      missing_only: true,
    });
    await eventWithStatus(api, before, "delivered");
    expect(cameTo("/missing")).toEqual([after, before]);
    const explained = (await api.get(`/api/events/${before}/explain`)).body.endpoints[0];
    expect(explained).toMatchObject({ matched: true, reason: "delivered" });
    expect((await api.get(`/api/events/${other}`)).body).toMatchObject({ status: "pending", deliveries: [] });
    const wider = { since: SINCE, missing_only: true, event_types: ["*"] };
    expect(await replayed(api, endpointId, wider)).toMatchObject({ queued: 1, event_types: ["*"] });
    await eventWithStatus(api, other, "delivered");
  });

  test("to a disabled endpoint is held until it is enabled", async () => {
    const { api, endpointId, ids, came } = await withDeadLetters("/held");
    await api.post(`/api/endpoints/${endpointId}/disable`);
    expect(await replayed(api, endpointId, { since: SINCE })).toMatchObject({ queued: 3 });
    for (const id of ids) await eventWithStatus(api, id, "pending");
    expect(came()).toEqual([]);
    await api.post(`/api/endpoints/${endpointId}/enable`);
    for (const id of ids) await eventWithStatus(api, id, "delivered");
    expect(came()).toEqual(ids.toSorted());
  });

  test("goes on after the process was killed, and sends each event", async () => {
    const mortal = await TestServer.start({ env: { WEBHOOK_ALLOW_PRIVATE: "true" } });
    const { api, key } = await mortal.organization();
    const events = 400;
    const ids = await Promise.all(Array.from({ length: events }, () => send(api)));
    const endpointId = await endpoint(api, "/after-kill");
    const begun = await replay(api, endpointId, { since: SINCE, missing_only: true });
    expect(begun.status).toBe(202);
    await mortal.kill("SIGKILL");
    const again = await TestServer.start({
      dataDir: mortal.dataDir,
      env: { WEBHOOK_ALLOW_PRIVATE: "true" },
    });
    const after = again.api(key);
    const { body } = await eventually(
      () => after.get(`/api/replays/${begun.body.id}`),
      (one) => one.body.status === "completed",
    );
    expect(body).toMatchObject({ queued: events, progress: 1 });
    await eventually(
      () => after.get("/api/deliveries?status=delivered&limit=1000"),
      (one) => one.body.deliveries.length === events,
    );
    expect(new Set(cameTo("/after-kill"))).toEqual(new Set(ids));
    await again.stop();
  });
});

describe("a replay that is wrong", () => {
  let organization: Organization;
  let endpointId: string;
  beforeAll(async () => {
    organization = await server.organization({ name: "Refused" });
    endpointId = await endpoint(organization.api, "/refused");
  });

  test.each([
    [{}, "/since"],
    [{ since: null }, "/since"],
    [{ since: "yesterday" }, "/since"],
    [{ since: 1_700_000_000 }, "/since"],
    [{ since: SINCE, until: "2026" }, "/until"],
    [{ since: SINCE, until: "2025-12-31T23:59:59.999Z" }, "/until"],
    [{ since: SINCE, status: [] }, "/status"],
    [{ since: SINCE, status: "failed" }, "/status"],
    [{ since: SINCE, status: ["waiting"] }, "/status/0"],
    [{ since: SINCE, status: ["failed", "failed"] }, "/status"],
    [{ since: SINCE, event_types: [] }, "/event_types"],
    [{ since: SINCE, event_types: ["a*b"] }, "/event_types/0"],
    [{ since: SINCE, missing_only: "true" }, "/missing_only"],
    [{ since: SINCE, missing_only: true, status: ["dead_letter"] }, "/status"],
    [{ since: SINCE, from: SINCE }, "/from"],
  ] as const)("(%j) is refused and pointed at", async (body, pointer) => {
    const refused = await replay(organization.api, endpointId, body);
    expect([refused.status, refused.body.code]).toEqual([422, "validation_failed"]);
    expect(refused.body.errors.map((error: { pointer: string }) => error.pointer)).toEqual([pointer]);
  });

  test("says why missing_only has no status", async () => {
    const body = { since: SINCE, missing_only: true, status: ["dead_letter"] };
    const refused = await replay(organization.api, endpointId, body);
    expect(refused.body.detail).toContain("missing_only");
  });

  test("is of another organization: not found", async () => {
    const { api } = await server.organization({ name: "Stranger" });
    const begun = await replay(organization.api, endpointId, { since: SINCE });
    const foreign = await replay(api, endpointId, { since: SINCE });
    expect([foreign.status, foreign.body.code]).toEqual([404, "not_found"]);
    for (const id of [begun.body.id, "01a1fd3a-0340-7000-8f4e-3b8d1c6a9e52", "x", "%00"]) {
      const shown = await api.get(`/api/replays/${id}`);
      expect([shown.status, shown.body.code]).toEqual([404, "not_found"]);
    }
    expect((await organization.api.get(`/api/replays/${begun.body.id}`)).status).toBe(200);
  });
});
