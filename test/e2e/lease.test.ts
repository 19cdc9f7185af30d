// Leases under fire: fifty consumers, some of which forget to acknowledge, and a server that is killed beneath them.

import { afterEach, expect, test } from "bun:test";
import { TestServer } from "../help/server.ts";

const CONSUMERS = 50;
const EVENTS = 2_000;
const LEASE_SECONDS = 2;

const open: TestServer[] = [];
afterEach(async () => {
  for (const one of open.splice(0)) await one.stop();
});

async function start(dataDir?: string): Promise<TestServer> {
  const env = { DISABLE_WEBHOOK_DELIVERY: "true" };
  const started = await TestServer.start(dataDir === undefined ? { env } : { dataDir, env });
  open.push(started);
  return started;
}

type Held = { readonly lease: string; readonly grantedMs: number; readonly untilMs: number };

test("no event is in two live leases, over kill -9, and all are acknowledged in the end", async () => {
  let server = await start();
  const { api, key } = await server.organization();
  for (let n = 0; n < EVENTS; n += 1_000) {
    const events = Array.from({ length: 1_000 }, () => ({ type: "job", payload: 1 }));
    expect((await api.post("/api/events/batch", { events })).body.accepted).toBe(1_000);
  }
  const holders = new Map<string, Held[]>();
  const acked = new Set<string>();
  let leases = 0;
  let kills = 0;
  let restarted: Promise<void> = Promise.resolve();
  const kill = () => {
    kills++;
    const { dataDir, pid } = server;
    process.kill(pid, "SIGKILL");
    restarted = server.exited.then(async () => {
      server = await start(dataDir);
    });
  };

  /** The answer, or null when the server died under it. */
  const post = async (path: string, body: object) => {
    try {
      return await server.api(key).post(path, body);
    } catch {
      await restarted;
      return null;
    }
  };
  const record = (lease: { lease_id: string; leased_until: string; events: { id: string }[] }) => {
    const untilMs = Date.parse(lease.leased_until);
    const held = { lease: lease.lease_id, grantedMs: untilMs - LEASE_SECONDS * 1_000, untilMs };
    for (const { id } of lease.events) {
      expect(acked.has(id)).toBe(false);
      holders.set(id, [...(holders.get(id) ?? []), held]);
    }
  };
  const isDone = async () =>
    (await server.api(key).get("/api/inbox?status=undelivered&limit=1")).body.events.length === 0;

  const consume = async () => {
    for (;;) {
      const lease = await post("/api/inbox/lease", { max: 7, lease_seconds: LEASE_SECONDS, wait: 1 });
      if (lease === null) continue;
      expect(lease.status).toBe(200);
      if (lease.body.lease_id === null) {
        if (await isDone()) return;
        continue;
      }
      record(lease.body);
      leases++;
      if (leases === 60 || leases === 160) kill();
      // Every fifth forgets, as one that crashed would.
      if (leases % 5 === 0) continue;
      const ack = await post("/api/inbox/ack", { lease_id: lease.body.lease_id });
      if (ack?.status === 200) for (const { id } of lease.body.events) acked.add(id);
    }
  };
  await Promise.all(Array.from({ length: CONSUMERS }, consume));

  expect(kills).toBe(2);
  expect(holders.size).toBeGreaterThan(EVENTS * 0.9);
  for (const held of holders.values()) {
    const inOrder = held.sort((a, b) => a.untilMs - b.untilMs);
    for (const [at, later] of inOrder.slice(1).entries()) {
      expect(later.grantedMs).toBeGreaterThanOrEqual(inOrder[at]?.untilMs ?? 0);
    }
  }
  const { body } = await server.api(key).get("/api/inbox?status=delivered&limit=1000&order=asc");
  const rest = await server
    .api(key)
    .get(`/api/inbox?status=delivered&limit=1000&order=asc&cursor=${body.next_cursor}`);
  expect(body.events.length + rest.body.events.length).toBe(EVENTS);
}, 120_000);
