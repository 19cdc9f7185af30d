// What holds for every call: how refusals look, request ids, methods, media types, sizes, CORS.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { openapiDocument } from "../../src/http/openapi.ts";
import { type Answer, apiOf, type Organization, TestServer } from "../help/server.ts";

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

const JSON_TYPE = { "content-type": "application/json" };
const EVENT = { type: "a", payload: 1 };

function expectProblem(answer: Answer, status: number, code: string): void {
  expect(answer.status).toBe(status);
  expect(answer.headers.get("content-type")).toBe("application/problem+json");
  expect(answer.body).toMatchObject({
    type: `urn:zapier-triggers:problem:${code}`,
    title: expect.any(String),
    status,
    detail: expect.any(String),
    code,
  });
}

describe("every call of the document", () => {
  test("is there, and wants a key, a token or nothing as the document says", async () => {
    const { paths } = (await openapiDocument()) as {
      paths: Record<string, Record<string, { security: object[] }>>;
    };
    const calls = Object.entries(paths).flatMap(([path, item]) =>
      Object.entries(item).map(([method, { security }]) => ({
        path,
        method: method.toUpperCase(),
        security,
      })),
    );
    expect(calls.length).toBeGreaterThan(20);
    for (const { path, method, security } of calls) {
      const where = path.replace(/\{\w+\}/g, "01a1fd3a-0340-7000-8f4e-3b8d1c6a9e52");
      const answer = await server.api().send(method, where);
      const needsKey = security.some((one) => "ApiKey" in one);
      if (needsKey) expectProblem(answer, 401, "missing_api_key");
      else expect([`${method} ${path}`, answer.status === 401]).toEqual([`${method} ${path}`, false]);
      expect(answer.headers.get("x-request-id")).toBeString();
    }
  });
});

