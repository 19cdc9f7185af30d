// The sixteen tests of the systems that this one follows, by their names, against the real server.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { type Organization, TestServer } from "../help/server.ts";

// For a busy machine; no test measures time.

let server: TestServer;
let acme: Organization;

beforeAll(async () => {
  server = await TestServer.start({ env: { WEBHOOK_ALLOW_PRIVATE: "true" } });
  acme = await server.organization({ name: "Acme" });
});
afterAll(async () => {
  await server?.stop();
});

test("generate_api_key: an organization and its first key are made, and the key works at once", async () => {
  const answer = await server.api().post("/api/keys/generate", { org_name: "Globex" });
  expect(answer.status).toBe(201);
  expect(answer.body).toEqual({
    organization_id: expect.stringMatching(/^[0-9a-f-]{36}$/),
    organization_name: "Globex",
    api_key: expect.stringMatching(/^zap_live_[A-Za-z0-9]{55}$/),
    key_id: expect.any(String),
    tier: "free",
    rate_limit_per_minute: 100,
    created_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
    warning: expect.any(String),
  });
  expect(answer.body.api_key).toContain(answer.body.key_id);
  expect((await server.api(answer.body.api_key).get("/api/inbox")).status).toBe(200);
});

test("get_api_key_info: a key shows its organization and all keys, and no key's text", async () => {
  const answer = await acme.api.get("/api/keys");
  expect(answer.status).toBe(200);
  expect(answer.body).toMatchObject({
    organization_id: acme.id,
    organization_name: "Acme",
    tier: "enterprise",
    rate_limit_per_minute: 100_000,
    webhook_url: null,
  });
  expect(answer.body.keys).toHaveLength(1);
  expect(answer.body.keys[0].scopes).toEqual(["publish", "consume", "manage"]);
  expect(answer.text).not.toContain(acme.key);
  expect(answer.text).not.toContain(acme.key.slice(15, 58));
});

test("create_single_event: an event is accepted and can be read under the id of the answer", async () => {
  const sent = await acme.api.post("/api/events", { type: "order.created", payload: { order_id: 1 } });
  expect(sent.status).toBe(202);
  expect(sent.body).toEqual({
    id: expect.stringMatching(/^[0-9a-f]{8}-[0-9a-f]{4}-7/),
    status: "accepted",
    created_at: expect.any(String),
  });
  const read = await acme.api.get(`/api/events/${sent.body.id}`);
  expect(read.status).toBe(200);
  expect(read.body).toMatchObject({
    id: sent.body.id,
    type: "order.created",
    payload: { order_id: 1 },
    created_at: sent.body.created_at,
    deliveries: [],
  });
});

test("event_deduplication: of many at once with one dedup_id, one is accepted and all others name it", async () => {
  const event = { type: "order.created", payload: 1, dedup_id: "order-7" };
  const answers = await Promise.all(Array.from({ length: 20 }, () => acme.api.post("/api/events", event)));
  const [accepted, ...none] = answers.filter(({ status }) => status === 202);
  const duplicates = answers.filter(({ status }) => status === 409);
  expect(none).toEqual([]);
  expect(duplicates).toHaveLength(19);
  for (const { body } of duplicates) {
    expect(body).toMatchObject({
      code: "duplicate_event",
      event_id: accepted?.body.id,
      dedup_id: "order-7",
    });
  }
  const byHeader = await acme.api.post(
    "/api/events",
    { type: "order.created", payload: 2 },
    { "idempotency-key": "order-7" },
  );
  expect(byHeader.status).toBe(409);
  expect(byHeader.body.event_id).toBe(accepted?.body.id);
  const other = await server.organization({ name: "Other" });
  expect((await other.api.post("/api/events", event)).status).toBe(202);
});

test("large_payload: a payload of exactly 262,144 bytes is taken, and comes back whole", async () => {
  const text = JSON.stringify("é".repeat((262_144 - 2) / 2));
  expect(Buffer.byteLength(text)).toBe(262_144);
  const sent = await acme.api.post("/api/events", `{"type":"large","payload": ${text} }`);
  expect(sent.status).toBe(202);
  expect((await acme.api.get(`/api/events/${sent.body.id}`)).text).toContain(`"payload":${text},`);
});

