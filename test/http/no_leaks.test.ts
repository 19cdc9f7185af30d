// Whatever is sent, an answer is one of the documented ones: no 500, no stack, no path of ours, no echo of a secret.

import { afterAll, beforeAll, expect, test } from "bun:test";
import fc from "fast-check";
import { problemKinds } from "../../src/http/problem.ts";
import { type Answer, type Organization, TestServer } from "../help/server.ts";

// For a busy machine; no test measures time.

let server: TestServer;
let acme: Organization;

beforeAll(async () => {
  server = await TestServer.start();
  acme = await server.organization();
});
afterAll(async () => {
  await server?.stop();
});

const paths = [
  ["POST", "/api/events"],
  ["POST", "/api/ack"],
  ["POST", "/api/webhook/config"],
  ["POST", "/api/endpoints"],
  ["PATCH", "/api/endpoints/x"],
  ["POST", "/api/endpoints/x/replay"],
  ["POST", "/api/endpoints/x/rotate-secret"],
  ["POST", "/api/keys"],
  ["POST", "/api/keys/rotate"],
  ["POST", "/api/keys/generate"],
  ["PATCH", "/api/admin/organizations/x"],
] as const;

const field = fc.constantFrom(
  "type",
  "payload",
  "dedup_id",
  "event_ids",
  "webhook_url",
  "name",
  "scopes",
  "tier",
  "expires_at",
  "overlap_seconds",
  "organization_name",
  "url",
  "event_types",
  "headers",
  "signing_secret",
  "max_in_flight",
  "since",
  "status",
  "__proto__",
  "toString",
);
const body = fc.oneof(
  fc.string({ unit: "binary" }),
  fc.json(),
  fc.dictionary(field, fc.jsonValue()).map((one) => JSON.stringify(one)),
);
const path = fc.webPath();
const header = fc.stringMatching(/^[\x21-\x7e]{0,80}$/);

function expectDocumented({ status, headers, text, body: told }: Answer): void {
  expect(status).not.toBe(500);
  expect(headers.get("x-request-id")).toBeString();
  expect(text).not.toMatch(/node_modules|\/src\/|\.ts:\d|Error:|SQLITE|at async|undefined is not/);
  if (status < 400) return;
  expect(headers.get("content-type")).toBe("application/problem+json");
  const kind: { status: number } = problemKinds[told.code as keyof typeof problemKinds];
  expect(kind.status).toBe(status);
}

test("any body to any call is answered as documented", async () => {
  const asked = fc.asyncProperty(fc.constantFrom(...paths), body, async ([method, where], sent) => {
    const headers = { "content-type": "application/json" };
    const answer = await acme.api.send(method, where, { body: sent, headers });
    // A lucky body rotates the key: go on with the new one.
    if (where === "/api/keys/rotate" && answer.status === 200) {
      acme = { ...acme, key: answer.body.api_key, api: server.api(answer.body.api_key) };
    }
    expectDocumented(answer);
  });
  await fc.assert(asked, { numRuns: 400 });
});

test("any path, query and header is answered as documented", async () => {
  const asked = fc.asyncProperty(
    fc.constantFrom(
      "",
      "/api/events",
      "/api/inbox?type=",
      "/api/ack",
      "/api/keys",
      "/api/endpoints",
      "/api/deliveries?status=",
      "/api/deliveries",
      "/api/replays",
      "/api/admin/organizations",
      "/docs",
    ),
    path,
    header,
    fc.constantFrom("GET", "POST", "DELETE", "PUT"),
    async (prefix, rest, text, method) => {
      const headers = { "x-request-id": text, "idempotency-key": text, authorization: `Bearer ${text}` };
      for (const api of [acme.api, server.api()]) {
        expectDocumented(await api.send(method, `${prefix}${rest}`, { headers, redirect: "manual" }));
      }
    },
  );
  await fc.assert(asked, { numRuns: 400 });
});

test("no key and no payload is in the log, whatever was refused", async () => {
  const payload = "a-payload-that-nobody-should-read";
  const { api, key } = await server.organization({ name: "Logged" });
  await api.post("/api/events", { type: "a", payload });
  await api.post("/api/events", { type: "a b", payload });
  await api.post("/api/events", `{"payload":"${payload}"`);
  const hook = await api.post("/api/webhook/config", { webhook_url: "https://example.com/" });
  await server.api(`${key.slice(0, -1)}_`).get("/api/inbox");
  for (const secret of [payload, key, key.slice(15, 58), hook.body.signing_secret]) {
    expect(server.output).not.toContain(secret);
  }
  expect(server.output).toContain("organization made");
});
