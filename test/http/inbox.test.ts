// Reading the inbox and acknowledging, with events in every state that a webhook can bring them to.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { eventWithStatus } from "../help/eventually.ts";
import { answer, type Receiver, startReceiver } from "../help/receiver.ts";
import { type Api, TestServer } from "../help/server.ts";

// For a busy machine; no test measures time.

let server: TestServer;
let receiver: Receiver;

beforeAll(async () => {
  receiver = startReceiver();
  receiver.on("/failing", answer(500));
  server = await TestServer.start({
    env: { WEBHOOK_ALLOW_PRIVATE: "true", RETRY_SCHEDULE: "1h" },
  });
});
afterAll(async () => {
  await server?.stop();
  receiver?.stop();
});

const send = async (api: Api, type: string): Promise<string> =>
  (await api.post("/api/events", { type, payload: 1 })).body.id;
const ids = async (api: Api, query = ""): Promise<string[]> =>
  (await api.get(`/api/inbox?order=asc${query}`)).body.events.map((event: { id: string }) => event.id);

describe("the inbox", () => {
  test("filters by a type, and by the beginning of one", async () => {
    const { api } = await server.organization();
    const [created, updated, invoice] = [
      await send(api, "order.created"),
      await send(api, "order.updated"),
      await send(api, "orders.created"),
    ];
    expect(await ids(api, "&type=order.created")).toEqual([created]);
    expect(await ids(api, "&type=order.*")).toEqual([created, updated]);
    expect(await ids(api, "&type=order*")).toEqual([created, updated, invoice]);
    expect(await ids(api, "&type=*")).toEqual([created, updated, invoice]);
    expect(await ids(api, "&type=order")).toEqual([]);
  });

  test("filters by time: since is included, until is not", async () => {
    const { api } = await server.organization();
    const times: [string, string][] = [];
    while (times.length < 3) {
      const { body } = await api.post("/api/events", { type: "e", payload: 1 });
      if (body.created_at !== times.at(-1)?.[1]) times.push([body.id, body.created_at]);
    }
    const second = times[1]?.[1] ?? "";
    const [since, until] = [await ids(api, `&since=${second}`), await ids(api, `&until=${second}`)];
    expect(since).toContain(times[1]?.[0] ?? "");
    expect(since).not.toContain(times[0]?.[0] ?? "");
    expect(until).toContain(times[0]?.[0] ?? "");
    expect(until).not.toContain(times[1]?.[0] ?? "");
    const offset = encodeURIComponent(second.replace("Z", "+00:00"));
    expect(await ids(api, `&since=${offset}`)).toEqual(since);
  });

  test("filters by status", async () => {
    const { api } = await server.organization();
    const pending = await send(api, "alone");
    const acked = await send(api, "acked");
    await api.post(`/api/ack/${acked}`);
    await api.post("/api/webhook/config", { webhook_url: `${receiver.url}/taking` });
    const delivered = await send(api, "delivered");
    await eventWithStatus(api, delivered, "delivered");
    await api.post("/api/webhook/config", { webhook_url: `${receiver.url}/failing` });
    const failed = await send(api, "failed");
    await eventWithStatus(api, failed, "failed");

    expect(await ids(api, "&status=pending")).toEqual([pending]);
    expect(await ids(api, "&status=delivered")).toEqual([acked, delivered]);
    expect(await ids(api, "&status=failed")).toEqual([failed]);
    expect(await ids(api, "&status=dead_letter")).toEqual([]);
    expect(await ids(api, "&status=undelivered")).toEqual([pending, failed]);
    expect(await ids(api, "&status=undelivered&type=fail*")).toEqual([failed]);
  });

  test("tells what the latest attempt came to", async () => {
    const { api } = await server.organization();
    await api.post("/api/webhook/config", { webhook_url: `${receiver.url}/failing` });
    const id = await send(api, "failed");
    const event = await eventWithStatus(api, id, "failed");
    expect(event).toMatchObject({ attempts: 1, response_status: 500 });
    expect(event.last_error).toBeString();
    expect(Date.parse(event.next_attempt_at)).toBeGreaterThan(Date.parse(event.created_at));
    expect(event.deliveries).toHaveLength(1);
    expect(event.deliveries[0]).toMatchObject({
      status: "failed",
      event_id: id,
      event_type: "failed",
      webhook_url: `${receiver.url}/failing`,
      attempts: 1,
      response_status: 500,
    });
    const { acknowledged_at: _, deliveries: __, ...told } = event;
    expect((await api.get("/api/inbox")).body.events).toEqual([told]);
  });

  test("takes a cursor only for the walk it belongs to", async () => {
    const [mine, theirs] = [await server.organization(), await server.organization({ name: "Other" })];
    for (const { api } of [mine, theirs]) for (let i = 0; i < 3; i++) await send(api, "e");
    const { next_cursor: cursor } = (await mine.api.get("/api/inbox?limit=1&type=e")).body;
    expect((await mine.api.get(`/api/inbox?limit=2&type=e&cursor=${cursor}`)).body.events).toHaveLength(2);
    const wrong = [
      mine.api.get(`/api/inbox?limit=1&cursor=${cursor}`),
      mine.api.get(`/api/inbox?limit=1&type=e&order=asc&cursor=${cursor}`),
      mine.api.get(`/api/inbox?limit=1&type=e&status=pending&cursor=${cursor}`),
      theirs.api.get(`/api/inbox?limit=1&type=e&cursor=${cursor}`),
      mine.api.get(`/api/inbox?limit=1&type=e&cursor=${cursor}x`),
    ];
    for (const { status, body } of await Promise.all(wrong)) {
      expect([status, body.errors?.[0].pointer]).toEqual([422, "/cursor"]);
    }
  });

  test("ends a page before it passes 8 MiB, and the walk still sees all", async () => {
    const { api } = await server.organization();
    const payload = "x".repeat(262_000);
    for (let i = 0; i < 40; i++) await api.post("/api/events", { type: "large", payload });
    let count = 0;
    let pages = 0;
    for (let query = "?limit=1000"; query !== ""; pages++) {
      const page = await api.get(`/api/inbox${query}`);
      expect(Buffer.byteLength(page.text)).toBeLessThanOrEqual(8 * 1024 * 1024);
      count += page.body.events.length;
      query = page.body.has_more ? `?limit=1000&cursor=${page.body.next_cursor}` : "";
    }
    expect([count, pages]).toEqual([40, 2]);
  });
});

