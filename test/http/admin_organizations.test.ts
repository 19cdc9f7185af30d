// The operator's calls, on a server with an ADMIN_TOKEN and on one in open mode.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type Api, apiOf, TestServer } from "../help/server.ts";

// For a busy machine; no test measures time.

const TOKEN = "an-admin-token-of-32-characters!";
let open: TestServer;
let guarded: TestServer;
let operator: Api;

beforeAll(async () => {
  [open, guarded] = await Promise.all([
    TestServer.start(),
    TestServer.start({ env: { ADMIN_TOKEN: TOKEN } }),
  ]);
  operator = apiOf(guarded.url, { authorization: `Bearer ${TOKEN}` });
});
afterAll(async () => {
  await Promise.all([open?.stop(), guarded?.stop()]);
});

const path = (id: string): string => `/api/admin/organizations/${id}`;
const EVENT = { type: "a", payload: 1 };

describe("with an ADMIN_TOKEN", () => {
  const calls = [
    ["POST", "/api/keys/generate"],
    ["GET", "/api/admin/organizations"],
    ["GET", "/api/admin/organizations/x"],
    ["PATCH", "/api/admin/organizations/x"],
    ["DELETE", "/api/admin/organizations/x"],
    ["GET", "/api/admin/organizations/x/export"],
  ] as const;

  test.each(calls)("%s %s is refused without it, before the body is looked at", async (method, where) => {
    const made = await operator.post("/api/keys/generate", { organization_name: "O" });
    const key: string = made.body.api_key;
    const wrong: Record<string, string>[] = [
      {},
      { authorization: `Bearer ${TOKEN}x` },
      { authorization: `Bearer ${TOKEN.slice(1)}` },
      { authorization: TOKEN },
      { authorization: `Bearer ${key}` },
      { "x-api-key": key },
      { "x-api-key": TOKEN },
    ];
    for (const headers of wrong) {
      const body = method === "GET" ? {} : { body: "{bad" };
      const answer = await apiOf(guarded.url, headers).send(method, where, body);
      expect([answer.status, answer.body.code]).toEqual([401, "admin_token_required"]);
      expect(answer.headers.get("www-authenticate")).toStartWith("Bearer");
    }
  });

  test("an organization can be made with it", async () => {
    const made = await operator.post("/api/keys/generate", { organization_name: "Acme" });
    expect(made.status).toBe(201);
  });
});

describe("in open mode", () => {
  test("a page under a foreign name cannot make keys (DNS rebinding)", async () => {
    for (const host of ["evil.example", "evil.example:3000", "127.0.0.1.evil.example", "10.0.0.1"]) {
      const body = JSON.stringify({ organization_name: "O" });
      const headers = { host, "content-type": "application/json" };
      const answer = await open.api().send("POST", "/api/keys/generate", { body, headers });
      expect([host, answer.status, answer.body.code]).toEqual([host, 403, "foreign_host"]);
    }
    for (const host of ["localhost", "localhost:3000", "127.0.0.1", "[::1]:3000"]) {
      const answer = await open.api().send("GET", "/api/admin/organizations", { headers: { host } });
      expect([host, answer.status]).toEqual([host, 200]);
    }
  });
});

describe("the list of organizations", () => {
  test("is walked page by page, each once, the oldest first", async () => {
    const server = await TestServer.start();
    const made: string[] = [];
    for (let i = 0; i < 7; i++) made.push((await server.organization({ name: `O${i}` })).id);
    const seen: string[] = [];
    let cursor = "";
    for (;;) {
      const { status, body } = await server.api().get(`/api/admin/organizations?limit=3${cursor}`);
      expect(status).toBe(200);
      expect(body.has_more).toBe(body.next_cursor !== null);
      seen.push(...body.organizations.map((one: { organization_id: string }) => one.organization_id));
      if (!body.has_more) break;
      cursor = `&cursor=${body.next_cursor}`;
      expect((await server.organization({ name: "new" })).id).toBeString();
    }
    expect(seen.slice(0, 7)).toEqual(made);
    expect(new Set(seen).size).toBe(seen.length);
    await server.stop();
  });

  test("does not take a cursor of another list", async () => {
    const { api } = await open.organization();
    await api.post("/api/events", EVENT);
    await api.post("/api/events", EVENT);
    const { next_cursor } = (await api.get("/api/inbox?limit=1")).body;
    const answer = await open.api().get(`/api/admin/organizations?cursor=${next_cursor}`);
    expect([answer.status, answer.body.errors[0].pointer]).toEqual([422, "/cursor"]);
  });
});

