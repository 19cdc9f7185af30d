// The audit record: who changed keys, endpoints and organizations. An entry is in the transaction of its change.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { eventually } from "../help/eventually.ts";
import { answer, startReceiver } from "../help/receiver.ts";
import { type Api, apiOf, TestServer } from "../help/server.ts";

const TOKEN = "an-admin-token-of-32-characters!";
const env = { ADMIN_TOKEN: TOKEN, WEBHOOK_ALLOW_PRIVATE: "true" };
let server: TestServer;
let operator: Api;

beforeAll(async () => {
  server = await TestServer.start({ env });
  operator = apiOf(server.url, { authorization: `Bearer ${TOKEN}` });
});
afterAll(async () => {
  await server?.stop();
});

type Entry = {
  action: string;
  actor: string;
  key_id: string | null;
  request_id: string | null;
  subject_id: string | null;
  details: object;
};

async function made(name = "Acme") {
  const { body } = await operator.post("/api/keys/generate", { organization_name: name, tier: "pro" });
  return { id: body.organization_id as string, keyId: body.key_id as string, api: server.api(body.api_key) };
}

/** The organization's entries, the oldest first. */
async function entriesOf(id: string, api = operator): Promise<Entry[]> {
  const { body } = await api.get(`/api/admin/audit?organization_id=${id}&limit=1000`);
  return body.entries.reverse();
}

const brief = ({ action, actor, subject_id, details }: Entry) => [action, actor, subject_id, details];

test("tells each change of keys, endpoints and the organization, in order, and who made it", async () => {
  const { id, keyId, api } = await made();
  const key = (await api.post("/api/keys", { name: "reader", scopes: ["consume"] })).body.key_id;
  await api.send("DELETE", `/api/keys/${key}`);
  const rotated = (await api.post("/api/keys/rotate", { overlap_seconds: 60 })).body.key_id;
  const endpoint = (await api.post("/api/endpoints", { url: "http://127.0.0.1:1/" })).body.id;
  const where = `/api/endpoints/${endpoint}`;
  await api.send("PATCH", where, {
    body: JSON.stringify({ url: "http://127.0.0.1:2/", event_types: ["a"] }),
    headers: { "content-type": "application/json" },
  });
  await api.post(`${where}/disable`);
  await api.post(`${where}/enable`);
  await api.post(`${where}/rotate-secret`);
  await api.send("DELETE", where);
  const webhook = (await api.post("/api/webhook/config", { webhook_url: "http://127.0.0.1:1/" })).body
    .endpoint_id;
  await api.post("/api/webhook/config", { webhook_url: "http://127.0.0.1:2/" });
  await operator.send("PATCH", `/api/admin/organizations/${id}`, {
    body: JSON.stringify({ tier: "business", disabled: false }),
    headers: { "content-type": "application/json" },
  });
  await operator.get(`/api/admin/organizations/${id}/export`);
  expect((await entriesOf(id)).map(brief)).toEqual([
    ["organization.created", "admin", keyId, { tier: "pro" }],
    ["key.created", "key", key, { scopes: ["consume"] }],
    ["key.deleted", "key", key, {}],
    ["key.rotated", "key", keyId, { new_key_id: rotated }],
    ["endpoint.created", "key", endpoint, {}],
    ["endpoint.updated", "key", endpoint, { changed: ["url", "event_types"] }],
    ["endpoint.disabled", "key", endpoint, { reason: "manual" }],
    ["endpoint.enabled", "key", endpoint, {}],
    ["endpoint.secret_rotated", "key", endpoint, {}],
    ["endpoint.deleted", "key", endpoint, {}],
    ["endpoint.created", "key", webhook, { name: "default" }],
    ["endpoint.updated", "key", webhook, { changed: ["url"] }],
    ["organization.updated", "admin", null, { tier: "business", disabled: false }],
    ["organization.exported", "admin", null, {}],
  ]);
});

