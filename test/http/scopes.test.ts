// Who may call what. Surprise: the table is checked against the served document both ways, so that a new route without
// a line here fails, and so does one whose line says more than it grants.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type Scope, scopes } from "../../src/wire/tiers.ts";
import { type Organization, TestServer } from "../help/server.ts";

const TOKEN = "an-admin-token-of-32-characters!";
const METRICS_TOKEN = "a-metrics-token-of-32-characters";

type Caller = Scope | "any key" | "operator" | "metrics" | "anyone";

const TABLE: Readonly<Record<string, Caller>> = {
  "GET /health": "anyone",
  "GET /health/live": "anyone",
  "GET /health/ready": "anyone",
  "GET /metrics": "metrics",
  "POST /api/keys/generate": "operator",
  "GET /api/admin/audit": "operator",
  "GET /api/admin/organizations": "operator",
  "GET /api/admin/organizations/{id}": "operator",
  "PATCH /api/admin/organizations/{id}": "operator",
  "DELETE /api/admin/organizations/{id}": "operator",
  "GET /api/admin/organizations/{id}/export": "operator",
  "GET /api/keys": "any key",
  "POST /api/events": "publish",
  "POST /api/events/batch": "publish",
  "GET /api/events/{id}": "consume",
  "GET /api/events/{id}/explain": "consume",
  "GET /api/inbox": "consume",
  "GET /api/inbox/stream": "consume",
  "POST /api/inbox/lease": "consume",
  "POST /api/inbox/ack": "consume",
  "POST /api/inbox/release": "consume",
  "POST /api/inbox/extend": "consume",
  "POST /api/ack": "consume",
  "POST /api/ack/{event_id}": "consume",
  "DELETE /api/events/{id}": "manage",
  "POST /api/events/delete": "manage",
  "POST /api/keys": "manage",
  "POST /api/keys/rotate": "manage",
  "DELETE /api/keys/{key_id}": "manage",
  "POST /api/webhook/config": "manage",
  "GET /api/webhook/config": "manage",
  "DELETE /api/webhook/config": "manage",
  "POST /api/endpoints": "manage",
  "GET /api/endpoints": "manage",
  "GET /api/endpoints/{id}": "manage",
  "PATCH /api/endpoints/{id}": "manage",
  "DELETE /api/endpoints/{id}": "manage",
  "POST /api/endpoints/{id}/enable": "manage",
  "POST /api/endpoints/{id}/disable": "manage",
  "POST /api/endpoints/{id}/test": "manage",
  "POST /api/endpoints/{id}/rotate-secret": "manage",
  "POST /api/endpoints/{id}/replay": "manage",
  "GET /api/replays/{id}": "manage",
  "GET /api/deliveries": "manage",
  "GET /api/deliveries/{id}": "manage",
  "POST /api/deliveries/{id}/retry": "manage",
};

let server: TestServer;
let acme: Organization;

beforeAll(async () => {
  server = await TestServer.start({ env: { ADMIN_TOKEN: TOKEN, METRICS_TOKEN } });
  const answer = await fetch(`${server.url}/api/keys/generate`, {
    method: "POST",
    headers: { authorization: `Bearer ${TOKEN}`, "content-type": "application/json" },
    body: '{"organization_name":"Acme"}',
  });
  const { api_key: key, organization_id: id } = (await answer.json()) as Record<string, string>;
  acme = { id: id ?? "", key: key ?? "", api: server.api(key) };
});
afterAll(async () => {
  await server?.stop();
});

/** A new key for each call: some of them end the key that calls. */
async function keyWith(...wanted: Scope[]): Promise<string> {
  return (await acme.api.post("/api/keys", { scopes: wanted })).body.api_key;
}

type Outcome = { readonly status: number; readonly code: string | null; readonly required: string | null };

/** Its status and code; a stream that begins is not read to its end. */
async function call(name: string, headers: Record<string, string>): Promise<Outcome> {
  const [method = "", path = ""] = name.split(" ");
  const ending = new AbortController();
  const response = await fetch(server.url + path.replace(/\{\w+\}/, "x"), {
    method,
    headers: { ...headers, ...(method === "GET" ? {} : { "content-type": "application/json" }) },
    ...(method === "GET" ? {} : { body: "{}" }),
    signal: ending.signal,
  });
  const isProblem = response.headers.get("content-type") === "application/problem+json";
  const problem = isProblem ? ((await response.json()) as Record<string, string>) : {};
  ending.abort();
  return { status: response.status, code: problem.code ?? null, required: problem.required_scope ?? null };
}

const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
const isLetIn = ({ status }: Outcome) => status !== 401 && status !== 403;

test("the document has the calls of the table, and no other", async () => {
  const { body } = await server.api().get("/docs/json");
  const calls = Object.entries<object>(body.paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
  );
  expect(calls.sort()).toEqual(Object.keys(TABLE).sort());
});

describe.each(Object.entries(TABLE))("%s is for %s", (name, caller) => {
  test("nobody else is let in", async () => {
    const anyKey = await keyWith(...scopes);
    if (caller === "anyone") return expect(isLetIn(await call(name, {}))).toBe(true);
    expect((await call(name, {})).status).toBe(401);
    if (caller === "operator" || caller === "metrics") {
      const [own, other] = caller === "operator" ? [TOKEN, METRICS_TOKEN] : [METRICS_TOKEN, TOKEN];
      expect((await call(name, bearer(other))).status).toBe(401);
      expect((await call(name, { "x-api-key": anyKey })).status).toBe(401);
      expect((await call(name, bearer(anyKey))).status).toBe(401);
      return expect(isLetIn(await call(name, bearer(own)))).toBe(true);
    }
    expect((await call(name, bearer(TOKEN))).status).toBe(401);
    if (caller === "any key") {
      for (const scope of scopes) expect(isLetIn(await call(name, bearer(await keyWith(scope))))).toBe(true);
      return;
    }
    const others = await keyWith(...scopes.filter((scope) => scope !== caller));
    expect(await call(name, bearer(others))).toEqual({
      ...{ status: 403, code: "insufficient_scope", required: caller },
    });
    expect(isLetIn(await call(name, bearer(await keyWith(caller))))).toBe(true);
  });
});
