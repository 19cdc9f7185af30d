// The breaker of an endpoint: after ten failures in a row one probe at a time, while what waits keeps its attempts; its
// state outlives a restart; one success heals it.

import { afterEach, expect, test } from "bun:test";
import { eventually, eventWithStatus } from "../help/eventually.ts";
import { answer, type Program, type Receiver, startReceiver } from "../help/receiver.ts";
import { type Api, type Organization, TestServer } from "../help/server.ts";

const open: { stop(): unknown }[] = [];
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.stop();
});

const SCHEDULE = "1ms,1ms,1ms,1ms,1ms,1ms,1ms,1ms,1ms,1ms,1ms,1ms,1ms,1ms,1ms,1ms,1ms,1ms,1ms,1ms";

async function start(dataDir?: string): Promise<TestServer> {
  const env = { WEBHOOK_ALLOW_PRIVATE: "true", RETRY_SCHEDULE: SCHEDULE };
  const server = await TestServer.start({ ...(dataDir ? { dataDir } : {}), env });
  open.push(server);
  return server;
}

function receiver(program: Program): Receiver {
  const started = startReceiver();
  started.on("/", program);
  open.push(started);
  return started;
}

async function configure({ api }: Organization, to: Receiver): Promise<string> {
  return (await api.post("/api/webhook/config", { webhook_url: to.url })).body.endpoint_id;
}

async function send(api: Api, count: number): Promise<string[]> {
  const sent = Array.from({ length: count }, (_, n) => api.post("/api/events", { type: "t", payload: n }));
  return (await Promise.all(sent)).map(({ body }) => body.id);
}

const brokenOpen = (api: Api, id: string) =>
  eventually(
    () => api.get(`/api/endpoints/${id}`),
    ({ body }) => body.consecutive_failures >= 10 && body.paused_until !== null,
  );

/** When this has arrived, the loop has been through its rounds once more. */
async function roundTrip(organization: Organization): Promise<void> {
  const to = receiver(answer());
  await configure(organization, to);
  const [id = ""] = await send(organization.api, 1);
  await to.next();
  await eventWithStatus(organization.api, id, "delivered");
}

test("after ten failures in a row an endpoint gets one probe at a time, and what waits keeps its attempts", async () => {
  let hangs = false;
  let healthy = false;
  const to = receiver(() => {
    if (healthy) return answer();
    return hangs ? { kind: "hang" } : answer(500);
  });
  const server = await start();
  const [organization, other] = [await server.organization(), await server.organization()];
  const endpoint = await configure(organization, to);
  const { api } = organization;
  const ids = await send(api, 60);
  await brokenOpen(api, endpoint);
  hangs = true;
  const untried = (await api.get("/api/inbox?status=pending&limit=100")).body.events;
  expect(untried.length).toBeGreaterThan(0);
  for (const event of untried) expect(event.attempts).toBe(0);
  // The next probe comes and hangs: nothing else is sent meanwhile.
  const before = to.received.length;
  await to.waitFor(before + 1);
  await roundTrip(other);
  expect(to.received.length).toBe(before + 1);
  const explained = await api.get(`/api/events/${untried[0].id}/explain`);
  expect(explained.body.endpoints[0].reason).toBe("breaker_open");
  // Healed: the probe that hangs is cut off, the next one succeeds, and then everything flows.
  healthy = true;
  to.hangUp();
  for (const id of ids) await eventWithStatus(api, id, "delivered");
  const healed = (await api.get(`/api/endpoints/${endpoint}`)).body;
  expect(healed.consecutive_failures).toBe(0);
  expect(healed.failing_since).toBeNull();
});

test("the breaker's state outlives a restart, and enabling the endpoint closes it", async () => {
  let healthy = false;
  const to = receiver(() => answer(healthy ? 200 : 500));
  const server = await start();
  const organization = await server.organization();
  const endpoint = await configure(organization, to);
  const ids = await send(organization.api, 40);
  const before = (await brokenOpen(organization.api, endpoint)).body;
  await server.kill("SIGKILL");
  const again = await start(server.dataDir);
  const api = again.api(organization.key);
  const after = (await api.get(`/api/endpoints/${endpoint}`)).body;
  expect(after.consecutive_failures).toBeGreaterThanOrEqual(10);
  expect(after.failing_since).toBe(before.failing_since);
  healthy = true;
  const enabled = await api.post(`/api/endpoints/${endpoint}/enable`);
  expect(enabled.status).toBe(200);
  expect(enabled.body.consecutive_failures).toBe(0);
  for (const id of ids) await eventWithStatus(api, id, "delivered");
});

test("a Retry-After pauses the endpoint: nothing is sent before, neither the same event nor another", async () => {
  const to = receiver(() => answer(429, { headers: { "retry-after": "3600" } }));
  const server = await start();
  const [organization, other] = [await server.organization(), await server.organization()];
  const endpoint = await configure(organization, to);
  const [first = ""] = await send(organization.api, 1);
  await eventWithStatus(organization.api, first, "failed");
  const [second = ""] = await send(organization.api, 1);
  await roundTrip(other);
  expect(to.received.length).toBe(1);
  const { body } = await organization.api.get(`/api/endpoints/${endpoint}`);
  const pausedMs = Date.parse(body.paused_until) - Date.now();
  expect(pausedMs).toBeGreaterThan(3_500_000);
  expect(pausedMs).toBeLessThan(3_700_000);
  expect((await organization.api.get(`/api/events/${second}`)).body.status).toBe("pending");
  const explained = await organization.api.get(`/api/events/${second}/explain`);
  expect(explained.body.endpoints[0].reason).toBe("paused");
});
