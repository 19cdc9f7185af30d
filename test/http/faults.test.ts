// One test for each fault of the four earlier implementations of this API, and of its peers where they were read:
// what they got wrong, this does not. (A crash at any moment is in test/e2e/promise.test.ts.)

import { afterAll, beforeAll, expect, test } from "bun:test";
import { formatApiKey, newApiKey } from "../../src/base/api_key.ts";
import { eventually, eventWithStatus } from "../help/eventually.ts";
import { answer, type Receiver, startReceiver } from "../help/receiver.ts";
import { TestServer } from "../help/server.ts";

let server: TestServer;
let receiver: Receiver;
beforeAll(async () => {
  receiver = startReceiver();
  server = await TestServer.start({ env: { WEBHOOK_ALLOW_PRIVATE: "true", RETRY_SCHEDULE: "1h,2h" } });
});
afterAll(async () => {
  await server.stop();
  receiver.stop();
});

/** An organization whose webhook is a path of the receiver. */
async function organizationAt(path: string) {
  const organization = await server.organization();
  const { body } = await organization.api.post("/api/webhook/config", { webhook_url: receiver.url + path });
  return { ...organization, secret: body.signing_secret as string };
}

/** What the receiver got at a path, once it is `count` requests. */
async function receivedAt(path: string, count: number) {
  const at = () => receiver.received.filter((one) => one.path === path);
  while (at().length < count) await receiver.waitFor(receiver.received.length + 1);
  return at();
}

const event = { type: "order.created", payload: { n: 1 } };

test("an event answered with 202 is there after the process is killed in the same moment", async () => {
  const mortal = await TestServer.start();
  const { api, key } = await mortal.organization();
  const { status, body } = await api.post("/api/events", event);
  process.kill(mortal.pid, "SIGKILL");
  await mortal.exited;
  expect(status).toBe(202);
  const again = await TestServer.start({ dataDir: mortal.dataDir });
  expect((await again.api(key).get(`/api/events/${body.id}`)).body.payload).toEqual({ n: 1 });
  await again.stop();
});

test("the id in the answer is the stored id: in the inbox, in the webhook and in the acknowledgement", async () => {
  const { api } = await organizationAt("/same-id");
  const { id } = (await api.post("/api/events", event)).body;
  const [webhook] = await receivedAt("/same-id", 1);
  expect(webhook?.header("webhook-id")).toBe(id);
  expect(JSON.parse(webhook?.body ?? "").id).toBe(id);
  expect((await api.get("/api/inbox")).body.events.map((one: { id: string }) => one.id)).toEqual([id]);
  expect((await api.post(`/api/ack/${id}`)).body.id).toBe(id);
});

test("a rotated key is dead on the very next request", async () => {
  const { api, key } = await server.organization();
  expect((await api.get("/api/keys")).status).toBe(200);
  const rotated = await api.post("/api/keys/rotate", {});
  expect(rotated.status).toBe(200);
  expect((await server.api(key).get("/api/keys")).status).toBe(401);
  expect((await server.api(rotated.body.api_key).get("/api/keys")).status).toBe(200);
});

test("a filter is a value and never a piece of SQL", async () => {
  const mine = await server.organization();
  const other = await server.organization();
  await mine.api.post("/api/events", event);
  const foreign = (await other.api.post("/api/events", event)).body.id;
  for (const text of [
    "' OR '1'='1",
    "x'; DROP TABLE events; --",
    "order%",
    "order_created",
    "*' OR 1=1 --",
  ]) {
    const query = encodeURIComponent(text);
    for (const name of ["type", "status", "since", "cursor", "order", "limit"]) {
      const found = await mine.api.get(`/api/inbox?${name}=${query}`);
      expect([200, 422]).toContain(found.status);
      expect(found.text).not.toContain(foreign);
      if (name === "type" && found.status === 200) expect(found.body.events).toEqual([]);
    }
    expect((await mine.api.get(`/api/events/${query}`)).status).toBe(404);
  }
  expect((await mine.api.get("/api/inbox")).body.events).toHaveLength(1);
});

test("an organization without a webhook stops nobody's delivery", async () => {
  const without = await server.organization();
  for (let n = 0; n < 50; n++) await without.api.post("/api/events", event);
  const { api } = await organizationAt("/beside");
  await api.post("/api/events", event);
  await receivedAt("/beside", 1);
});

test("a failed attempt waits for its backoff, with jitter, and is then tried again", async () => {
  receiver.on("/failing", answer(500));
  const { api } = await organizationAt("/failing");
  const waits = new Set<number>();
  for (let n = 0; n < 10; n++) {
    const { id } = (await api.post("/api/events", event)).body;
    const failed = await eventWithStatus(api, id, "failed");
    expect(failed.attempts).toBe(1);
    const waitMs = Date.parse(failed.next_attempt_at) - Date.parse(failed.updated_at);
    expect(Math.abs(waitMs - 3_600_000)).toBeLessThanOrEqual(720_000 + 5_000);
    waits.add(Math.round(waitMs / 1000));
  }
  expect(waits.size).toBeGreaterThan(1);
});

test("delivery sleeps through nothing: an event after others were delivered goes out at once", async () => {
  const { api } = await organizationAt("/idle");
  const ids: string[] = [];
  for (let n = 1; n <= 5; n++) {
    ids.push((await api.post("/api/events", event)).body.id);
    await receivedAt("/idle", n);
    await eventWithStatus(api, ids.at(-1) ?? "", "delivered");
  }
  // The next attempt of anything in this server is an hour away: no timer could have sent these.
  expect(ids).toHaveLength(5);
});

