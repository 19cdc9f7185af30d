// Endpoints as a caller sees them: what is taken, what is refused and where, and what is never shown again. What a
// receiver sees is in test/e2e/endpoints.test.ts.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type Answer, type Api, type Organization, TestServer } from "../help/server.ts";

let server: TestServer;
let acme: Organization;

beforeAll(async () => {
  server = await TestServer.start();
  acme = await server.organization();
});
afterAll(async () => {
  await server?.stop();
});

const URL = "https://example.com/hook";
const OWN_SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
const TIME = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
const UNKNOWN_ID = "01a1fd3a-0340-7000-8f4e-3b8d1c6a9e53";

const patch = (api: Api, path: string, body: unknown) =>
  api.send("PATCH", path, { body: JSON.stringify(body), headers: { "content-type": "application/json" } });
const pointers = ({ status, body }: Answer) => [
  status,
  ...(body.errors ?? []).map((error: { pointer: string }) => error.pointer),
];
async function made(api: Api, settings: object = {}): Promise<{ id: string; signing_secret: string }> {
  const { status, body } = await api.post("/api/endpoints", { url: URL, ...settings });
  expect(status).toBe(201);
  return body;
}

const DEFAULTS = {
  name: null,
  url: URL,
  description: null,
  event_types: ["*"],
  header_names: [],
  max_in_flight: null,
  rate_limit_per_second: null,
  ordered: false,
  timeout_ms: null,
  status: "active",
  disabled_at: null,
  disabled_reason: null,
  consecutive_failures: 0,
  failing_since: null,
  paused_until: null,
};
const ALL = {
  url: "https://example.com/orders?shop=1",
  event_types: ["order.created", "invoice.*", "ship*"],
  description: "Orders ☃",
  headers: { Authorization: "Bearer RECEIVER_TOKEN", "x-tenant": "TENANT_SEVEN" },
  max_in_flight: 256,
  rate_limit_per_second: 1_000,
  ordered: true,
  timeout_ms: 600_000,
};
const { headers: ALL_HEADERS, ...ALL_TOLD } = ALL;

describe("making an endpoint", () => {
  test("takes a URL alone, and answers with the defaults and a new secret", async () => {
    const answer = await acme.api.post("/api/endpoints", { url: URL });
    expect([answer.status, answer.body]).toEqual([
      201,
      {
        id: expect.stringMatching(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-/),
        ...DEFAULTS,
        created_at: TIME,
        updated_at: TIME,
        signing_secret: expect.stringMatching(/^whsec_[A-Za-z0-9+/]{43}=$/),
      },
    ]);
    const { signing_secret: _, ...told } = answer.body;
    expect((await acme.api.get(`/api/endpoints/${answer.body.id}`)).body).toEqual(told);
  });

  test("takes every setting, and tells the names of its headers alone", async () => {
    const answer = await acme.api.post("/api/endpoints", ALL);
    expect(answer.status).toBe(201);
    expect(answer.body).toMatchObject({ ...ALL_TOLD, header_names: ["Authorization", "x-tenant"] });
    expect(answer.text).not.toContain("RECEIVER_TOKEN");
    const { signing_secret: _, ...told } = answer.body;
    expect((await acme.api.get(`/api/endpoints/${answer.body.id}`)).body).toEqual(told);
  });

  test("takes null for whatever may be left out", async () => {
    const nothing = Object.fromEntries(Object.keys({ ...ALL, signing_secret: 1 }).map((key) => [key, null]));
    const { body } = await acme.api.post("/api/endpoints", { ...nothing, url: URL });
    expect(body).toMatchObject(DEFAULTS);
  });

  test("takes a secret of one's own", async () => {
    expect((await made(acme.api, { signing_secret: OWN_SECRET })).signing_secret).toBe(OWN_SECRET);
  });

  test("stores the URL as it will be sent to", async () => {
    const { body } = await acme.api.post("/api/endpoints", { url: "HTTPS://EXAMPLE.com:443/a b" });
    expect(body.url).toBe("https://example.com/a%20b");
  });

  test("takes the largest of everything", async () => {
    const answer = await acme.api.post("/api/endpoints", {
      url: `https://example.com/${"x".repeat(2_028)}`,
      event_types: Array.from({ length: 100 }, (_, i) => `${String(i).padStart(255, "x")}*`),
      description: "😀".repeat(1_000),
      headers: Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`x-${i}`, "y".repeat(390)])),
    });
    expect(answer.status).toBe(201);
    expect(answer.body.event_types[0]).toHaveLength(256);
    expect(answer.body.header_names).toHaveLength(20);
  });
});

