// What was erased is gone from the files, byte by byte: not only from the answers. The word that is searched for stands
// in everything that an organization and its receiver can choose themselves.

import { afterEach, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { eventually } from "../help/eventually.ts";
import { gaugeIs } from "../help/gauge.ts";
import { answer, startReceiver } from "../help/receiver.ts";
import { type Organization, TestServer } from "../help/server.ts";

const WORD = "Zq7-marker-of-the-erased-Zq7";
const env = { WEBHOOK_ALLOW_PRIVATE: "true", RETRY_SCHEDULE: "1h" };
const open: { stop(): unknown }[] = [];
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.stop();
});

/** How often the word is in each file of the data directory, of those where it is. */
function found(dataDir: string): Record<string, number> {
  const counts = readdirSync(dataDir).map((name) => {
    const text = readFileSync(path.join(dataDir, name)).toString("latin1");
    return [name, text.split(WORD).length - 1] as const;
  });
  return Object.fromEntries(counts.filter(([, count]) => count > 0));
}

/** Everything that it can choose, and what its receiver answers. */
async function fill({ api }: Organization, url: string): Promise<void> {
  const endpoint = { url, description: WORD, headers: { "x-own": WORD }, event_types: [`${WORD}.*`] };
  await api.post("/api/webhook/config", { webhook_url: url });
  await api.post("/api/endpoints", endpoint);
  const deleted = await api.post("/api/endpoints", endpoint);
  await api.send("DELETE", `/api/endpoints/${deleted.body.id}`);
  await api.post("/api/keys", { name: WORD }, { "x-request-id": WORD });
}

const CASES = [
  { events: 2_500, bytesMax: 300 },
  { events: 400, bytesMax: 9_000 },
];

for (const { events, bytesMax } of CASES) {
  test(`no byte of an erased organization is in the files: ${events} events of up to ${bytesMax} bytes`, async () => {
    const receiver = startReceiver();
    open.push(receiver);
    receiver.on(`/${WORD}`, answer(500, { body: WORD }));
    const server = await TestServer.start({ env });
    open.push(server);
    const gone = await server.organization({ name: `${WORD} Ltd` });
    const others = [await server.organization({ name: "A" }), await server.organization({ name: "B" })];
    await fill(gone, `${receiver.url}/${WORD}`);
    // Between those of others, so that pages are shared, split and merged.
    for (let n = 0; n < events; n += 10) {
      const payloadOf = (word: string, i: number) => word + ".".repeat(((n + i) * 7_919) % bytesMax) + word;
      const batch = (word: string) => ({
        events: Array.from({ length: 10 }, (_, i) => ({
          ...{ type: `${word}.${n}`, dedup_id: `${word}-${n + i}`, payload: { [word]: payloadOf(word, i) } },
        })),
      });
      const sent = [gone.api.post("/api/events/batch", batch(WORD))];
      for (const other of others) sent.push(other.api.post("/api/events/batch", batch("kept")));
      for (const { status } of await Promise.all(sent)) expect(status).toBe(202);
    }
    await eventually(
      () => gone.api.get("/api/deliveries?status=failed&limit=1"),
      ({ body }) => body.deliveries.length === 1,
    );
    await gone.api.post("/api/inbox/lease", { max: 100 });
    expect(Object.keys(found(server.dataDir))).toContain("triggers.db-wal");

    const erased = await server.api().send("DELETE", `/api/admin/organizations/${gone.id}`);
    expect(erased.status).toBe(204);
    expect(found(server.dataDir)).toEqual({});
    const copy = path.join(server.dataDir, "copy.db");
    const { Database } = await import("bun:sqlite");
    const db = new Database(path.join(server.dataDir, "triggers.db"), { readonly: true });
    db.run("VACUUM INTO ?", [copy]);
    db.close();
    expect(found(server.dataDir)).toEqual({});
    for (const { api } of others) {
      expect((await api.get("/api/inbox?limit=1")).body.events).toHaveLength(1);
    }
  });
}

for (const route of ["/api/events", "/api/events/batch"]) {
  test(`POST ${route} that was let in before the erasure, and whose body ends behind it, stores nothing`, async () => {
    const server = await TestServer.start({ env });
    open.push(server);
    const gone = await server.organization({ name: "Gone" });
    const event = { type: "late", payload: WORD };
    const text = JSON.stringify(route.endsWith("batch") ? { events: [event, event] } : event);
    const goOn = Promise.withResolvers<void>();
    const body = new ReadableStream({
      async start(controller) {
        controller.enqueue(text.slice(0, 10));
        await goOn.promise;
        controller.enqueue(text.slice(10));
        controller.close();
      },
    });
    const headers = { "content-type": "application/json" };
    const late = gone.api.send("POST", route, { body, headers });
    await gaugeIs(server.api(), "auth_latency_seconds_count", 1); // it is let in
    const erased = await server.api().send("DELETE", `/api/admin/organizations/${gone.id}`);
    expect(erased.status).toBe(204);
    goOn.resolve();
    const { status, body: problem } = await late;
    expect([status, problem.code]).toEqual([401, "invalid_api_key"]);
    expect(found(server.dataDir)).toEqual({});
    await server.stop();
    const { Database } = await import("bun:sqlite");
    const db = new Database(path.join(server.dataDir, "triggers.db"), { readonly: true });
    expect(db.query("SELECT count(*) AS n FROM events").get()).toEqual({ n: 0 });
    db.close();
  });
}

test("an erasure that a kill -9 interrupts is finished after the start", async () => {
  const server = await TestServer.start({ env });
  const gone = await server.organization({ name: `${WORD} Ltd` });
  for (let n = 0; n < 6; n++) {
    const events = Array.from({ length: 1_000 }, (_, i) => ({ type: WORD, payload: `${WORD} ${n} ${i}` }));
    await gone.api.post("/api/events/batch", { events });
  }
  const erasing = server
    .api()
    .send("DELETE", `/api/admin/organizations/${gone.id}`)
    .catch(() => null);
  // Its keys are refused from the first step on; there are twelve more.
  await eventually(
    () => gone.api.get("/api/keys"),
    ({ status }) => status === 401,
  );
  await server.kill("SIGKILL");
  await erasing;

  const again = await TestServer.start({ dataDir: server.dataDir, env });
  open.push(again);
  const audit = `/api/admin/audit?organization_id=${gone.id}`;
  await eventually(
    () => again.api().get(audit),
    ({ body }) => body.entries[0].action === "organization.erased",
  );
  expect(found(again.dataDir)).toEqual({});
});
