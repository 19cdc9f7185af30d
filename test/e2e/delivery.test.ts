// Delivery, seen from outside: the real process, a real receiver, the official verification.

import { afterEach, expect, test } from "bun:test";
import { Webhook } from "standardwebhooks";
import { eventually, eventWithStatus } from "../help/eventually.ts";
import {
  answer,
  inTurn,
  type Program,
  type Receiver,
  redirectTo,
  refusingUrl,
  startReceiver,
} from "../help/receiver.ts";
import { type Organization, type StartOptions, TestServer } from "../help/server.ts";

const open: { stop(): unknown }[] = [];
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.stop();
});

async function server(options: StartOptions = {}): Promise<TestServer> {
  const env = { WEBHOOK_ALLOW_PRIVATE: "true", RETRY_SCHEDULE: "20ms,20ms", ...options.env };
  const started = await TestServer.start({ ...options, env });
  open.push(started);
  return started;
}

function receiver(program?: Program): Receiver {
  const started = startReceiver();
  if (program) started.on("/", program);
  open.push(started);
  return started;
}

async function configure({ api }: Organization, url: string): Promise<string> {
  const { status, body } = await api.post("/api/webhook/config", { webhook_url: url });
  expect(status).toBe(200);
  return body.signing_secret;
}

async function send({ api }: Organization, body: object): Promise<{ id: string; created_at: string }> {
  const sent = await api.post("/api/events", body);
  expect(sent.status).toBe(202);
  return sent.body;
}

test("an event is delivered as one signed request that the official library verifies", async () => {
  const to = receiver();
  const organization = await (await server()).organization();
  const secret = await configure(organization, to.url);
  const { id, created_at } = await send(organization, { type: "order.created", payload: { total: 12.5 } });
  const got = await to.next();
  expect(got.method).toBe("POST");
  expect(JSON.parse(got.body)).toEqual({
    id,
    type: "order.created",
    timestamp: created_at,
    data: { total: 12.5 },
  });
  expect(Object.keys(JSON.parse(got.body))).toEqual(["id", "type", "timestamp", "data"]);
  expect(got.header("content-type")).toBe("application/json");
  expect(got.header("user-agent")).toMatch(/^ZapierTriggers\/\d+\.\d+\.\d+/);
  expect(got.header("x-event-id")).toBe(id);
  expect(got.header("x-event-type")).toBe("order.created");
  expect(got.header("x-attempt")).toBe("1");
  expect(got.header("webhook-id")).toBe(id);
  const headers = Object.fromEntries(got.rawHeaders);
  expect(new Webhook(secret).verify(got.body, headers)).toBeDefined();
  const other = new Webhook(`whsec_${Buffer.alloc(32, 1).toString("base64")}`);
  expect(() => other.verify(got.body, headers)).toThrow();
  expect(() => new Webhook(secret).verify(`${got.body} `, headers)).toThrow();
  const event = await eventWithStatus(organization.api, id, "delivered");
  expect(event.attempts).toBe(1);
  expect(event.response_status).toBe(200);
  expect(event.last_error).toBeNull();
  expect(event.next_attempt_at).toBeNull();
  expect(event.deliveries).toHaveLength(1);
  expect(to.received).toHaveLength(1);
});

test("a failed attempt is tried again with the same webhook-id until it is taken", async () => {
  const to = receiver(inTurn(answer(500), answer(503), answer(200)));
  const organization = await (await server()).organization();
  await configure(organization, to.url);
  const { id } = await send(organization, { type: "t", payload: 1 });
  await to.waitFor(3);
  expect(to.received.map((one) => one.header("x-attempt"))).toEqual(["1", "2", "3"]);
  expect(new Set(to.received.map((one) => one.header("webhook-id")))).toEqual(new Set([id]));
  expect((await eventWithStatus(organization.api, id, "delivered")).attempts).toBe(3);
});

test("when the schedule is used up the event is a dead letter and says why", async () => {
  const to = receiver(answer(500));
  const organization = await (await server()).organization();
  await configure(organization, to.url);
  const { id } = await send(organization, { type: "t", payload: 1 });
  const event = await eventWithStatus(organization.api, id, "dead_letter");
  expect(event.attempts).toBe(3);
  expect(event.response_status).toBe(500);
  expect(event.last_error).toContain("http_status");
  expect(event.next_attempt_at).toBeNull();
  expect(to.received).toHaveLength(3);
  const inbox = await organization.api.get("/api/inbox?status=dead_letter");
  expect(inbox.body.events.map((one: { id: string }) => one.id)).toEqual([id]);
});

test("a redirect is a failure and is not followed", async () => {
  const elsewhere = receiver();
  const to = receiver(redirectTo(elsewhere.url));
  const organization = await (await server({ env: { RETRY_SCHEDULE: "10ms" } })).organization();
  await configure(organization, to.url);
  const { id } = await send(organization, { type: "t", payload: 1 });
  const event = await eventWithStatus(organization.api, id, "dead_letter");
  expect(event.last_error).toContain("redirect");
  expect(elsewhere.received).toHaveLength(0);
});