const MANY_HEADERS = Object.fromEntries(Array.from({ length: 21 }, (_, i) => [`x-${i}`, "y"]));
const refused: [what: string, settings: object, pointer: string][] = [
  ["a private address", { url: "https://10.0.0.1/" }, "/url"],
  ["plain http", { url: "http://example.com/" }, "/url"],
  ["credentials in the URL", { url: "https://user:PASSWORD@example.com/" }, "/url"],
  ["no URL", { url: "example" }, "/url"],
  ["a null URL", { url: null }, "/url"],
  ["a URL that is too long", { url: `https://example.com/${"x".repeat(2_029)}` }, "/url"],
  ["a URL that is too long when encoded", { url: `https://example.com/${"☃".repeat(300)}` }, "/url"],
  ["no patterns", { event_types: [] }, "/event_types"],
  ["too many patterns", { event_types: Array.from({ length: 101 }, (_, i) => `t${i}`) }, "/event_types"],
  ["a pattern twice", { event_types: ["a", "b", "a"] }, "/event_types"],
  ["patterns that are no list", { event_types: "order.*" }, "/event_types"],
  ["a pattern with a star within", { event_types: ["a", "order.*.x"] }, "/event_types/1"],
  ["a pattern with two stars", { event_types: ["order.**"] }, "/event_types/0"],
  ["an empty pattern", { event_types: [""] }, "/event_types/0"],
  ["a pattern with a space", { event_types: ["order created"] }, "/event_types/0"],
  ["a pattern that is too long", { event_types: ["x".repeat(256)] }, "/event_types/0"],
  ["a pattern that is no text", { event_types: [1] }, "/event_types/0"],
  ["a description that is too long", { description: "😀".repeat(1_001) }, "/description"],
  ["a description with U+0000", { description: "a\0b" }, "/description"],
  ["a description that is no text", { description: 1 }, "/description"],
  ["headers that are a list", { headers: [] }, "/headers"],
  ["too many headers", { headers: MANY_HEADERS }, "/headers"],
  ["headers of more than 8 KB", { headers: { "x-a": "VALUE".repeat(1_700) } }, "/headers"],
  ["a header that is no text", { headers: { "x-a": 1 } }, "/headers/x-a"],
  ["a reserved header", { headers: { "Content-Type": "text/VALUE" } }, "/headers/Content-Type"],
  ["a header of Standard Webhooks", { headers: { "webhook-x": "VALUE" } }, "/headers/webhook-x"],
  ["a header of the connection", { headers: { TE: "VALUE" } }, "/headers/TE"],
  ["a header twice", { headers: { "x-a": "VALUE", "X-A": "VALUE" } }, "/headers/X-A"],
  ["a header with a line break", { headers: { "x-a": "VALUE\r\nx-b: 1" } }, "/headers/x-a"],
  ["a header name that is none", { headers: { "a/b c": "VALUE" } }, "/headers/a~1b c"],
  ["no requests at once", { max_in_flight: 0 }, "/max_in_flight"],
  ["too many requests at once", { max_in_flight: 257 }, "/max_in_flight"],
  ["half a request at once", { max_in_flight: 1.5 }, "/max_in_flight"],
  ["a number as a text", { max_in_flight: "5" }, "/max_in_flight"],
  ["no requests a second", { rate_limit_per_second: 0 }, "/rate_limit_per_second"],
  ["too many requests a second", { rate_limit_per_second: 1_001 }, "/rate_limit_per_second"],
  ["an order that is no yes or no", { ordered: "true" }, "/ordered"],
  ["a timeout that is too short", { timeout_ms: 99 }, "/timeout_ms"],
  ["a timeout that is too long", { timeout_ms: 600_001 }, "/timeout_ms"],
  ["a field that there is not", { colour: "red" }, "/colour"],
  ["a name", { name: "default" }, "/name"],
];
const refusedSecrets: [what: string, signing_secret: unknown][] = [
  ["without its prefix", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="],
  ["that is too short", "whsec_VALUEVALUE=="],
  ["that is no base64", "whsec_VALUE*"],
  ["that is no text", 1],
];

describe("a setting that is wrong", () => {
  let organization: Organization;
  let id: string;
  beforeAll(async () => {
    organization = await server.organization({ name: "Refused" });
    id = (await made(organization.api, ALL)).id;
  });
  const stored = async () => (await organization.api.get("/api/endpoints")).body;

  test.each(refused)(
    "(%s) is refused and pointed at, and nothing is stored",
    async (_, settings, pointer) => {
      const before = await stored();
      const made = await organization.api.post("/api/endpoints", { url: URL, ...settings });
      const changed = await patch(organization.api, `/api/endpoints/${id}`, settings);
      for (const answer of [made, changed]) {
        expect(pointers(answer)).toEqual([422, pointer]);
        expect(answer.body.code).toBe("validation_failed");
        expect(answer.text).not.toMatch(/VALUE|PASSWORD/);
      }
      expect(await stored()).toEqual(before);
    },
  );

  test.each(refusedSecrets)("(a secret %s) is refused and not repeated", async (_, signing_secret) => {
    const before = await stored();
    const answer = await organization.api.post("/api/endpoints", { url: URL, signing_secret });
    expect(pointers(answer)).toEqual([422, "/signing_secret"]);
    expect(answer.text).not.toContain("VALUE");
    expect(await stored()).toEqual(before);
  });

  test("is told together with the others", async () => {
    const settings = { url: "https://localhost/", headers: { Host: "x" }, signing_secret: "x" };
    const answer = await organization.api.post("/api/endpoints", settings);
    expect(pointers(answer)).toEqual([422, "/url", "/headers/Host", "/signing_secret"]);
  });

  test("names the setting of the operator that opens a private address", async () => {
    const { body } = await organization.api.post("/api/endpoints", { url: "https://192.168.0.1/" });
    expect(body.detail).toContain("WEBHOOK_ALLOW_PRIVATE");
  });

  test("(a header called __proto__) is not dropped without a word", async () => {
    const answer = await organization.api.post(
      "/api/endpoints",
      `{"url":"${URL}","headers":{"__proto__":"x","x-a":"1"}}`,
    );
    expect(answer.status).toBe(201);
    expect(answer.body.header_names).toEqual(["__proto__", "x-a"]);
  });
});

describe("changing an endpoint", () => {
  const restored = {
    event_types: ["*"],
    description: null,
    header_names: [],
    max_in_flight: null,
    rate_limit_per_second: null,
    ordered: false,
    timeout_ms: null,
  };

  test("changes what is named and leaves the rest", async () => {
    const { id } = await made(acme.api, ALL);
    const path = `/api/endpoints/${id}`;
    let expected = (await acme.api.get(path)).body;
    const steps: [change: object, told: object][] = [
      [{ url: "https://example.com/other" }, { url: "https://example.com/other" }],
      [{ event_types: ["a", "b*"] }, { event_types: ["a", "b*"] }],
      [{ description: "" }, { description: "" }],
      [{ headers: { "x-new": "1" } }, { header_names: ["x-new"] }],
      [{ max_in_flight: 1 }, { max_in_flight: 1 }],
      [{ rate_limit_per_second: 1 }, { rate_limit_per_second: 1 }],
      [{ ordered: false }, { ordered: false }],
      [{ timeout_ms: 100 }, { timeout_ms: 100 }],
      [
        { ordered: true, timeout_ms: 200 },
        { ordered: true, timeout_ms: 200 },
      ],
    ];
    for (const [change, told] of steps) {
      const answer = await patch(acme.api, path, change);
      expected = { ...expected, ...told, updated_at: expect.any(String) };
      expect([answer.status, answer.body]).toEqual([200, expected]);
      expect((await acme.api.get(path)).body).toEqual(answer.body);
    }
  });

  test("puts each setting back to its default by null", async () => {
    const { id } = await made(acme.api, ALL);
    const path = `/api/endpoints/${id}`;
    for (const [name, value] of Object.entries(restored)) {
      const setting = name === "header_names" ? "headers" : name;
      const answer = await patch(acme.api, path, { [setting]: null });
      expect([name, answer.status, answer.body[name]]).toEqual([name, 200, value]);
    }
    expect((await acme.api.get(path)).body).toMatchObject({ ...restored, url: ALL.url });
  });

  test("with nothing, with a secret, or without a body is refused", async () => {
    const { id } = await made(acme.api);
    const path = `/api/endpoints/${id}`;
    expect(pointers(await patch(acme.api, path, {}))).toEqual([422, ""]);
    expect(pointers(await patch(acme.api, path, { signing_secret: OWN_SECRET }))).toEqual([
      422,
      "/signing_secret",
    ]);
    expect((await acme.api.send("PATCH", path)).status).toBe(415);
    expect((await acme.api.get(path)).body).toMatchObject(DEFAULTS);
  });
});

describe("enabling and disabling", () => {
  test("is told, may be said twice, and leaves the settings alone", async () => {
    const { id } = await made(acme.api, ALL);
    const path = `/api/endpoints/${id}`;
    const before = (await acme.api.get(path)).body;
    const disabled = await acme.api.post(`${path}/disable`);
    expect([disabled.status, disabled.body]).toEqual([
      200,
      {
        ...before,
        status: "disabled",
        disabled_at: TIME,
        disabled_reason: "manual",
        updated_at: expect.any(String),
      },
    ]);
    const again = await acme.api.send("POST", `${path}/disable`);
    expect([again.status, again.body.disabled_at]).toEqual([200, disabled.body.disabled_at]);
    for (const _ of ["first", "again"]) {
      const enabled = await acme.api.post(`${path}/enable`);
      expect([enabled.status, enabled.body]).toEqual([200, { ...before, updated_at: expect.any(String) }]);
    }
    expect((await acme.api.get(path)).body.status).toBe("active");
  });
});

describe("exchanging the secret", () => {
  const rotate = (id: string, ...body: unknown[]) =>
    acme.api.post(`/api/endpoints/${id}/rotate-secret`, ...body);

  test("answers a new one, and when the old one ends: in a day unless told", async () => {
    const { id, signing_secret } = await made(acme.api);
    const fromMs = Date.now();
    const answer = await acme.api.send("POST", `/api/endpoints/${id}/rotate-secret`);
    expect([answer.status, answer.body]).toEqual([
      200,
      {
        endpoint_id: id,
        signing_secret: expect.stringMatching(/^whsec_[A-Za-z0-9+/]{43}=$/),
        old_secret_expires_at: TIME,
      },
    ]);
    expect(answer.body.signing_secret).not.toBe(signing_secret);
    const afterMs = Date.parse(answer.body.old_secret_expires_at) - fromMs;
    expect(afterMs).toBeWithin(86_400_000, 86_400_000 + 30_000);
  });

  test("takes an overlap from none to a week", async () => {
    const { id } = await made(acme.api);
    for (const overlap_seconds of [0, 1, 604_800]) {
      const { status, body } = await rotate(id, { overlap_seconds });
      expect(status).toBe(200);
      const endsInMs = Date.parse(body.old_secret_expires_at) - Date.now();
      expect(Math.abs(endsInMs - overlap_seconds * 1_000)).toBeLessThan(30_000);
    }
    for (const overlap_seconds of [-1, 604_801, 1.5, "1", null]) {
      expect(pointers(await rotate(id, { overlap_seconds }))).toEqual([422, "/overlap_seconds"]);
    }
    expect(pointers(await rotate(id, { signing_secret: OWN_SECRET }))).toEqual([422, "/signing_secret"]);
  });
});

describe("deleting an endpoint", () => {
  test("ends it for every call, and for the list", async () => {
    const { api } = await server.organization({ name: "Deleting" });
    const { id: kept } = await made(api);
    const { id } = await made(api);
    const path = `/api/endpoints/${id}`;
    const answer = await api.send("DELETE", path);
    expect([answer.status, answer.text]).toEqual([204, ""]);
    for (const one of await everyCall(api, id)) expect(one).toEqual([404, "not_found"]);
    const { endpoints } = (await api.get("/api/endpoints")).body;
    expect(endpoints.map((one: { id: string }) => one.id)).toEqual([kept]);
  });
});

/** Status and code of every call that names an endpoint. */
async function everyCall(api: Api, id: string): Promise<[status: number, code: string][]> {
  const path = `/api/endpoints/${id}`;
  const answers = [
    await api.get(path),
    await patch(api, path, { ordered: false }),
    await api.post(`${path}/enable`),
    await api.post(`${path}/disable`),
    await api.post(`${path}/test`),
    await api.post(`${path}/rotate-secret`),
    await api.post(`${path}/replay`, { since: "2026-01-01T00:00:00Z" }),
    await api.send("DELETE", path),
  ];
  return answers.map(({ status, body }) => [status, body?.code]);
}

describe("a call", () => {
  test("to another organization's endpoint, or to none, finds nothing and changes nothing", async () => {
    const { id } = await made(acme.api, ALL);
    const before = (await acme.api.get(`/api/endpoints/${id}`)).body;
    const { api } = await server.organization({ name: "Stranger" });
    for (const wrong of [id, UNKNOWN_ID, "x", "%00", id.toUpperCase()]) {
      for (const one of await everyCall(api, wrong)) expect(one).toEqual([404, "not_found"]);
    }
    expect((await api.get("/api/endpoints")).body.endpoints).toEqual([]);
    expect((await acme.api.get(`/api/endpoints/${id}`)).body).toEqual(before);
  });

  test("with a key that may not manage is refused before the body is read", async () => {
    const { body } = await acme.api.post("/api/keys", { scopes: ["publish", "consume"] });
    const { id } = await made(acme.api);
    const api = server.api(body.api_key);
    const calls = await everyCall(api, id);
    for (const path of ["/api/endpoints", "/api/deliveries", `/api/deliveries/${id}`, `/api/replays/${id}`]) {
      const { status, body } = await api.get(path);
      calls.push([status, body.code]);
    }
    for (const path of ["/api/endpoints", `/api/deliveries/${id}/retry`]) {
      const { status, body } = await api.post(path, "{bad");
      calls.push([status, body.code]);
    }
    expect(calls).toHaveLength(14);
    for (const one of calls) expect(one).toEqual([403, "insufficient_scope"]);
    expect((await acme.api.get(`/api/endpoints/${id}`)).status).toBe(200);
  });
});

describe("the list of endpoints", () => {
  test("is walked by cursor: each exactly once, the oldest first, while others come and go", async () => {
    const { api } = await server.organization({ name: "Walk" });
    const ids: string[] = [];
    for (let i = 0; i < 23; i++) ids.push((await made(api, { description: String(i) })).id);
    const seen: string[] = [];
    for (let query = "?limit=5"; query !== ""; ) {
      const { body } = await api.get(`/api/endpoints${query}`);
      seen.push(...body.endpoints.map((one: { id: string }) => one.id));
      expect(body.has_more).toBe(body.next_cursor !== null);
      query = body.has_more ? `?limit=5&cursor=${body.next_cursor}` : "";
      // One that was told already goes, one that was not there at the start comes.
      if (seen.length === 10) await api.send("DELETE", `/api/endpoints/${ids[2]}`);
    }
    expect(seen).toEqual(ids);
    expect((await api.get("/api/endpoints?limit=22")).body).toMatchObject({ has_more: false });
  });

  test("refuses a cursor of another list or organization, and an unknown parameter", async () => {
    const [mine, theirs] = [await server.organization(), await server.organization()];
    for (const { api } of [mine, theirs]) for (let i = 0; i < 2; i++) await made(api);
    const { next_cursor: cursor } = (await mine.api.get("/api/endpoints?limit=1")).body;
    expect((await mine.api.get(`/api/endpoints?limit=3&cursor=${cursor}`)).body.endpoints).toHaveLength(1);
    for (const wrong of [
      await theirs.api.get(`/api/endpoints?cursor=${cursor}`),
      await mine.api.get(`/api/deliveries?cursor=${cursor}`),
      await mine.api.get(`/api/inbox?cursor=${cursor}`),
      await mine.api.get("/api/endpoints?cursor=x"),
    ]) {
      expect(pointers(wrong)).toEqual([422, "/cursor"]);
    }
    expect(pointers(await mine.api.get("/api/endpoints?status=active"))).toEqual([422, "/status"]);
  });

  test("ends at a thousand endpoints: one more is refused, and taken when another is gone", async () => {
    const { api } = await server.organization({ name: "Many" });
    const make = () => api.post("/api/endpoints", { url: URL });
    for (let i = 0; i < 10; i++) {
      const answers = await Promise.all(Array.from({ length: 100 }, make));
      expect(answers.filter(({ status }) => status !== 201)).toEqual([]);
    }
    const refused = await make();
    expect([refused.status, refused.body.code]).toEqual([409, "too_many_endpoints"]);
    const page = (await api.get("/api/endpoints?limit=1000")).body;
    expect([page.endpoints.length, page.has_more]).toEqual([1_000, false]);
    await api.send("DELETE", `/api/endpoints/${page.endpoints[0].id}`);
    expect((await make()).status).toBe(201);
  });
});

test("a secret is in the answer that makes or rotates it and nowhere else, and a header's value nowhere", async () => {
  const { api } = await server.organization({ name: "Secret" });
  const endpoint = await made(api, { ...ALL, signing_secret: OWN_SECRET });
  const path = `/api/endpoints/${endpoint.id}`;
  const rotated = (await api.post(`${path}/rotate-secret`)).body;
  const hook = (await api.post("/api/webhook/config", { webhook_url: URL })).body;
  const event = (await api.post("/api/events", { type: "order.created", payload: 1 })).body;
  const delivery = (await api.get("/api/deliveries")).body.deliveries[0];
  const answers = [
    await api.get("/api/endpoints"),
    await api.get(path),
    await api.get("/api/webhook/config"),
    await api.get("/api/keys"),
    await patch(api, path, { description: "x" }),
    await patch(api, path, { headers: { "x-other": "OTHER_VALUE" } }),
    await api.post("/api/endpoints", { url: URL, headers: { "x-a": "THIRD_VALUE\n" } }),
    await api.post(`${path}/disable`),
    await api.post(`${path}/enable`),
    await api.get("/api/deliveries"),
    await api.get(`/api/deliveries/${delivery.id}`),
    await api.post(`/api/deliveries/${delivery.id}/retry`),
    await api.get(`/api/events/${event.id}`),
    await api.get(`/api/events/${event.id}/explain`),
    await api.get("/api/inbox"),
  ];
  const secrets = [OWN_SECRET, rotated.signing_secret, hook.signing_secret].map((one) => one.slice(6));
  const values = [...Object.values(ALL_HEADERS), "OTHER_VALUE", "THIRD_VALUE"];
  expect(secrets.every((one) => one.length > 30)).toBe(true);
  const told = answers.map(({ text }) => text).join("\n");
  for (const secret of [...secrets, ...values]) {
    expect(told).not.toContain(secret);
    expect(server.output).not.toContain(secret);
  }
  expect(told).not.toContain("whsec_");
  expect(server.output).not.toContain("whsec_");
  expect(server.output).toContain("endpoint secret rotated");
});
