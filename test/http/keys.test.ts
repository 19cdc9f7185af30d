// Keys from their making to their end, against the real server. What changes a key must hold for the next request.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { eventually } from "../help/eventually.ts";
import { type Api, TestServer } from "../help/server.ts";

// For a busy machine; no test measures time.

let server: TestServer;

beforeAll(async () => {
  server = await TestServer.start();
});
afterAll(async () => {
  await server?.stop();
});

const inbox = async (key: string): Promise<number> => (await server.api(key).get("/api/inbox")).status;
const pointers = (body: { errors: { pointer: string }[] }): string[] =>
  body.errors.map(({ pointer }) => pointer);

describe("making an organization", () => {
  test.each([
    ["free", 100],
    ["pro", 1_000],
    ["business", 10_000],
    ["enterprise", 100_000],
  ])("of the tier %s gives it its limit", async (tier, limit) => {
    const { body } = await server.api().post("/api/keys/generate", { organization_name: "O", tier });
    expect([body.tier, body.rate_limit_per_minute]).toEqual([tier, limit]);
  });

  test("takes a name of 1 to 255 characters, whatever they are", async () => {
    for (const name of ["x", "😀".repeat(255), 'O\'Reilly "& Søn" <b>', "'; DROP TABLE keys; --"]) {
      const { status, body } = await server.api().post("/api/keys/generate", { organization_name: name });
      expect([status, body.organization_name]).toEqual([201, name]);
      expect((await server.api(body.api_key).get("/api/keys")).body.organization_name).toBe(name);
    }
  });

  test.each([
    ["no name", {}, "/organization_name"],
    ["both names", { organization_name: "a", org_name: "a" }, "/organization_name"],
    ["an empty name", { organization_name: "" }, "/organization_name"],
    ["a blank name", { organization_name: "  " }, "/organization_name"],
    ["a name of 256 characters", { org_name: "a".repeat(256) }, "/org_name"],
    ["half a surrogate pair", { organization_name: "a\ud800" }, "/organization_name"],
    ["U+0000", { organization_name: "a\0b" }, "/organization_name"],
    ["an unknown tier", { organization_name: "a", tier: "gold" }, "/tier"],
    ["a tier of null", { organization_name: "a", tier: null }, "/tier"],
    ["an unknown field", { organization_name: "a", admin: true }, "/admin"],
  ])("with %s is refused and pointed at", async (_, body, pointer) => {
    const answer = await server.api().post("/api/keys/generate", body);
    expect(answer.status).toBe(422);
    expect(pointers(answer.body)).toEqual([pointer]);
  });
});

describe("a key made with POST /api/keys", () => {
  test("has the name, scopes, environment and expiry that were asked for, and is shown once", async () => {
    const { api, key } = await server.organization();
    const asked = {
      name: "ci",
      scopes: ["publish"],
      environment: "test",
      expires_at: "2099-01-01T01:00:00+01:00",
    };
    const made = await api.post("/api/keys", asked);
    expect(made.status).toBe(201);
    const newKey: string = made.body.api_key;
    expect(newKey).toStartWith("zap_test_");
    expect(made.body).toMatchObject({
      name: "ci",
      scopes: ["publish"],
      expires_at: "2099-01-01T00:00:00.000Z",
    });
    const listed = await api.get("/api/keys");
    expect(listed.body.keys.map((one: { key_id: string }) => one.key_id)).toContain(made.body.key_id);
    for (const secret of [newKey, key]) expect(listed.text).not.toContain(secret.slice(15));
  });

  test("has all scopes and no end when nothing is asked for, not even with a body", async () => {
    const { api } = await server.organization();
    for (const answer of [await api.send("POST", "/api/keys"), await api.post("/api/keys", {})]) {
      expect(answer.status).toBe(201);
      expect(answer.body).toMatchObject({
        name: null,
        scopes: ["publish", "consume", "manage"],
        expires_at: null,
      });
      expect(await inbox(answer.body.api_key)).toBe(200);
    }
  });

  test.each([
    [{ scopes: [] }, "/scopes"],
    [{ scopes: ["admin"] }, "/scopes/0"],
    [{ scopes: ["publish", "publish"] }, "/scopes"],
    [{ expires_at: "2001-01-01T00:00:00Z" }, "/expires_at"],
    [{ expires_at: "soon" }, "/expires_at"],
    [{ expires_at: 4_070_908_800 }, "/expires_at"],
    [{ environment: "dev" }, "/environment"],
    [{ name: "" }, "/name"],
  ])("is refused for %j", async (body, pointer) => {
    const { api } = await shared();
    const answer = await api.post("/api/keys", body);
    expect(answer.status).toBe(422);
    expect(pointers(answer.body)).toEqual([pointer]);
  });

  test("may do what its scopes say and no more", async () => {
    const { api } = await server.organization();
    const calls: Record<string, (api: Api) => Promise<{ status: number }>> = {
      publish: (one) => one.post("/api/events", { type: "a", payload: 1 }),
      consume: (one) => one.get("/api/inbox"),
      manage: (one) => one.get("/api/webhook/config"),
    };
    for (const scope of Object.keys(calls)) {
      const made = await api.post("/api/keys", { scopes: [scope] });
      for (const [needed, call] of Object.entries(calls)) {
        const { status } = await call(server.api(made.body.api_key));
        if (needed === scope) expect(status).toBeOneOf([200, 202, 404]);
        else expect(status).toBe(403);
      }
    }
  });
});