test("a full queue is refused, nothing of it is stored, and the refusal passes", async () => {
  const small = await TestServer.start({ env: { MAX_QUEUED_EVENTS: "3" } });
  const { api } = await small.organization();
  const answers = await Promise.all(Array.from({ length: 200 }, () => api.post("/api/events", event)));
  const accepted = answers.filter(({ status }) => status === 202).map(({ body }) => body.id);
  expect(answers.filter(({ body }) => body.code === "overloaded").length).toBe(200 - accepted.length);
  expect(accepted.length).toBeLessThan(200);
  const stored = (await api.get("/api/inbox?limit=1000")).body.events.map((one: { id: string }) => one.id);
  expect(new Set(stored)).toEqual(new Set(accepted));
  for (let n = 0; n < 10; n++) expect((await api.post("/api/events", event)).status).toBe(202);
  await small.stop();
});

/** Argon2id hashes that the server has computed. */
async function hashes(): Promise<number> {
  return Number(/^key_hashes_total (\d+)$/m.exec((await server.api().get("/metrics")).text)?.[1]);
}

test("a flood of made-up keys costs no hash, whether their checksum is right or wrong", async () => {
  const { key } = await server.organization();
  const before = await hashes();
  expect(before).toBeGreaterThan(0);
  for (let n = 0; n < 500; n++) {
    const wrongChecksum = `${key.slice(0, 9)}${String(n).padStart(6, "0")}${key.slice(15)}`;
    for (const madeUp of [newApiKey("live").apiKey, wrongChecksum, "garbage"]) {
      expect((await server.api(madeUp).get("/api/keys")).status).toBe(401);
    }
  }
  expect(await hashes()).toBe(before);
});

test("a storm of wrong secrets for a known key id is bounded, and the key itself goes on working", async () => {
  const { key, api } = await server.organization();
  expect((await api.get("/api/keys")).status).toBe(200);
  const before = await hashes();
  const guesses = Array.from({ length: 500 }, () =>
    formatApiKey("live", key.slice(9, 15), newApiKey("live").secret),
  );
  const statuses = await Promise.all(
    guesses.map(async (guess) => (await server.api(guess).get("/api/keys")).status),
  );
  expect(new Set(statuses).isSubsetOf(new Set([401, 429]))).toBe(true);
  expect(statuses).toContain(429);
  expect((await hashes()) - before).toBeLessThanOrEqual(10);
  expect((await api.get("/api/keys")).status).toBe(200);
  const other = await server.organization();
  expect((await other.api.get("/api/keys")).status).toBe(200);
});

test("/metrics tells of the work that was done", async () => {
  const { text } = await server.api().get("/metrics");
  expect(text).toMatch(/^events_ingested_total [1-9]\d*$/m);
  expect(text).toMatch(/^event_ingestion_latency_seconds_count [1-9]\d*$/m);
  expect(text).toMatch(/^webhook_deliveries_total\{status="delivered"\} [1-9]\d*$/m);
});

test("an event that matches nothing is kept and waits in the inbox", async () => {
  const { api } = await server.organization();
  const { id } = (await api.post("/api/events", event)).body;
  const { body } = await api.get("/api/inbox?status=pending");
  expect(body.events.map((one: { id: string }) => one.id)).toEqual([id]);
});

test("3xx is a failure, not a success", async () => {
  receiver.on("/moved", answer(304));
  const { api } = await organizationAt("/moved");
  const { id } = (await api.post("/api/events", event)).body;
  expect((await eventWithStatus(api, id, "failed")).response_status).toBe(304);
});

test("what is signed and sent is the text that came, not its re-serialization", async () => {
  const { api } = await organizationAt("/text");
  await api.post("/api/events", '{"type":"t","payload":{"z":1.0,"a":9007199254740993,"e":1e400}}');
  const [webhook] = await receivedAt("/text", 1);
  expect(webhook?.body).toEndWith('"data":{"z":1.0,"a":9007199254740993,"e":1e400}}');
});

test("Retry-After of a 429 or 503 is obeyed when it is longer than the schedule", async () => {
  for (const [path, status, seconds] of [
    ["/later-429", 429, 36_000],
    ["/later-503", 503, 43_200],
  ] as const) {
    receiver.on(path, answer(status, { headers: { "retry-after": String(seconds) } }));
    const { api } = await organizationAt(path);
    const { id } = (await api.post("/api/events", event)).body;
    const failed = await eventWithStatus(api, id, "failed");
    const waitMs = Date.parse(failed.next_attempt_at) - Date.parse(failed.updated_at);
    expect(Math.abs(waitMs - seconds * 1000)).toBeLessThan(5_000);
  }
});

test("410 ends the sending: what comes later is held, not tried", async () => {
  receiver.on("/gone", answer(410));
  const { api } = await organizationAt("/gone");
  const first = (await api.post("/api/events", event)).body.id;
  await eventWithStatus(api, first, "failed");
  const second = (await api.post("/api/events", event)).body.id;
  // Something else goes out meanwhile, so the dispatcher has looked.
  const beside = await organizationAt("/beside-gone");
  await beside.api.post("/api/events", event);
  await receivedAt("/beside-gone", 1);
  expect((await api.get(`/api/events/${second}`)).body.attempts).toBe(0);
  await eventually(
    () => api.get(`/api/events/${second}`),
    ({ body }) => body.status === "pending",
  );
  expect(receiver.received.filter((one) => one.path === "/gone")).toHaveLength(1);
});