test("receivers that refuse, hang, drip or never end are failures, and delay no other organization", async () => {
  const at = await server({ env: { WEBHOOK_TIMEOUT: "1s", RETRY_SCHEDULE: "1h" } });
  const healthy = await at.organization({ name: "healthy" });
  const good = receiver();
  await configure(healthy, good.url);
  const programs: Program[] = [
    { kind: "hang" },
    { kind: "drip_headers" },
    { kind: "drip_body", status: 200 },
    { kind: "reset" },
    { kind: "hang_up" },
  ];
  const urls = [refusingUrl(), ...programs.map((program) => receiver(program).url)];
  const sick: { organization: Organization; id: string }[] = [];
  for (const url of urls) {
    const organization = await at.organization({ name: "sick" });
    await configure(organization, url);
    for (let i = 0; i < 20; i++) await send(organization, { type: "t", payload: i });
    sick.push({ organization, id: (await send(organization, { type: "t", payload: "last" })).id });
  }
  const nobody = await at.organization({ name: "without a webhook" });
  for (let i = 0; i < 20; i++) await send(nobody, { type: "t", payload: i });
  for (let i = 0; i < 20; i++) await send(healthy, { type: "t", payload: i });
  await good.waitFor(20);
  expect((await at.api().get("/health/ready")).status).toBe(200);
  const stuck = await sick[1]?.organization.api.get("/api/inbox?status=delivered");
  expect(stuck?.body.events).toEqual([]);
  for (const { organization } of sick) {
    const failed = await eventually(
      () => organization.api.get("/api/inbox?status=failed"),
      ({ body }) => body.events.length > 0,
    );
    expect(failed.body.events[0].last_error).toMatch(
      /^(connection_refused|connection_reset|timeout|bad_response): /,
    );
    expect(failed.body.events[0].next_attempt_at).not.toBeNull();
  }
});

test("an answer without an end is judged by its status and not read to its end", async () => {
  const to = receiver({ kind: "endless_body", status: 200 });
  const organization = await (await server()).organization();
  await configure(organization, to.url);
  const { id } = await send(organization, { type: "t", payload: 1 });
  expect((await eventWithStatus(organization.api, id, "delivered")).attempts).toBe(1);
});

test("410 disables the webhook and holds its events; setting it again delivers them", async () => {
  const to = receiver(inTurn(answer(410), answer(200)));
  const organization = await (await server()).organization();
  await configure(organization, to.url);
  const first = await send(organization, { type: "t", payload: 1 });
  await eventWithStatus(organization.api, first.id, "failed");
  const second = await send(organization, { type: "t", payload: 2 });
  expect((await organization.api.get(`/api/events/${second.id}`)).body.status).toBe("pending");
  expect(to.received).toHaveLength(1);
  await configure(organization, to.url);
  await eventWithStatus(organization.api, first.id, "delivered");
  await eventWithStatus(organization.api, second.id, "delivered");
});

test("an acknowledged event is not tried again, and a late failure does not undo it", async () => {
  const answered = Promise.withResolvers<void>();
  const to = receiver(() => {
    answered.resolve();
    return answer(500, { delayMs: 300 });
  });
  const organization = await (await server()).organization();
  await configure(organization, to.url);
  const { id } = await send(organization, { type: "t", payload: 1 });
  await answered.promise;
  expect((await organization.api.post(`/api/ack/${id}`)).status).toBe(200);
  const event = await eventually(
    () => organization.api.get(`/api/events/${id}`),
    ({ body }) => body.attempts === 1,
  );
  expect(event.body.status).toBe("delivered");
  expect(event.body.deliveries[0].status).toBe("cancelled");
  expect(event.body.next_attempt_at).toBeNull();
  expect(to.received).toHaveLength(1);
});

test("events wait in the inbox when there is no webhook, and deleting one cancels what waits", async () => {
  const at = await server({ env: { RETRY_SCHEDULE: "1h" } });
  const organization = await at.organization();
  const before = await send(organization, { type: "t", payload: 0 });
  await configure(organization, refusingUrl());
  const waiting = await send(organization, { type: "t", payload: 1 });
  await eventWithStatus(organization.api, waiting.id, "failed");
  expect((await organization.api.send("DELETE", "/api/webhook/config")).status).toBe(204);
  const event = (await organization.api.get(`/api/events/${waiting.id}`)).body;
  expect(event.deliveries[0].status).toBe("cancelled");
  expect(event.next_attempt_at).toBeNull();
  expect(
    (await organization.api.get("/api/inbox?status=pending")).body.events.map(
      (one: { id: string }) => one.id,
    ),
  ).toEqual([waiting.id, before.id]);
});

test("a retry that was due during a restart goes out after it, and nothing is sent twice that was taken", async () => {
  const to = receiver(inTurn(answer(200), answer(500), answer(200)));
  const env = { RETRY_SCHEDULE: "200ms,200ms" };
  const first = await server({ env });
  const organization = await first.organization();
  await configure(organization, to.url);
  const taken = await send(organization, { type: "t", payload: 1 });
  await eventWithStatus(organization.api, taken.id, "delivered");
  const failing = await send(organization, { type: "t", payload: 2 });
  await eventWithStatus(organization.api, failing.id, "failed");
  await first.kill("SIGKILL");
  const second = await server({ dataDir: first.dataDir, env });
  await eventWithStatus(second.api(organization.key), failing.id, "delivered");
  expect(to.received.map((one) => one.header("webhook-id"))).toEqual([taken.id, failing.id, failing.id]);
});

test("webhooks to private addresses are refused by default, and the refusal names the setting", async () => {
  const at = await TestServer.start();
  open.push(at);
  const { api } = await at.organization();
  for (const url of [
    "http://example.com/",
    "https://127.0.0.1/",
    "https://10.1.2.3/",
    "https://[::1]/",
    "https://2130706433/",
  ]) {
    const { status, body } = await api.post("/api/webhook/config", { webhook_url: url });
    expect(status).toBe(422);
    expect(JSON.stringify(body)).toContain("WEBHOOK_ALLOW_PRIVATE");
  }
  expect((await api.get("/api/webhook/config")).status).toBe(404);
});