test("payload_too_large: one byte more is refused with the limit", async () => {
  const text = JSON.stringify(`a${"é".repeat((262_144 - 2) / 2)}`);
  expect(Buffer.byteLength(text)).toBe(262_145);
  for (const payload of [text, JSON.stringify("a".repeat(3_000_000))]) {
    const answer = await acme.api.post("/api/events", `{"type":"large","payload":${payload}}`);
    expect(answer.status).toBe(413);
    expect(answer.body).toMatchObject({ code: "payload_too_large", limit_bytes: 262_144 });
  }
});

test("batch_event_creation: a hundred events in a row are all accepted and all in the inbox", async () => {
  const { api } = await server.organization({ name: "Batch" });
  const ids: string[] = [];
  for (let i = 0; i < 100; i++) {
    const answer = await api.post("/api/events", { type: "batch.item", payload: { i } });
    expect(answer.status).toBe(202);
    ids.push(answer.body.id);
  }
  const { body } = await api.get("/api/inbox?order=asc");
  expect(body.events.map((event: { id: string }) => event.id)).toEqual(ids);
  expect(body.events.map((event: { payload: { i: number } }) => event.payload.i)).toEqual([...ids.keys()]);
});

test("list_inbox_empty: a new organization's inbox is an empty page", async () => {
  const { api } = await server.organization({ name: "Empty" });
  const answer = await api.get("/api/inbox");
  expect(answer.status).toBe(200);
  expect(answer.body).toEqual({ events: [], next_cursor: null, has_more: false });
});

test("list_inbox_with_events: the newest event is first, with all of its fields", async () => {
  const { api } = await server.organization({ name: "Inbox" });
  await api.post("/api/events", { type: "first", payload: 1 });
  const sent = await api.post("/api/events", { type: "second", payload: null, dedup_id: "d" });
  const { body } = await api.get("/api/inbox");
  expect(body.events.map((event: { type: string }) => event.type)).toEqual(["second", "first"]);
  expect(body.events[0]).toEqual({
    id: sent.body.id,
    type: "second",
    dedup_id: "d",
    payload: null,
    status: "pending",
    attempts: 0,
    response_status: null,
    last_error: null,
    created_at: sent.body.created_at,
    updated_at: expect.any(String),
    next_attempt_at: null,
  });
});

test("inbox_pagination: a walk sees each event exactly once, while new ones arrive", async () => {
  const { api } = await server.organization({ name: "Pages" });
  const before: string[] = [];
  for (let i = 0; i < 25; i++)
    before.push((await api.post("/api/events", { type: "e", payload: i })).body.id);
  for (const order of ["asc", "desc"]) {
    const seen: string[] = [];
    let query = `?limit=10&order=${order}`;
    for (;;) {
      const { body } = await api.get(`/api/inbox${query}`);
      seen.push(...body.events.map((event: { id: string }) => event.id));
      expect(body.has_more).toBe(body.next_cursor !== null);
      if (body.next_cursor === null) break;
      query = `?limit=10&order=${order}&cursor=${body.next_cursor}`;
      await api.post("/api/events", { type: "new", payload: seen.length });
    }
    expect(new Set(seen).size).toBe(seen.length);
    const ofBefore = seen.filter((id) => before.includes(id));
    expect(ofBefore).toEqual(order === "asc" ? before : before.toReversed());
  }
});

test("rate_limit_enforcement: the 101st event of a free organization in a minute is refused", async () => {
  const { api } = await server.organization({ name: "Free", tier: "free" });
  for (let i = 1; i <= 100; i++) {
    const { status, headers } = await api.post("/api/events", { type: "e", payload: i });
    expect(status).toBe(202);
    expect(headers.get("x-ratelimit-limit")).toBe("100");
    expect(headers.get("x-ratelimit-remaining")).toBe(String(100 - i));
    expect(Number(headers.get("x-ratelimit-reset"))).toBeWithin(1, 61);
  }
  const refused = await api.post("/api/events", { type: "e", payload: 101 });
  expect(refused.status).toBe(429);
  expect(refused.body.code).toBe("rate_limited");
  expect(Number(refused.headers.get("retry-after"))).toBeWithin(1, 61);
  expect(refused.headers.get("x-ratelimit-remaining")).toBe("0");
  expect((await api.get("/api/inbox?limit=1000")).body.events).toHaveLength(100);
});

