// Counts that no other load on the machine moves: what benchmarks measure in time shows here first, in every run of CI.
// (How SQLite goes about the statements is counted in test/store/plans.test.ts.)

import { afterEach, expect, test } from "bun:test";
import { requireStrace, type SystemCall, wakeUps, watch, watchFor } from "../../bench/rig/strace.ts";
import { type WalBytes, walBytes } from "../../bench/wal.ts";
import { eventually, eventWithStatus } from "../help/eventually.ts";
import { startReceiver } from "../help/receiver.ts";
import { apiOf, TestServer } from "../help/server.ts";

const open: { stop(): unknown }[] = [];
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.stop();
});

async function start(env: Record<string, string>): Promise<TestServer> {
  const server = await TestServer.start({ env });
  open.push(server);
  return server;
}

/** Enough for four runs of each deferred index, which are written every 2 000 events. */
const WAL = { events: 8_000, organizations: 50, commitEvents: 40, eventBytes: 200 };

const total = ({ accepted, sealing, settled }: WalBytes) => accepted + sealing + settled;

/**
 * It was 913: twice the event's own bytes (200 of payload, 36 of id, 30 of dedup id, its type, its delivery), since the
 * last page of each table is written again by the next commit. One random b-tree page for an event would be 2 072 more.
 */
test("an accepted event takes at most 1 000 bytes of write-ahead log, its share of the indexes included", () => {
  expect(total(walBytes(WAL, false))).toBeLessThan(1_000);
});

/** It was 1 328. */
test("an event takes at most 1 450 bytes of write-ahead log until it is delivered and recorded", () => {
  expect(total(walBytes(WAL, true))).toBeLessThan(1_450);
});

const strace = Bun.which("strace");
// Throws how to get it.
if (!strace && process.env.CI) requireStrace();

const syncs = (calls: readonly SystemCall[]) =>
  calls.filter(({ name }) => /^f(data)?sync$/.test(name)).length;

test.skipIf(!strace)("a batch takes one fsync, however many events are in it", async () => {
  const server = await start({ DISABLE_WEBHOOK_DELIVERY: "true" });
  const { api } = await server.organization();
  const batch = (size: number) => ({ events: Array(size).fill({ type: "t", payload: "x".repeat(200) }) });
  // The key's first use is written down once a minute: now, and not while it is watched.
  expect((await api.post("/api/events/batch", batch(1))).status).toBe(202);
  const watching = await watch(server.pid, ["fsync", "fdatasync"], server.dataDir);
  const sizes = [1, 10, 100, 1_000];
  for (const size of sizes) expect((await api.post("/api/events/batch", batch(size))).status).toBe(202);
  expect(syncs(await watching.end())).toBe(sizes.length);
});

test.skipIf(!strace)(
  "an idle server makes no wake-ups, also after it has delivered",
  async () => {
    const receiver = startReceiver();
    open.push(receiver);
    // The runtime looks at its heap once a second for half a minute after it was busy; that is no wake-up of ours.
    const server = await start({ WEBHOOK_ALLOW_PRIVATE: "true", BUN_GC_TIMER_DISABLE: "1" });
    // An open connection is looked at each four seconds, until it was silent for too long.
    const closing = { connection: "close" };
    const made = await apiOf(server.url, closing).post("/api/keys/generate", { organization_name: "Acme" });
    const api = apiOf(server.url, { ...closing, "x-api-key": made.body.api_key });
    expect((await api.post("/api/webhook/config", { webhook_url: receiver.url })).status).toBe(200);
    const { body } = await api.post("/api/events", { type: "t", payload: 1 });
    await eventWithStatus(api, body.id, "delivered");
    receiver.stop();
    // What polls does so in every window: an idle server comes to one without a wake-up.
    const calls = await eventually(
      () => watchFor(2, server.pid, server.dataDir),
      (watched) => wakeUps(watched) === 0,
    );
    expect(wakeUps(calls)).toBe(0);
  },
  120_000,
);
