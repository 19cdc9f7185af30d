// Ordered endpoints: strictly by acceptance, one in flight, the next only after the last is delivered or dead-lettered;
// over retries, restarts, disabling and enabling, and when it was made ordered with a backlog.

import { afterEach, expect, test } from "bun:test";
import { eventually, eventWithStatus } from "../help/eventually.ts";
import { answer, type Program, type Receiver, startReceiver } from "../help/receiver.ts";
import { type Api, TestServer } from "../help/server.ts";

const open: { stop(): unknown }[] = [];
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.stop();
});

async function start(schedule: string, dataDir?: string): Promise<TestServer> {
  const env = { WEBHOOK_ALLOW_PRIVATE: "true", RETRY_SCHEDULE: schedule };
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

async function endpoint(api: Api, to: Receiver, settings: object = { ordered: true }): Promise<string> {
  const made = await api.post("/api/endpoints", { url: to.url, ...settings });
  expect(made.status).toBe(201);
  return made.body.id;
}

async function send(api: Api, count: number): Promise<string[]> {
  const ids: string[] = [];
  for (let n = 0; n < count; n++)
    ids.push((await api.post("/api/events", { type: "t", payload: n })).body.id);
  return ids;
}

/** Every third request of an event is taken, the ones before fail. */
function thirdTime(): { program: Program; taken: string[] } {
  const asked = new Map<string, number>();
  const taken: string[] = [];
  const program: Program = (got) => {
    const id = got.header("webhook-id") ?? "";
    const times = (asked.get(id) ?? 0) + 1;
    asked.set(id, times);
    if (times < 3) return answer(503);
    taken.push(id);
    return answer();
  };
  return { program, taken };
}

/** The requests without those that repeat the one before. */
function withoutRepeats(to: Receiver): (string | null)[] {
  const ids = to.received.map((one) => one.header("webhook-id"));
  return ids.filter((id, i) => id !== ids[i - 1]);
}

test("an ordered endpoint gets its events by acceptance, also over retries, one at a time", async () => {
  const { program, taken } = thirdTime();
  const to = receiver(program);
  const { api } = await (await start("5ms,5ms,5ms")).organization();
  await endpoint(api, to);
  const ids = await send(api, 3);
  await eventWithStatus(api, ids.at(-1) ?? "", "delivered");
  expect(taken).toEqual(ids);
  expect(withoutRepeats(to)).toEqual(ids);
  expect(to.received.length).toBe(9);
});

test("after a dead letter the next event of an ordered endpoint goes", async () => {
  let first: string | null = null;
  const to = receiver((got) => {
    first ??= got.header("webhook-id");
    return answer(got.header("webhook-id") === first ? 500 : 200);
  });
  const { api } = await (await start("5ms")).organization();
  await endpoint(api, to);
  const ids = await send(api, 5);
  await eventWithStatus(api, ids.at(-1) ?? "", "delivered");
  expect(withoutRepeats(to)).toEqual(ids);
  expect((await api.get(`/api/events/${ids[0]}`)).body.status).toBe("dead_letter");
});

test("the order holds over a restart in the middle of a retry", async () => {
  const { program, taken } = thirdTime();
  const to = receiver(program);
  const server = await start("200ms,200ms,200ms");
  const { api, key } = await server.organization();
  await endpoint(api, to);
  const ids = await send(api, 3);
  await to.next();
  await eventWithStatus(api, ids[0] ?? "", "failed");
  await server.kill("SIGKILL");
  const again = (await start("5ms,5ms,5ms", server.dataDir)).api(key);
  await eventWithStatus(again, ids.at(-1) ?? "", "delivered");
  expect(taken).toEqual(ids);
  expect(withoutRepeats(to)).toEqual(ids);
});

test("disabled in a retry and enabled again, an ordered endpoint goes on with its oldest event", async () => {
  const { program, taken } = thirdTime();
  const to = receiver(program);
  const { api } = await (await start("1h,5ms,5ms")).organization();
  const id = await endpoint(api, to);
  const ids = await send(api, 2);
  await eventWithStatus(api, ids[0] ?? "", "failed");
  expect((await api.post(`/api/endpoints/${id}/disable`)).status).toBe(200);
  ids.push(...(await send(api, 2)));
  // Enabling sends the oldest at once, whatever its retry waited for; its second failure is retried after 5 ms.
  expect((await api.post(`/api/endpoints/${id}/enable`)).status).toBe(200);
  await eventWithStatus(api, ids[0] ?? "", "delivered");
  for (const later of ids.slice(1)) {
    await eventWithStatus(api, later, "failed");
    await api.post(`/api/endpoints/${id}/enable`);
    await eventWithStatus(api, later, "delivered");
  }
  expect(taken).toEqual(ids);
  expect(withoutRepeats(to)).toEqual(ids);
});

test("made ordered with retries waiting, an endpoint goes on by acceptance", async () => {
  let healthy = false;
  const to = receiver(() => answer(healthy ? 200 : 500));
  const { api } = await (await start("1h")).organization();
  const id = await endpoint(api, to, {});
  const ids = await send(api, 3);
  for (const one of ids) await eventWithStatus(api, one, "failed");
  const before = to.received.length;
  healthy = true;
  expect((await api.send("PATCH", `/api/endpoints/${id}`, patch({ ordered: true }))).status).toBe(200);
  await eventWithStatus(api, ids.at(-1) ?? "", "delivered");
  expect(to.received.slice(before).map((one) => one.header("webhook-id"))).toEqual(ids);
});

test("acknowledging the event that an ordered endpoint waits for lets the next one go", async () => {
  let first: string | null = null;
  const to = receiver((got) => {
    first ??= got.header("webhook-id");
    return answer(got.header("webhook-id") === first ? 500 : 200);
  });
  const { api } = await (await start("1h")).organization();
  await endpoint(api, to);
  const ids = await send(api, 2);
  await eventWithStatus(api, ids[0] ?? "", "failed");
  const explained = await api.get(`/api/events/${ids[1]}/explain`);
  expect(explained.body.endpoints[0].reason).toBe("waits_for_earlier");
  expect(explained.body.endpoints[0].detail).toContain(ids[0]);
  expect((await api.post(`/api/ack/${ids[0]}`)).status).toBe(200);
  await eventWithStatus(api, ids[1] ?? "", "delivered");
});

test("an ordered endpoint that waits leaves another endpoint of the same events alone", async () => {
  const { api } = await (await start("1h")).organization();
  const stuck = receiver({ kind: "hang" });
  const to = receiver(answer());
  await endpoint(api, stuck);
  await endpoint(api, to, {});
  const ids = await send(api, 20);
  await to.waitFor(20);
  expect(new Set(to.received.map((one) => one.header("webhook-id")))).toEqual(new Set(ids));
  await eventually(
    async () => stuck.received.length,
    (count) => count === 1,
  );
});

function patch(body: object): RequestInit {
  return { body: JSON.stringify(body), headers: { "content-type": "application/json" } };
}