describe("acknowledging", () => {
  test("an event makes it delivered, and again gives the same answer", async () => {
    const { api } = await server.organization();
    const id = await send(api, "e");
    const first = await api.post(`/api/ack/${id}`);
    expect(first.status).toBe(200);
    expect(first.body).toEqual({ id, status: "delivered", acknowledged_at: expect.any(String) });
    const again = await api.send("POST", `/api/ack/${id}`);
    expect([again.status, again.text]).toEqual([200, first.text]);
    const event = (await api.get(`/api/events/${id}`)).body;
    expect([event.status, event.acknowledged_at]).toEqual(["delivered", first.body.acknowledged_at]);
  });

  test("cancels what is still to be tried", async () => {
    const { api } = await server.organization();
    await api.post("/api/webhook/config", { webhook_url: `${receiver.url}/failing` });
    const id = await send(api, "e");
    await eventWithStatus(api, id, "failed");
    await api.post(`/api/ack/${id}`);
    const event = (await api.get(`/api/events/${id}`)).body;
    expect([event.status, event.next_attempt_at, event.deliveries[0].status]).toEqual([
      "delivered",
      null,
      "cancelled",
    ]);
  });

  test("many counts each once, and names those that are not there", async () => {
    const { api } = await server.organization();
    const [one, two] = [await send(api, "e"), await send(api, "e")];
    const strange = ["01a1fd3a-0340-7000-8f4e-3b8d1c6a9e52", "nonsense", ""];
    const event_ids = [one, strange[0], two, one, strange[1], strange[2], strange[0]];
    for (const _ of ["first", "again"]) {
      const acked = await api.post("/api/ack", { event_ids });
      expect([acked.status, acked.body]).toEqual([200, { acknowledged: 2, not_found: strange }]);
    }
    expect(await ids(api, "&status=undelivered")).toEqual([]);
  });

  test.each([
    [{}, "/event_ids"],
    [{ event_ids: [] }, "/event_ids"],
    [{ event_ids: "x" }, "/event_ids"],
    [{ event_ids: [1] }, "/event_ids/0"],
    [{ event_ids: Array.from({ length: 1_001 }, () => "x") }, "/event_ids"],
    [{ event_ids: ["x"], all: true }, "/all"],
  ] as const)("is refused for a body that is none (%#)", async (body, pointer) => {
    const { api } = await shared();
    const refused = await api.post("/api/ack", body);
    expect([refused.status, refused.body.errors[0].pointer]).toEqual([422, pointer]);
  });

  test("an id that is none is not found", async () => {
    const { api } = await shared();
    for (const id of ["x", "01a1fd3a-0340-7000-8f4e-3b8d1c6a9e52", "%E0%A4%A", "%00", "..%2f"]) {
      expect((await api.post(`/api/ack/${id}`)).status).toBe(404);
      expect((await api.get(`/api/events/${id}`)).status).toBe(404);
    }
  });
});

let sharedOrganization: ReturnType<TestServer["organization"]> | undefined;
function shared() {
  sharedOrganization ??= server.organization({ name: "Shared" });
  return sharedOrganization;
}
