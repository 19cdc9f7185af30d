// The process as an operator meets it: start, stop, refuse, a second one, a full queue, a full disk.

import { afterEach, expect, test } from "bun:test";
import { mkdirSync, statSync } from "node:fs";
import path from "node:path";
import { eventually } from "../help/eventually.ts";
import { answer, startReceiver } from "../help/receiver.ts";
import { runCommand, TestServer } from "../help/server.ts";
import { tempDir } from "../help/temp.ts";

const open: { stop(): unknown }[] = [];
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.stop();
});

async function start(options: { dataDir?: string; env?: Record<string, string> } = {}): Promise<TestServer> {
  const started = await TestServer.start(options);
  open.push(started);
  return started;
}

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  test(`${signal} stops it with exit code 0, the database whole and checkpointed`, async () => {
    const server = await start();
    const { api, key } = await server.organization();
    const { body } = await api.post("/api/events", { type: "t", payload: 1 });
    expect(await server.kill(signal)).toBe(0);
    expect(statSync(path.join(server.dataDir, "triggers.db-wal"), { throwIfNoEntry: false })?.size ?? 0).toBe(
      0,
    );
    const again = await start({ dataDir: server.dataDir });
    expect((await again.api(key).get(`/api/events/${body.id}`)).body.payload).toBe(1);
  });
}

test("a stop answers what is in flight: nothing accepted is left without its answer", async () => {
  const server = await start();
  const { key } = await server.organization();
  const statuses = new Map<number, number>();
  let firstAnswers = Promise.withResolvers<void>();
  const client = async (n: number) => {
    for (let i = 0; ; i++) {
      try {
        const body = JSON.stringify({ type: "t", payload: [n, i] });
        const headers = { "x-api-key": key, "content-type": "application/json" };
        const response = await fetch(`${server.url}/api/events`, { method: "POST", headers, body });
        statuses.set(response.status, (statuses.get(response.status) ?? 0) + 1);
        if ((statuses.get(202) ?? 0) > 100) firstAnswers.resolve();
      } catch {
        return;
      }
    }
  };
  const clients = Array.from({ length: 16 }, (_, n) => client(n));
  await firstAnswers.promise;
  expect(await server.kill("SIGTERM")).toBe(0);
  await Promise.all(clients);
  const again = await start({ dataDir: server.dataDir });
  let stored = 0;
  let cursor = "";
  do {
    const { body } = await again.api(key).get(`/api/inbox?limit=1000${cursor}`);
    stored += body.events.length;
    cursor = body.has_more ? `&cursor=${encodeURIComponent(body.next_cursor)}` : "";
  } while (cursor !== "");
  firstAnswers = Promise.withResolvers();
  expect(stored).toBe(statuses.get(202) ?? 0);
  expect([...statuses.keys()].filter((status) => status !== 202 && status !== 503)).toEqual([]);
});

test("a second process on the same data directory is refused and told which process holds it", async () => {
  const server = await start();
  const { code, stderr } = await runCommand(["serve"], server.dataDir);
  expect(code).toBe(1);
  expect(stderr).toContain(String(server.pid));
  expect(stderr).toContain(server.url);
  expect((await server.api().get("/health")).status).toBe(200);
});

test("after kill -9 the data directory is free again", async () => {
  const server = await start();
  await server.kill("SIGKILL");
  const again = await start({ dataDir: server.dataDir });
  expect((await again.api().get("/health")).status).toBe(200);
});

test("bound to the network without ADMIN_TOKEN it refuses to start and says how to set one", async () => {
  const { code, stderr } = await runCommand(["serve"], tempDir(), { HOST: "0.0.0.0" });
  expect(code).toBe(2);
  expect(stderr).toContain("ADMIN_TOKEN");
});

test("a bad setting stops the start with a sentence that names it", async () => {
  for (const [name, value] of [
    ["PORT", "eighty"],
    ["DURABILITY", "maybe"],
    ["RETRY_SCHEDULE", "5 seconds"],
    ["MAX_QUEUED_EVENTS", "-1"],
  ] as const) {
    const { code, stderr } = await runCommand(["serve"], tempDir(), { [name]: value });
    expect(code).toBe(2);
    expect(stderr).toContain(name);
  }
});

test("the database can be read by its owner only", async () => {
  const server = await start();
  for (const file of ["triggers.db", "triggers.db-wal"]) {
    expect(statSync(path.join(server.dataDir, file)).mode & 0o077).toBe(0);
  }
});

test("beyond its queue it answers 503 with Retry-After, stores nothing of that, and goes on normally", async () => {
  const server = await start({ env: { MAX_QUEUED_EVENTS: "5" } });
  const { api } = await server.organization();
  const post = (n: number) => api.post("/api/events", { type: "t", payload: n });
  const answers = await Promise.all(Array.from({ length: 300 }, (_, n) => post(n)));
  const accepted = answers.filter(({ status }) => status === 202);
  const refused = answers.filter(({ status }) => status !== 202);
  expect(accepted.length).toBeGreaterThan(0);
  expect(refused.length).toBeGreaterThan(0);
  for (const { status, headers, body } of refused) {
    expect(status).toBe(503);
    expect(body.code).toBe("overloaded");
    expect(Number(headers.get("retry-after"))).toBeGreaterThan(0);
  }
  const { body } = await api.get("/api/inbox?limit=1000");
  expect(body.events).toHaveLength(accepted.length);
  for (let n = 0; n < 20; n++) expect((await post(n)).status).toBe(202);
});

