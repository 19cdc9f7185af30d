// The organization's one webhook: which URLs it may have, and what happens to its secret.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { type Organization, TestServer } from "../help/server.ts";

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

const set = (webhook_url: unknown) => acme.api.post("/api/webhook/config", { webhook_url });

test.each([
  ["http", "http://example.com/"],
  ["a private address", "https://10.0.0.1/"],
  ["a loopback address", "https://127.0.0.1/"],
  ["a loopback address in disguise", "https://0x7f.1/"],
  ["a link-local address", "https://169.254.169.254/latest/meta-data"],
  ["an IPv6 loopback address", "https://[::1]/"],
  ["localhost", "https://localhost/"],
  ["credentials", "https://user:secret@example.com/"],
  ["another scheme", "ftp://example.com/"],
  ["no URL", "example.com"],
  ["nothing", ""],
  ["null", null],
  ["a URL of more than 2,048 characters", `https://example.com/${"x".repeat(2_048)}`],
])("a webhook with %s is refused and pointed at", async (_, url) => {
  const answer = await set(url);
  expect([answer.status, answer.body.errors[0].pointer]).toEqual([422, "/webhook_url"]);
  expect(answer.text).not.toContain("secret");
  expect((await acme.api.get("/api/webhook/config")).status).toBe(404);
});

test("the refusal of a private address names the setting that opens it", async () => {
  expect((await set("https://10.0.0.1/")).body.detail).toContain("WEBHOOK_ALLOW_PRIVATE");
});

test("one organization's webhook is its own", async () => {
  const other = await server.organization({ name: "Other" });
  const [mine, theirs] = [
    (await set("https://example.com/mine")).body,
    (await other.api.post("/api/webhook/config", { webhook_url: "https://example.com/theirs" })).body,
  ];
  expect(mine.signing_secret).not.toBe(theirs.signing_secret);
  expect((await acme.api.get("/api/webhook/config")).body.webhook_url).toBe("https://example.com/mine");
  await other.api.send("DELETE", "/api/webhook/config");
  expect((await acme.api.get("/api/webhook/config")).status).toBe(200);
});

test("deleting the webhook and setting it again makes another secret", async () => {
  const before = (await set("https://example.com/")).body.signing_secret;
  await acme.api.send("DELETE", "/api/webhook/config");
  expect((await set("https://example.com/")).body.signing_secret).not.toBe(before);
});

test("twenty settings at once end in one webhook with one secret, told by all answers", async () => {
  const { api } = await server.organization({ name: "Race" });
  const answers = await Promise.all(
    Array.from({ length: 20 }, (_, i) =>
      api.post("/api/webhook/config", { webhook_url: `https://example.com/${i}` }),
    ),
  );
  expect(new Set(answers.map(({ body }) => body.endpoint_id)).size).toBe(1);
  expect(new Set(answers.map(({ body }) => body.signing_secret)).size).toBe(1);
  const { body } = await api.get("/api/webhook/config");
  expect(body.signing_secret).toBeNull();
  expect(answers.map((one) => ({ ...one.body, signing_secret: null }))).toContainEqual(body);
});

test("the webhook is the endpoint named default, and keeps the settings that it was given as one", async () => {
  const { api } = await server.organization({ name: "Default" });
  const hook = (await api.post("/api/webhook/config", { webhook_url: "https://example.com/a" })).body;
  const path = `/api/endpoints/${hook.endpoint_id}`;
  expect((await api.get(path)).body).toMatchObject({ name: "default", url: "https://example.com/a" });
  const change = { body: '{"max_in_flight":3}', headers: { "content-type": "application/json" } };
  expect((await api.send("PATCH", path, change)).status).toBe(200);
  await api.post(`${path}/disable`);
  await api.post("/api/webhook/config", { webhook_url: "https://example.com/b" });
  expect((await api.get(path)).body).toMatchObject({
    name: "default",
    url: "https://example.com/b",
    max_in_flight: 3,
    status: "active",
  });
  expect((await api.send("DELETE", path)).status).toBe(204);
  expect((await api.get("/api/webhook/config")).status).toBe(404);
  expect((await api.send("DELETE", "/api/webhook/config")).status).toBe(404);
});

test("a URL that is too long when it is percent-encoded is refused", async () => {
  const { api } = await server.organization({ name: "Long" });
  const webhook_url = `https://example.com/${"☃".repeat(300)}`;
  const answer = await api.post("/api/webhook/config", { webhook_url });
  expect([answer.status, answer.body.errors[0].pointer]).toEqual([422, "/webhook_url"]);
});
