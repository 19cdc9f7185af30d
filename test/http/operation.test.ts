// Health, readiness, metrics, and the documentation's own files.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { failedChecks } from "../../src/http/routes/health.ts";
import { eventWithStatus } from "../help/eventually.ts";
import { type Receiver, startReceiver } from "../help/receiver.ts";
import { apiOf, TestServer } from "../help/server.ts";

// For a busy machine; no test measures time.

let server: TestServer;
let receiver: Receiver;

beforeAll(async () => {
  receiver = startReceiver();
  server = await TestServer.start({ env: { WEBHOOK_ALLOW_PRIVATE: "true" } });
});
afterAll(async () => {
  await server?.stop();
  receiver?.stop();
});

/** The value of one series in Prometheus text. */
function series(text: string, name: string): number | undefined {
  const line = text.split("\n").find((one) => one.startsWith(`${name} `));
  return line === undefined ? undefined : Number(line.slice(name.length + 1));
}

describe("metrics", () => {
  test("are there under the names that dashboards use, from the start", async () => {
    const { status, text, headers } = await server.api().get("/metrics");
    expect(status).toBe(200);
    expect(headers.get("content-type")).toStartWith("text/plain; version=0.0.4");
    const types = Object.fromEntries(
      [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, type]) => [name, type]),
    );
    expect(types).toMatchObject({
      event_ingestion_latency_seconds: "histogram",
      auth_latency_seconds: "histogram",
      rate_limit_check_latency_seconds: "histogram",
      db_operations_latency_seconds: "histogram",
      webhook_delivery_latency_seconds: "histogram",
      events_ingested_total: "counter",
      cache_lookups_total: "counter",
      validation_errors_total: "counter",
      rate_limit_exceeded_total: "counter",
      webhook_deliveries_total: "counter",
      events_deduplicated_total: "counter",
      event_queue_size: "gauge",
      deliveries_due: "gauge",
      oldest_due_delivery_seconds: "gauge",
      database_size_bytes: "gauge",
      database_free_bytes: "gauge",
      wal_size_bytes: "gauge",
      process_resident_memory_bytes: "gauge",
    });
    expect(series(text, "database_size_bytes")).toBeGreaterThan(0);
    expect(series(text, "process_resident_memory_bytes")).toBeGreaterThan(1_000_000);
  });

  test("count what happened", async () => {
    const before = (await server.api().get("/metrics")).text;
    const { api, id } = await server.organization({ tier: "free" });
    await server.api().send("PATCH", `/api/admin/organizations/${id}`, {
      body: '{"rate_limit_per_minute":3}',
      headers: { "content-type": "application/json" },
    });
    await api.post("/api/webhook/config", { webhook_url: receiver.url });
    const sent = await api.post("/api/events", { type: "a", payload: 1, dedup_id: "d" });
    await eventWithStatus(api, sent.body.id, "delivered");
    await api.post("/api/events", { type: "a", payload: 1, dedup_id: "d" });
    await api.post("/api/events", "{bad");
    await api.post("/api/events", { type: "a", payload: 1 });
    await api.post("/api/events", { type: "a", payload: 1 });
    const after = (await server.api().get("/metrics")).text;
    const grown = (name: string) => (series(after, name) ?? 0) - (series(before, name) ?? 0);
    expect(grown("events_ingested_total")).toBe(2);
    expect(grown("events_deduplicated_total")).toBe(1);
    expect(grown('validation_errors_total{type="malformed_json"}')).toBe(1);
    expect(grown("rate_limit_exceeded_total")).toBe(1);
    expect(grown("event_ingestion_latency_seconds_count")).toBe(2);
    expect(grown('db_operations_latency_seconds_count{operation="ingest"}')).toBe(3);
    expect(grown('cache_lookups_total{result="miss"}')).toBe(1);
    expect(grown('cache_lookups_total{result="hit"}')).toBeGreaterThan(4);
    expect(grown("auth_latency_seconds_count")).toBeGreaterThan(5);
    expect(grown("rate_limit_check_latency_seconds_count")).toBe(4);
    expect(grown('webhook_deliveries_total{status="delivered"}')).toBeGreaterThan(0);
    expect(grown("webhook_delivery_latency_seconds_count")).toBeGreaterThan(0);
  });

  test("are protected by METRICS_TOKEN", async () => {
    const guarded = await TestServer.start({ env: { METRICS_TOKEN: "metrics-token-123" } });
    const ask = (auth: Record<string, string>) => apiOf(guarded.url, auth).get("/metrics");
    for (const auth of [{}, { authorization: "Bearer x" }, { "x-api-key": "metrics-token-123" }]) {
      const refused = await ask(auth as Record<string, string>);
      expect([refused.status, refused.body.code]).toEqual([401, "metrics_token_required"]);
      expect(refused.headers.get("www-authenticate")).toStartWith("Bearer");
    }
    expect((await ask({ authorization: "Bearer metrics-token-123" })).status).toBe(200);
    await guarded.stop();
  });
});