test("configure_webhook: a URL is set, shown, changed under the same secret, and deleted", async () => {
  const { api, id } = await server.organization({ name: "Hooks" });
  expect((await api.get("/api/webhook/config")).status).toBe(404);
  const set = await api.post("/api/webhook/config", { webhook_url: "https://example.com/hook" });
  expect(set.status).toBe(200);
  expect(set.body).toEqual({
    organization_id: id,
    endpoint_id: expect.stringMatching(/^[0-9a-f-]{36}$/),
    webhook_url: "https://example.com/hook",
    signing_secret: expect.stringMatching(/^whsec_[A-Za-z0-9+/]{43}=$/),
    updated_at: expect.any(String),
  });
  const shown = (await api.get("/api/webhook/config")).body;
  expect(shown).toEqual({ ...set.body, signing_secret: null });
  expect((await api.get("/api/keys")).body.webhook_url).toBe("https://example.com/hook");
  const changed = await api.post("/api/webhook/config", { webhook_url: "https://example.com/other" });
  expect(changed.body).toMatchObject({
    endpoint_id: set.body.endpoint_id,
    webhook_url: "https://example.com/other",
    signing_secret: set.body.signing_secret,
  });
  expect((await api.send("DELETE", "/api/webhook/config")).status).toBe(204);
  expect((await api.get("/api/webhook/config")).status).toBe(404);
  expect((await api.send("DELETE", "/api/webhook/config")).status).toBe(404);
});

test("health_check: the server says that it is healthy, live and ready", async () => {
  for (const path of ["/health", "/health/live"]) {
    const answer = await server.api().get(path);
    expect(answer.status).toBe(200);
    expect(answer.body).toEqual({
      status: "healthy",
      version: expect.stringMatching(/^\d+\.\d+\.\d+/),
      uptime_seconds: expect.any(Number),
    });
  }
  const ready = await server.api().get("/health/ready");
  expect(ready.status).toBe(200);
  expect(ready.body.status).toBe("ready");
});

test("missing_api_key: without a key nothing is stored or told", async () => {
  const answer = await server.api().post("/api/events", { type: "e", payload: 1 });
  expect(answer.status).toBe(401);
  expect(answer.body.code).toBe("missing_api_key");
  expect(answer.headers.get("www-authenticate")).toStartWith("Bearer");
});

test("invalid_api_key: a key that is mistyped, made up or none is refused alike", async () => {
  const { key } = acme;
  const mistyped = key.slice(0, 30) + (key[30] === "a" ? "b" : "a") + key.slice(31);
  for (const wrong of [mistyped, "zap_live_x", "x", `${key}x`, key.replace("live", "test")]) {
    const answer = await server.api(wrong).post("/api/events", { type: "e", payload: 1 });
    expect(answer.status).toBe(401);
    expect(answer.body.code).toBe("invalid_api_key");
    expect(answer.headers.get("www-authenticate")).toContain("invalid_token");
  }
  const asBearer = { headers: { authorization: `Bearer ${key}` } };
  expect((await server.api().send("GET", "/api/inbox", asBearer)).status).toBe(200);
});

test("invalid_event_format: each thing that is wrong with an event is pointed at", async () => {
  const cases: [unknown, string[]][] = [
    [{ payload: 1 }, ["/type"]],
    [{ type: "a" }, ["/payload"]],
    [{ type: "a b", payload: 1 }, ["/type"]],
    [{ type: "", payload: 1, dedup_id: "" }, ["/type", "/dedup_id"]],
    [{ type: 1, payload: 1 }, ["/type"]],
    [{ type: "a", payload: 1, dedup_id: 5 }, ["/dedup_id"]],
    [{ type: "a", payload: 1, "un/known": 1 }, ["/un~1known"]],
    [[], [""]],
    ["text", [""]],
    [null, [""]],
  ];
  for (const [event, pointers] of cases) {
    const answer = await acme.api.post("/api/events", JSON.stringify(event));
    expect(answer.status).toBe(422);
    expect(answer.body.code).toBe("validation_failed");
    expect(answer.body.errors.map((error: { pointer: string }) => error.pointer)).toEqual(pointers);
  }
});