test("a full disk is 503 storage_unavailable, reads go on, and it recovers by itself", async () => {
  const mount = path.join(tempDir(), "small");
  mkdirSync(mount);
  const mounted = Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs", mount]);
  if (mounted.exitCode !== 0) {
    if (process.env.CI) throw new Error(`CI must be able to mount a tmpfs: ${mounted.stderr.toString()}`);
    console.warn("skipped: this needs the right to mount a tmpfs");
    return;
  }
  open.push({ stop: () => Bun.spawnSync(["umount", "-l", mount]) });
  const filler = path.join(mount, "filler");
  const server = await start({ dataDir: mount });
  const { api } = await server.organization();
  const first = await api.post("/api/events", { type: "t", payload: "before" });
  expect(first.status).toBe(202);
  const { bavail, bsize } = (await import("node:fs")).statfsSync(mount);
  await Bun.write(filler, new Uint8Array(bavail * bsize - 64 * 1024));
  const payload = "x".repeat(20_000);
  const full = await eventually(
    () => api.post("/api/events", { type: "t", payload }),
    ({ status }) => status !== 202,
  );
  expect(full.status).toBe(503);
  expect(full.body.code).toBe("storage_unavailable");
  expect(full.headers.get("retry-after")).not.toBeNull();
  expect((await api.get(`/api/events/${first.body.id}`)).body.payload).toBe("before");
  expect((await server.api().get("/health/live")).status).toBe(200);
  const ready = await server.api().get("/health/ready");
  expect(ready.status).toBe(503);
  // A smaller write may still find room: what is always told is that there is none to speak of.
  expect(ready.body.reasons.map((one: { check: string }) => one.check)).toContain("disk_space");
  Bun.spawnSync(["rm", filler]);
  const after = await eventually(
    () => api.post("/api/events", { type: "t", payload }),
    ({ status }) => status === 202,
  );
  expect((await api.get(`/api/events/${after.body.id}`)).body.payload).toBe(payload);
  const recovered = (await server.api().get("/health/ready")).body.reasons ?? [];
  expect(recovered.map((one: { check: string }) => one.check)).not.toContain("database_writable");
});

test("keys create makes a key while no server runs, and asks the one that does", async () => {
  const dataDir = tempDir();
  const offline = await runCommand(["keys", "create", "--organization", "Offline", "--tier", "pro"], dataDir);
  expect(offline.code).toBe(0);
  const made = JSON.parse(offline.stdout);
  expect(made.organization_name).toBe("Offline");
  const server = await start({ dataDir });
  const info = await server.api(made.api_key).get("/api/keys");
  expect(info.status).toBe(200);
  expect(info.body.tier).toBe("pro");
  const online = await runCommand(["keys", "create", "--organization", "Online"], dataDir);
  expect(online.code).toBe(0);
  expect((await server.api(JSON.parse(online.stdout).api_key).get("/api/keys")).body.organization_name).toBe(
    "Online",
  );
});

test("the metrics match a known workload", async () => {
  const receiver = startReceiver().on("/bad", answer(500));
  open.push(receiver);
  const server = await start({ env: { WEBHOOK_ALLOW_PRIVATE: "true", RETRY_SCHEDULE: "1h" } });
  const good = await server.organization({ name: "good" });
  const bad = await server.organization({ name: "bad" });
  await good.api.post("/api/webhook/config", { webhook_url: receiver.url });
  await bad.api.post("/api/webhook/config", { webhook_url: `${receiver.url}/bad` });
  for (let n = 0; n < 7; n++)
    await good.api.post("/api/events", { type: "t", dedup_id: `d${n}`, payload: n });
  for (let n = 0; n < 3; n++) await bad.api.post("/api/events", { type: "t", payload: n });
  expect((await good.api.post("/api/events", { type: "t", dedup_id: "d0", payload: 0 })).status).toBe(409);
  expect((await good.api.post("/api/events", "{")).status).toBe(400);
  expect((await good.api.post("/api/events", { type: "t" })).status).toBe(422);
  const metrics = await eventually(
    async () => (await server.api().get("/metrics")).text,
    (text) =>
      value(text, 'webhook_deliveries_total{status="delivered"}') === 7 &&
      value(text, 'webhook_deliveries_total{status="failed"}') === 3,
  );
  expect(value(metrics, "events_ingested_total")).toBe(10);
  expect(value(metrics, "events_deduplicated_total")).toBe(1);
  expect(value(metrics, "event_ingestion_latency_seconds_count")).toBe(10);
  expect(value(metrics, "webhook_delivery_latency_seconds_count")).toBe(10);
  expect(value(metrics, "rate_limit_exceeded_total")).toBe(0);
  expect(value(metrics, "event_queue_size")).toBe(0);
  expect(value(metrics, "database_size_bytes")).toBeGreaterThan(0);
  for (const name of [
    "auth_latency_seconds",
    "rate_limit_check_latency_seconds",
    "db_operations_latency_seconds",
  ]) {
    expect(metrics).toContain(`# TYPE ${name} histogram`);
  }
  for (const name of ["deliveries_due", "oldest_due_delivery_seconds", "wal_size_bytes"]) {
    expect(metrics).toContain(`# TYPE ${name} gauge`);
  }
  expect(metrics).toMatch(/cache_lookups_total\{result="hit"\} [1-9]/);
  expect(metrics).toMatch(/validation_errors_total\{type="[a-z_]+"\} [1-9]/);
});

/** The value of one series of Prometheus text; labels as they stand in it. */
function value(text: string, series: string): number {
  const line = text.split("\n").find((one) => one.startsWith(`${series} `));
  return Number(line?.slice(series.length + 1));
}