describe("changing an organization", () => {
  test("of tier or limit holds with the very next request", async () => {
    const { api, id } = await open.organization({ tier: "free" });
    const limit = async () => (await api.post("/api/events", EVENT)).headers.get("x-ratelimit-limit");
    expect(await limit()).toBe("100");
    const changed = await open.api().send("PATCH", path(id), patch({ tier: "business" }));
    expect([changed.status, changed.body.tier]).toEqual([200, "business"]);
    expect(await limit()).toBe("10000");
    await open.api().send("PATCH", path(id), patch({ rate_limit_per_minute: 7 }));
    expect(await limit()).toBe("7");
    expect((await api.get("/api/keys")).body.rate_limit_per_minute).toBe(7);
    await open.api().send("PATCH", path(id), patch({ rate_limit_per_minute: null }));
    expect(await limit()).toBe("10000");
  });

  test("disables all of its keys at once, and enables them again", async () => {
    const { api, id } = await open.organization();
    expect((await api.get("/api/inbox")).status).toBe(200);
    const off = await open.api().send("PATCH", path(id), patch({ disabled: true }));
    expect(off.body.disabled).toBe(true);
    const refused = await api.get("/api/inbox");
    expect([refused.status, refused.body.code]).toEqual([401, "organization_disabled"]);
    await open.api().send("PATCH", path(id), patch({ disabled: false }));
    expect((await api.get("/api/inbox")).status).toBe(200);
  });

  test.each([
    [{ tier: "gold" }, "/tier"],
    [{ rate_limit_per_minute: 0 }, "/rate_limit_per_minute"],
    [{ rate_limit_per_minute: "100" }, "/rate_limit_per_minute"],
    [{ disabled: "yes" }, "/disabled"],
    [{ name: "x" }, "/name"],
  ])("to %j is refused", async (change, pointer) => {
    const { id } = await shared();
    const answer = await open.api().send("PATCH", path(id), patch(change));
    expect([answer.status, answer.body.errors[0].pointer]).toEqual([422, pointer]);
  });

  test("that is not there is not found, whatever is asked", async () => {
    for (const id of ["01a1fd3a-0340-7000-8f4e-3b8d1c6a9e52", "x", "1", "%00", "'"]) {
      expect((await open.api().get(path(id))).status).toBe(404);
      expect((await open.api().get(`${path(id)}/export`)).status).toBe(404);
      expect((await open.api().send("PATCH", path(id), patch({}))).status).toBe(404);
      expect((await open.api().send("DELETE", path(id))).status).toBe(404);
    }
  });
});

describe("erasing an organization", () => {
  test("leaves nothing of it, and touches no other", async () => {
    const [gone, stays] = [await open.organization({ name: "Gone" }), await open.organization()];
    const sent = await gone.api.post("/api/events", { type: "a", payload: "secret-of-gone" });
    const other = await stays.api.post("/api/events", EVENT);
    expect((await open.api().send("DELETE", path(gone.id))).status).toBe(204);
    expect((await gone.api.get("/api/inbox")).status).toBe(401);
    expect((await open.api().get(path(gone.id))).status).toBe(404);
    expect((await open.api().send("DELETE", path(gone.id))).status).toBe(404);
    expect((await stays.api.get(`/api/events/${sent.body.id}`)).status).toBe(404);
    expect((await stays.api.get(`/api/events/${other.body.id}`)).status).toBe(200);
  });
});

describe("the export of an organization", () => {
  test("has one JSON object a line, with every payload as it came in and no key", async () => {
    const { api, id, key } = await open.organization({ name: "Export" });
    const payloads = ["1.0", "9007199254740993", '{"b":1,"a":"\\u00e9"}'];
    for (const payload of payloads) await api.post("/api/events", `{"type":"e","payload":${payload}}`);
    const answer = await open.api().get(`${path(id)}/export`);
    expect(answer.status).toBe(200);
    expect(answer.headers.get("content-type")).toBe("application/x-ndjson");
    expect(answer.headers.get("content-disposition")).toContain(id);
    expect(answer.text).toEndWith("\n");
    const lines = answer.text.trimEnd().split("\n");
    for (const line of lines) expect(JSON.parse(line)).toBeObject();
    for (const payload of payloads) expect(answer.text).toContain(payload);
    expect(answer.text).not.toContain(key.slice(15));
    expect(answer.text).not.toContain("argon2");
  });

  test("has what is hidden until its time as well", async () => {
    const { api, id } = await open.organization({ name: "Hidden" });
    const later = { type: "later", payload: 1, deliver_at: new Date(Date.now() + 3_600_000).toISOString() };
    const { body } = await api.post("/api/events", later);
    const { text } = await open.api().get(`${path(id)}/export`);
    expect(text).toContain(body.id);
  });

  test("of many events arrives whole", async () => {
    const { api, id } = await open.organization({ name: "Large" });
    const text = "x".repeat(100_000);
    for (let i = 0; i < 50; i++) await api.post("/api/events", { type: "e", payload: `${i} ${text}` });
    const answer = await open.api().get(`${path(id)}/export`);
    expect(answer.text.split(text)).toHaveLength(51);
  });
});

function patch(change: unknown): RequestInit {
  return { body: JSON.stringify(change), headers: { "content-type": "application/json" } };
}

let sharedOrganization: ReturnType<TestServer["organization"]> | undefined;
function shared() {
  sharedOrganization ??= open.organization({ name: "Shared" });
  return sharedOrganization;
}