describe("authentication", () => {
  test("is decided before the body is looked at", async () => {
    const answer = await server.api().post("/api/events", "{bad", { "content-type": "text/plain" });
    expectProblem(answer, 401, "missing_api_key");
    const huge = await server.api().post("/api/events", "x".repeat(9_000_000));
    expectProblem(huge, 401, "missing_api_key");
  });

  test("leaves the connection usable when it refuses a body unread", async () => {
    const connection = await talk(server, [
      "POST /api/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n12345",
      "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    ]);
    expect(connection.match(/HTTP\/1\.1 \d+/g)).toEqual(["HTTP/1.1 401", "HTTP/1.1 200"]);
  });

  test("refuses two different keys in one request", async () => {
    const other = await server.organization({ name: "Other" });
    const answer = await acme.api.send("GET", "/api/inbox", {
      headers: { authorization: `Bearer ${other.key}` },
    });
    expectProblem(answer, 401, "invalid_api_key");
  });

  test("refuses a key without the scope with the name of the scope", async () => {
    const made = await acme.api.post("/api/keys", { scopes: ["consume"] });
    const answer = await server.api(made.body.api_key).post("/api/events", "{bad");
    expectProblem(answer, 403, "insufficient_scope");
    expect(answer.body.required_scope).toBe("publish");
  });
});

describe("a body", () => {
  test.each([
    ["malformed_json", 400, "{bad"],
    ["malformed_json", 400, ""],
    ["malformed_json", 400, '{"type":"a","payload":1}}'],
    ["malformed_json", 400, "{'type':'a'}"],
    ["validation_failed", 422, "[]"],
    ["validation_failed", 422, '"x"'],
  ])("that is %s is refused with %i", async (code, status, body) => {
    expectProblem(await acme.api.post("/api/events", body), status, code);
    expectProblem(await acme.api.post("/api/ack", body), status, code);
  });

  test("that is not UTF-8 is refused", async () => {
    const body = Buffer.from('{"type":"a","payload":"\xff\xfe"}', "latin1");
    const answer = await acme.api.send("POST", "/api/events", { body, headers: JSON_TYPE });
    expectProblem(answer, 400, "invalid_utf8");
  });

  test("that is compressed is refused as such", async () => {
    const body = Bun.gzipSync(Buffer.from(JSON.stringify(EVENT)));
    const headers = { ...JSON_TYPE, "content-encoding": "gzip" };
    expectProblem(
      await acme.api.send("POST", "/api/events", { body, headers }),
      415,
      "unsupported_media_type",
    );
  });

  test.each([
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "application/merge-patch+json",
    "application/json; charset=latin1",
    "application/jsonp",
    "json",
  ])("of the type %s is refused", async (type) => {
    const init = { body: JSON.stringify(EVENT), headers: { "content-type": type } };
    expectProblem(await acme.api.send("POST", "/api/events", init), 415, "unsupported_media_type");
  });

  test.each(["application/json", "application/json; charset=utf-8", 'Application/JSON;charset="UTF-8"'])(
    "of the type %s is taken",
    async (type) => {
      const init = { body: JSON.stringify(EVENT), headers: { "content-type": type } };
      expect((await acme.api.send("POST", "/api/events", init)).status).toBe(202);
    },
  );

  test("with a byte order mark is taken", async () => {
    expect((await acme.api.post("/api/events", `\ufeff${JSON.stringify(EVENT)}`)).status).toBe(202);
  });

  test("of unknown length is taken, and refused while it comes when it is too large", async () => {
    const chunks = (text: string, times: number) =>
      new ReadableStream({
        pull(controller) {
          if (times-- > 0) controller.enqueue(Buffer.from(text));
          else controller.close();
        },
      });
    const send = (path: string, body: ReadableStream) =>
      acme.api.send("POST", path, { body, headers: JSON_TYPE });
    expect((await send("/api/events", chunks(JSON.stringify(EVENT), 1))).status).toBe(202);
    expectProblem(await send("/api/events", chunks(" ".repeat(65_536), 300)), 413, "payload_too_large");
    expectProblem(await send("/api/ack", chunks(" ".repeat(65_536), 300)), 413, "body_too_large");
  });

  test("that is announced as too large is refused before it comes", async () => {
    const head = `POST /api/ack HTTP/1.1\r\nHost: localhost\r\nX-API-Key: ${acme.key}\r\n`;
    const rest = "Content-Type: application/json\r\nContent-Length: 9000000000\r\nConnection: close\r\n\r\n";
    expect(await talk(server, [head + rest], "body_too_large")).toStartWith("HTTP/1.1 413");
  });

  test("may be deeper than any stack", async () => {
    const payload = "[".repeat(100_000) + "]".repeat(100_000);
    const sent = await acme.api.post("/api/events", `{"type":"deep","payload":${payload}}`);
    expect(sent.status).toBe(202);
    expect((await acme.api.get(`/api/events/${sent.body.id}`)).text).toContain(`"payload":${payload},`);
  });
});

describe("a path or method", () => {
  test.each(["/nothing", "/api/event", "/health/", "/api/events/", "/api/%65vents", "/docs/../x"])(
    "that is unknown (%s) is refused with 404",
    async (path) => {
      expectProblem(await acme.api.get(path), 404, "route_not_found");
    },
  );

  test.each([
    ["PUT", "/api/events", "OPTIONS, POST"],
    ["DELETE", "/health", "GET, HEAD, OPTIONS"],
    ["POST", "/api/inbox", "GET, HEAD, OPTIONS"],
    ["PUT", "/api/webhook/config", "DELETE, GET, HEAD, OPTIONS, POST"],
    ["POST", "/api/admin/organizations/x", "DELETE, GET, HEAD, OPTIONS, PATCH"],
    ["GET", "/api/ack/x", "OPTIONS, POST"],
    // Not what /api/events/:id takes.
    ["PUT", "/api/events/delete", "OPTIONS, POST"],
    ["GET", "/api/keys/rotate", "OPTIONS, POST"],
  ])("that is not taken (%s %s) is refused with 405 and those that are", async (method, path, allow) => {
    const answer = await acme.api.send(method, path);
    expectProblem(answer, 405, "method_not_allowed");
    expect(answer.headers.get("allow")).toBe(allow);
  });

  test("OPTIONS names the methods of a path", async () => {
    const answer = await server.api().send("OPTIONS", "/api/inbox");
    expect([answer.status, answer.headers.get("allow"), answer.text]).toEqual([
      204,
      "GET, HEAD, OPTIONS",
      "",
    ]);
  });

  test("HEAD answers as GET does, without a body", async () => {
    for (const path of ["/health", "/api/inbox", "/docs", "/docs/json"]) {
      const get = await acme.api.get(path);
      const head = await acme.api.send("HEAD", path);
      expect([head.status, head.text]).toEqual([200, ""]);
      expect(head.headers.get("content-type")).toBe(get.headers.get("content-type"));
      expect(head.headers.get("content-length")).toBe(String(Buffer.byteLength(get.text)));
    }
    expect((await server.api().send("HEAD", "/api/inbox")).status).toBe(401);
  });
});

describe("a request id", () => {
  test("of the caller comes back, on refusals too", async () => {
    for (const path of ["/health", "/api/inbox", "/nothing"]) {
      const answer = await server
        .api()
        .send("GET", path, { headers: { "x-request-id": "my-id_1.2:3/4+5=6" } });
      expect(answer.headers.get("x-request-id")).toBe("my-id_1.2:3/4+5=6");
    }
  });

  test.each(["", "a b", "a".repeat(129), "<script>", "é"])(
    "that is not sane (%s) is replaced",
    async (id) => {
      const answer = await server.api().send("GET", "/health", { headers: { "x-request-id": id } });
      expect(answer.headers.get("x-request-id")).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-/);
    },
  );
});

describe("a query", () => {
  test.each([
    ["limit=0", "/limit"],
    ["limit=1001", "/limit"],
    ["limit=ten", "/limit"],
    ["limit=1.5", "/limit"],
    ["limit=", "/limit"],
    ["status=lost", "/status"],
    ["order=up", "/order"],
    ["since=yesterday", "/since"],
    ["until=2026-02-30T00:00:00Z", "/until"],
    ["type=a%20b", "/type"],
    ["type=a*b", "/type"],
    ["cursor=nonsense", "/cursor"],
    ["staus=pending", "/staus"],
    ["limit=1&limit=2", "/limit"],
    ["__proto__=1", "/__proto__"],
  ])("of %s is refused and pointed at", async (query, pointer) => {
    const answer = await acme.api.get(`/api/inbox?${query}`);
    expectProblem(answer, 422, "validation_failed");
    expect(answer.body.errors.map((error: { pointer: string }) => error.pointer)).toEqual([pointer]);
  });
});

describe("another organization's event", () => {
  test("is not found, whatever is asked of it", async () => {
    const { id } = (await acme.api.post("/api/events", EVENT)).body;
    const { api } = await server.organization({ name: "Stranger" });
    expectProblem(await api.get(`/api/events/${id}`), 404, "not_found");
    expectProblem(await api.post(`/api/ack/${id}`), 404, "not_found");
    const acked = await api.post("/api/ack", { event_ids: [id] });
    expect(acked.body).toEqual({ acknowledged: 0, not_found: [id] });
    expect((await acme.api.get(`/api/events/${id}`)).body.acknowledged_at).toBeNull();
  });
});

describe("CORS", () => {
  const preflight = (url: string, origin: string) =>
    apiOf(url, {}).send("OPTIONS", "/api/events", {
      headers: {
        origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "x-api-key",
      },
    });

  test("is closed unless an origin is named", async () => {
    const asked = await preflight(server.url, "https://app.example.com");
    expect(asked.headers.get("access-control-allow-origin")).toBeNull();
    const headers = { origin: "https://app.example.com" };
    const answer = await server.api().send("GET", "/health", { headers });
    expect(answer.headers.get("access-control-allow-origin")).toBeNull();
  });

  test("lets the named origin in, on refusals too, and no other", async () => {
    const open = await TestServer.start({ env: { CORS_ORIGINS: "https://app.example.com" } });
    const asked = await preflight(open.url, "https://app.example.com");
    expect(asked.status).toBe(204);
    expect(asked.headers.get("access-control-allow-origin")).toBe("https://app.example.com");
    expect(asked.headers.get("access-control-allow-methods")).toContain("POST");
    expect(asked.headers.get("access-control-allow-headers")).toMatch(/x-api-key/i);
    expect(asked.headers.get("access-control-allow-credentials")).toBeNull();
    const refused = await open
      .api()
      .send("GET", "/api/inbox", { headers: { origin: "https://app.example.com" } });
    expectProblem(refused, 401, "missing_api_key");
    expect(refused.headers.get("access-control-allow-origin")).toBe("https://app.example.com");
    expect(refused.headers.get("access-control-expose-headers")).toContain("X-Request-Id");
    expect(refused.headers.get("vary")).toBe("Origin");
    const other = await preflight(open.url, "https://evil.example.com");
    expect(other.headers.get("access-control-allow-origin")).toBeNull();
    expect(other.headers.get("access-control-allow-methods")).toBeNull();
    expect(other.headers.get("vary")).toBe("Origin");
    await open.stop();
  });
});

describe("the rate limit", () => {
  test("is not counted by what is refused, and every answer to an event tells it", async () => {
    const { api } = await server.organization({ name: "Told", tier: "free" });
    const remaining = async (body: unknown): Promise<[number, string | null]> => {
      const { status, headers } = await api.post("/api/events", body);
      return [status, headers.get("x-ratelimit-remaining")];
    };
    expect(await remaining({ ...EVENT, dedup_id: "d" })).toEqual([202, "99"]);
    expect(await remaining("{bad")).toEqual([400, "99"]);
    expect(await remaining({ type: "a b", payload: 1 })).toEqual([422, "99"]);
    expect(await remaining("x".repeat(600_000))).toEqual([413, "99"]);
    expect(await remaining({ ...EVENT, dedup_id: "d" })).toEqual([409, "98"]);
  });
});

/** Sends bytes as they are; resolves with what comes back when the server closes, or `until` was seen. */
async function talk({ url }: TestServer, requests: readonly string[], until?: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  let received = "";
  const { hostname, port } = new URL(url);
  const socket = await Bun.connect({
    hostname,
    port: Number(port),
    socket: {
      data(_, bytes) {
        received += bytes.toString();
        if (until !== undefined && received.includes(until)) resolve(received);
      },
      close: () => resolve(received),
      error: (_, error) => reject(error),
    },
  });
  for (const request of requests) socket.write(request);
  return promise.finally(() => socket.end());
}