test("names the key, the address and the request of a change", async () => {
  const { id, keyId, api } = await made();
  await api.post("/api/keys", {}, { "x-request-id": "of-the-caller" });
  const [, entry] = await entriesOf(id);
  expect(entry).toMatchObject({ key_id: keyId, address: "127.0.0.1", request_id: "of-the-caller" });
});

test("a change that is refused leaves no entry", async () => {
  const { id, keyId, api } = await made();
  for (const refused of [
    await api.send("DELETE", `/api/keys/${keyId}`),
    await api.send("DELETE", "/api/keys/nobody"),
    await api.post("/api/endpoints/01a1fd3a-0340-7000-8f4e-3b8d1c6a9e53/disable"),
    await api.post("/api/keys", { scopes: ["everything"] }),
  ]) {
    expect(refused.status).toBeGreaterThanOrEqual(400);
  }
  expect((await entriesOf(id)).map(({ action }) => action)).toEqual(["organization.created"]);
});

test("an endpoint that says it is gone was disabled by the server", async () => {
  const receiver = startReceiver();
  receiver.on("/gone", answer(410));
  const { id, api } = await made();
  const webhook_url = `${receiver.url}/gone`;
  const endpoint = (await api.post("/api/webhook/config", { webhook_url })).body.endpoint_id;
  await api.post("/api/events", { type: "a", payload: 1 });
  const entries = await eventually(
    () => entriesOf(id),
    (all) => all.some(({ actor }) => actor === "server"),
  );
  receiver.stop();
  expect(entries.slice(2).map(brief)).toEqual([
    ["endpoint.disabled", "server", endpoint, { reason: "gone" }],
  ]);
});

test("a walk by cursor tells each entry once, the newest first, within the times asked for", async () => {
  const { id, api } = await made();
  for (let i = 0; i < 6; i++) await api.post("/api/keys", {});
  const seen: string[] = [];
  let cursor = "";
  do {
    const { body } = await operator.get(`/api/admin/audit?organization_id=${id}&limit=3${cursor}`);
    seen.push(...body.entries.map((entry: Entry) => entry.subject_id));
    cursor = body.has_more ? `&cursor=${body.next_cursor}` : "";
  } while (cursor !== "");
  expect(seen).toEqual((await entriesOf(id)).map((entry) => entry.subject_id ?? "").reverse());
  expect(seen).toHaveLength(7);
  const later = await operator.get("/api/admin/audit?since=2999-01-01T00:00:00Z");
  const earlier = await operator.get("/api/admin/audit?until=2001-01-01T00:00:00Z");
  expect([later.body.entries, earlier.body.entries]).toEqual([[], []]);
  expect((await operator.get("/api/admin/audit?organization_id=x")).status).toBe(422);
});

test("of an erased organization the ids stay, and nothing that it chose itself", async () => {
  const { id, keyId, api } = await made();
  await api.post("/api/keys", {}, { "x-request-id": "chosen-by-the-caller" });
  expect((await operator.send("DELETE", `/api/admin/organizations/${id}`)).status).toBe(204);
  const entries = await entriesOf(id);
  expect(entries.map(({ action }) => action)).toEqual([
    "organization.created",
    "key.created",
    "organization.erase_started",
    "organization.erased",
  ]);
  expect(entries.slice(0, 3).map(({ request_id }) => request_id)).toEqual([null, null, null]);
  expect(entries[1]?.key_id).toBe(keyId);
});

test("an entry is on disk with its change: a kill -9 after the answer loses neither", async () => {
  const { id, api } = await made();
  const { key_id } = (await api.post("/api/keys", {})).body;
  await server.kill("SIGKILL");
  server = await TestServer.start({ dataDir: server.dataDir, env });
  operator = apiOf(server.url, { authorization: `Bearer ${TOKEN}` });
  expect((await entriesOf(id)).at(-1)?.subject_id).toBe(key_id);
});
