// More than the server can take, with the queue at its default length: what is refused is told so and is not stored,
// what is accepted is all there, and when it is over the server is as it was.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { eventually } from "../help/eventually.ts";
import { type Answer, type Organization, TestServer } from "../help/server.ts";

const BATCH_EVENTS = 1_000;
/** So many at once are 40 000 events; 10 000 may wait. */
const BATCHES_AT_ONCE = 40;
const RATE_LIMIT = 10_000_000;

let server: TestServer;
beforeAll(async () => {
  // What is delivered would take its own share of the machine.
  server = await TestServer.start({ env: { DISABLE_WEBHOOK_DELIVERY: "true" } });
});
afterAll(async () => {
  await server?.stop();
});

async function organization(limit: number): Promise<Organization> {
  const made = await server.organization();
  const body = JSON.stringify({ rate_limit_per_minute: limit });
  const headers = { "content-type": "application/json" };
  await server.api().send("PATCH", `/api/admin/organizations/${made.id}`, { body, headers });
  return made;
}

let batches = 0;
/** A batch whose events can be told from those of all others. */
function batchText(): string {
  const batch = ++batches;
  const events = Array.from({ length: BATCH_EVENTS }, (_, n) => ({
    type: "load.sent",
    dedup_id: `${batch}-${n}`,
    payload: { batch },
  }));
  return JSON.stringify({ events });
}

const sendMany = ({ api }: Organization) =>
  Promise.all(Array.from({ length: BATCHES_AT_ONCE }, () => api.post("/api/events/batch", batchText())));

async function exportedIds({ id }: Organization): Promise<Set<string>> {
  const { text } = await server.api().get(`/api/admin/organizations/${id}/export`);
  const events = text.split("\n").filter((line) => line.startsWith('{"kind":"event"'));
  return new Set(events.map((line) => JSON.parse(line).id));
}

const idsOf = (answers: readonly Answer[]): string[] =>
  answers.flatMap(({ body }) => body.results.map((result: { id: string }) => result.id));

test("beyond its queue the server refuses with 503 and Retry-After, stores nothing of that, and all that it accepted", async () => {
  const acme = await organization(RATE_LIMIT);
  const accepted: Answer[] = [];
  let refused: Answer[] = [];
  await eventually(
    () => sendMany(acme),
    (answers) => {
      accepted.push(...answers.filter(({ status }) => status === 202));
      refused = answers.filter(({ status }) => status !== 202);
      return refused.length > 0 && accepted.length > 0;
    },
  );
  for (const { status, body, headers } of refused) {
    expect([status, body.code]).toEqual([503, "overloaded"]);
    expect(Number(headers.get("retry-after"))).toBeGreaterThan(0);
  }
  expect(accepted.every(({ body }) => body.accepted === BATCH_EVENTS)).toBe(true);
  expect(await exportedIds(acme)).toEqual(new Set(idsOf(accepted)));
});

test("a few events are too many when they are large: the queue has a bound in bytes as well", async () => {
  const acme = await organization(RATE_LIMIT);
  // 160 MB of them at once, and no more than 640 events.
  const events = Array(32).fill({ type: "load.sent", payload: "x".repeat(250_000) });
  const accepted: Answer[] = [];
  const refused = await eventually(
    () => Promise.all(Array.from({ length: 20 }, () => acme.api.post("/api/events/batch", { events }))),
    (answers) => {
      accepted.push(...answers.filter(({ status }) => status === 202));
      return answers.some(({ status }) => status !== 202);
    },
  );
  for (const { status, body, headers } of refused.filter((one) => one.status !== 202)) {
    expect([status, body.code]).toEqual([503, "overloaded"]);
    expect(Number(headers.get("retry-after"))).toBeGreaterThan(0);
  }
  expect(accepted.length).toBeGreaterThan(0);
  expect(await exportedIds(acme)).toEqual(new Set(idsOf(accepted)));
});

test("one that sends more than its rate is refused with 429 while the others' overload lasts, and loses nothing", async () => {
  const [loud, limited] = [await organization(RATE_LIMIT), await organization(10)];
  const flood = sendMany(loud);
  const answers: Answer[] = [];
  for (let n = 0; n < 30; n++)
    answers.push(await limited.api.post("/api/events", { type: "load.sent", payload: n }));
  await flood;
  const accepted = answers.filter(({ status }) => status === 202);
  expect(accepted.length).toBeLessThanOrEqual(10);
  for (const { status, body, headers } of answers.filter((one) => one.status !== 202)) {
    expect(["429 rate_limited", "503 overloaded"]).toContain(`${status} ${body.code}`);
    expect(Number(headers.get("retry-after"))).toBeGreaterThan(0);
  }
  expect(await exportedIds(limited)).toEqual(new Set(accepted.map(({ body }) => body.id)));
});

test("afterwards the queue is empty, the server is ready and takes events as before", async () => {
  await eventually(
    () => server.api().get("/health/ready"),
    ({ status }) => status === 200,
  );
  const queued = await eventually(
    () => server.api().get("/metrics"),
    ({ text }) => /^event_queue_size 0$/m.test(text),
  );
  expect(queued.status).toBe(200);
  const { api } = await server.organization();
  const sent = await api.post("/api/events", { type: "a", payload: 1 });
  expect([sent.status, (await api.get(`/api/events/${sent.body.id}`)).status]).toEqual([202, 200]);
});