describe("rotation", () => {
  test("kills the old key with the very next request, and the new one takes its place", async () => {
    const { api, id } = await server.organization();
    const old = await api.post("/api/keys", { name: "ci", environment: "test" });
    const rotated = await server.api(old.body.api_key).send("POST", "/api/keys/rotate");
    expect(rotated.status).toBe(200);
    expect(rotated.body).toEqual({
      organization_id: id,
      organization_name: "Acme",
      api_key: expect.stringMatching(/^zap_test_/),
      key_id: expect.any(String),
      rotated_at: expect.any(String),
      warning: expect.any(String),
    });
    expect(await inbox(old.body.api_key)).toBe(401);
    expect(await inbox(rotated.body.api_key)).toBe(200);
    const told = (await api.get("/api/keys")).body.keys.find(
      (one: { key_id: string }) => one.key_id === rotated.body.key_id,
    );
    expect(told).toMatchObject({ name: "ci", scopes: ["publish", "consume", "manage"], expires_at: null });
  });

  test("with an overlap leaves both keys alive", async () => {
    const { api, key } = await server.organization();
    const rotated = await api.post("/api/keys/rotate", { overlap_seconds: 3_600 });
    expect(await inbox(key)).toBe(200);
    expect(await inbox(rotated.body.api_key)).toBe(200);
    const told = (await api.get("/api/keys")).body.keys;
    const ends = told.map((one: { expires_at: string | null }) => one.expires_at !== null);
    expect(ends.toSorted()).toEqual([false, true]);
  });

  test("does not lengthen the life of a key that ends sooner", async () => {
    const { api } = await server.organization();
    const expires_at = new Date(Date.now() + 600_000).toISOString();
    const old = await api.post("/api/keys", { expires_at });
    await server.api(old.body.api_key).post("/api/keys/rotate", { overlap_seconds: 604_800 });
    const told = (await api.get("/api/keys")).body.keys.find(
      (one: { key_id: string }) => one.key_id === old.body.key_id,
    );
    expect(told.expires_at).toBe(expires_at);
  });

  test.each([-1, 604_801, 1.5, "60", null])("with an overlap of %p is refused", async (overlap_seconds) => {
    const { api } = await shared();
    const answer = await api.post("/api/keys/rotate", { overlap_seconds });
    expect([answer.status, pointers(answer.body)]).toEqual([422, ["/overlap_seconds"]]);
  });
});

describe("deleting a key", () => {
  test("refuses it with the very next request", async () => {
    const { api } = await server.organization();
    const made = await api.post("/api/keys", {});
    expect(await inbox(made.body.api_key)).toBe(200);
    const deleted = await api.send("DELETE", `/api/keys/${made.body.key_id}`);
    expect([deleted.status, deleted.text]).toEqual([204, ""]);
    expect(await inbox(made.body.api_key)).toBe(401);
    expect((await api.send("DELETE", `/api/keys/${made.body.key_id}`)).status).toBe(404);
  });

  test("is refused for the last key with the scope manage", async () => {
    const { api, key } = await server.organization();
    await api.post("/api/keys", { scopes: ["publish", "consume"] });
    const answer = await api.send("DELETE", `/api/keys/${key.slice(9, 15)}`);
    expect([answer.status, answer.body.code]).toEqual([409, "last_manage_key"]);
    expect(await inbox(key)).toBe(200);
  });

  test("finds no key of another organization", async () => {
    const [mine, theirs] = [await server.organization(), await server.organization({ name: "Other" })];
    const answer = await mine.api.send("DELETE", `/api/keys/${theirs.key.slice(9, 15)}`);
    expect([answer.status, answer.body.code]).toEqual([404, "not_found"]);
    expect(await inbox(theirs.key)).toBe(200);
  });
});

describe("the time of last use", () => {
  test("is told once a key was used", async () => {
    const fresh = await TestServer.start();
    const { api } = await fresh.organization();
    const before = Date.now() - 60_000;
    await api.get("/api/inbox");
    const told = await eventually(
      async () => (await api.get("/api/keys")).body.keys[0].last_used_at,
      (time) => time !== null,
    );
    expect(Date.parse(told)).toBeGreaterThan(before);
    await fresh.stop();
  });
});

describe("key generation", () => {
  test("is limited per address", async () => {
    const fresh = await TestServer.start();
    const ask = () => fresh.api().post("/api/keys/generate", { organization_name: "O" });
    const answers = [];
    for (let i = 0; i < 61; i++) answers.push(await ask());
    const last = answers.pop();
    expect(answers.map(({ status }) => status)).toEqual(Array.from({ length: 60 }, () => 201));
    expect([last?.status, last?.body.code]).toEqual([429, "rate_limited"]);
    expect(Number(last?.headers.get("retry-after"))).toBeWithin(1, 61);
    await fresh.stop();
  });
});

/** One organization for what changes nothing. */
let sharedOrganization: ReturnType<TestServer["organization"]> | undefined;
function shared() {
  sharedOrganization ??= server.organization({ name: "Shared" });
  return sharedOrganization;
}