describe("readiness", () => {
  const well = {
    queuedEvents: 0,
    maxQueuedEvents: 10_000,
    deliveriesDue: 0,
    oldestDueSeconds: 0,
    databaseBytes: 1,
    databaseFreeBytes: 0,
    walBytes: 1,
    writeFailure: null,
    freeDiskBytes: 10 ** 9,
  };

  test.each([
    ["all is well", {}, 0, []],
    ["the database cannot be written", { writeFailure: "disk I/O error" }, 0, ["database_writable"]],
    ["the disk is nearly full", { freeDiskBytes: 10 ** 6 }, 0, ["disk_space"]],
    ["the write queue is nearly full", { queuedEvents: 9_500 }, 0, ["write_queue"]],
    ["a delivery that could be sent is not", {}, 301, ["oldest_due_delivery"]],
    ["an endpoint hangs and its deliveries wait for it", { oldestDueSeconds: 10 ** 6 }, 0, []],
    ["two are true", { queuedEvents: 10_000, freeDiskBytes: 0 }, 0, ["disk_space", "write_queue"]],
  ])("when %s", (_, change, lagSeconds, failed) => {
    const reasons = failedChecks({ ...well, ...change }, lagSeconds);
    expect(reasons.map(({ check }) => check as string)).toEqual(failed);
    for (const { detail } of reasons) expect(detail).not.toContain("I/O");
  });
});

describe("the documentation", () => {
  test("is a page with a strict policy that runs no inline script", async () => {
    const { status, headers, text } = await server.api().get("/docs");
    expect(status).toBe(200);
    expect(headers.get("content-type")).toBe("text/html; charset=utf-8");
    const policy = headers.get("content-security-policy") ?? "";
    expect(policy).toContain("default-src 'none'");
    expect(policy).toContain("script-src 'self';");
    expect(policy).toContain("frame-ancestors 'none'");
    expect(text).not.toMatch(/<script>|https?:\/\//);
  });

  test.each([
    ["/docs/swagger-ui-bundle.js", "text/javascript; charset=utf-8"],
    ["/docs/swagger-ui.css", "text/css; charset=utf-8"],
    ["/docs/init.js", "text/javascript; charset=utf-8"],
    ["/docs/favicon.png", "image/png"],
    ["/docs/json", "application/json"],
  ])("serves %s itself, and only once to who keeps it", async (path, type) => {
    const first = await server.api().get(path);
    expect([first.status, first.headers.get("content-type")]).toEqual([200, type]);
    expect(first.text.length).toBeGreaterThan(100);
    const headers = { "if-none-match": first.headers.get("etag") ?? "" };
    const again = await server.api().send("GET", path, { headers });
    expect([again.status, again.text]).toEqual([304, ""]);
  });

  test("is where the bare address leads", async () => {
    const answer = await server.api().send("GET", "/", { redirect: "manual" });
    expect([answer.status, answer.headers.get("location")]).toEqual([307, "/docs"]);
  });
});
