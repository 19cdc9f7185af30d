// The service as a queue: batch ingest by size of batch, lease and acknowledge by number of consumers, how soon a long
// poll answers after the commit, and what idle streams cost in memory. One client process (this one) and the server share
// the machine; what the client takes of it is told beside each figure.

import { readFileSync } from "node:fs";
import path from "node:path";
import { machine } from "./machine.ts";
import { buildTargets, startProduct, type Target } from "./target.ts";

const PAYLOAD = { order: 4711, customer: "c_83k2", total: "129.90", note: "x".repeat(120) };
const BATCHES = [1, 10, 100, 1_000];
const BATCH_SECONDS = 5;
const BATCH_CLIENTS = 8;
const CONSUMERS = [1, 8, 32];
const LEASE_MAX = 100;
const LEASE_EVENTS = 200_000;
const WAKE_UPS = 500;
const STREAMS = 1_000;

type Api = { url: string; key: string };

async function call(api: Api, where: string, body: unknown): Promise<Record<string, unknown>> {
  const response = await fetch(api.url + where, {
    method: "POST",
    headers: { "content-type": "application/json", "x-api-key": api.key },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`${where}: ${response.status} ${await response.text()}`);
  return (await response.json()) as Record<string, unknown>;
}

/** Organizations in turn: the largest tier may send 100 000 events a minute, and this sends more. */
async function organizations(product: Target, count: number): Promise<Api[]> {
  const all: Api[] = [];
  for (let n = 0; n < count; n++) all.push({ url: product.url, key: await product.newKey(`Queue ${n}`) });
  for (const { key } of all) {
    const shown = await fetch(`${product.url}/api/keys`, { headers: { "x-api-key": key } });
    const { organization_id } = (await shown.json()) as { organization_id: string };
    await fetch(`${product.url}/api/admin/organizations/${organization_id}`, {
      method: "PATCH",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ rate_limit_per_minute: 10_000_000 }),
    });
  }
  return all;
}

async function benchBatches(apis: readonly Api[]): Promise<void> {
  for (const size of BATCHES) {
    const body =
      size === 1
        ? JSON.stringify({ type: "order.created", payload: PAYLOAD })
        : JSON.stringify({ events: Array(size).fill({ type: "order.created", payload: PAYLOAD }) });
    const where = size === 1 ? "/api/events" : "/api/events/batch";
    const endMs = performance.now() + BATCH_SECONDS * 1000;
    let calls = 0;
    const one = async (client: number) => {
      for (let n = client; performance.now() < endMs; n += 1) {
        await call(apis[n % apis.length] as Api, where, body);
        calls++;
      }
    };
    const used = process.cpuUsage();
    const startMs = performance.now();
    await Promise.all(Array.from({ length: size === 1 ? 64 : BATCH_CLIENTS }, (_, client) => one(client)));
    const seconds = (performance.now() - startMs) / 1000;
    const perSecond = Math.round((calls * size) / seconds);
    console.log(`batches of ${size}: ${perSecond} events/s${clientShare(used, seconds)}`);
  }
}

function clientShare(used: NodeJS.CpuUsage, seconds: number): string {
  const { user, system } = process.cpuUsage(used);
  return ` (this client: ${Math.round((user + system) / 1e4 / seconds)} % of a core)`;
}

async function fill(api: Api, events: number): Promise<void> {
  const body = JSON.stringify({ events: Array(1_000).fill({ type: "order.created", payload: PAYLOAD }) });
  for (let n = 0; n < events; n += 1_000) await call(api, "/api/events/batch", body);
}

async function benchLeases(product: Target): Promise<void> {
  for (const consumers of CONSUMERS) {
    const [api] = await organizations(product, 1);
    if (!api) throw new Error("no organization");
    await fill(api, LEASE_EVENTS);
    let done = 0;
    const consume = async () => {
      for (;;) {
        const { lease_id, events } = await call(api, "/api/inbox/lease", { max: LEASE_MAX });
        if (lease_id === null) return;
        await call(api, "/api/inbox/ack", { lease_id });
        done += (events as unknown[]).length;
      }
    };
    const used = process.cpuUsage();
    const startMs = performance.now();
    await Promise.all(Array.from({ length: consumers }, consume));
    const seconds = (performance.now() - startMs) / 1000;
    console.log(
      `lease and ack of ${LEASE_MAX} by ${consumers} consumers: ${Math.round(done / seconds)} events/s of ${done}${clientShare(used, seconds)}`,
    );
  }
}

/** From when the 202 was read here to when the poll's answer was: both clocks are this process's. */
async function benchWakeUps(product: Target): Promise<void> {
  const [api] = await organizations(product, 1);
  if (!api) throw new Error("no organization");
  const waits: number[] = [];
  for (let n = 0; n < WAKE_UPS; n++) {
    const since = new Date(Date.now() - 1).toISOString();
    const type = `wake.${n}`;
    const poll = fetch(`${api.url}/api/inbox?type=${type}&wait=30&since=${since}`, {
      headers: { "x-api-key": api.key },
    }).then(async (response) => ({ body: await response.text(), atMs: performance.now() }));
    await Bun.sleep(5); // the poll is waiting by then
    const startMs = performance.now();
    await call(api, "/api/events", { type, payload: n });
    const { body, atMs } = await poll;
    if (!body.includes(type)) throw new Error(`the poll answered ${body}`);
    waits.push(atMs - startMs);
  }
  const sorted = waits.sort((a, b) => a - b);
  const at = (share: number) => (sorted[Math.floor(sorted.length * share)] ?? Number.NaN).toFixed(2);
  console.log(`long poll, from the POST to the poll's answer: p50 ${at(0.5)} ms, p99 ${at(0.99)} ms`);
}

async function benchStreams(product: Target): Promise<void> {
  const [api] = await organizations(product, 1);
  if (!api) throw new Error("no organization");
  const before = residentMib(product.pid);
  const abort = new AbortController();
  const streams = await Promise.all(
    Array.from({ length: STREAMS }, () =>
      fetch(`${api.url}/api/inbox/stream`, { headers: { "x-api-key": api.key }, signal: abort.signal }),
    ),
  );
  const open = streams.filter((one) => one.status === 200).length;
  const after = residentMib(product.pid);
  console.log(`${open} idle streams: ${after - before} MiB more resident memory (${before} -> ${after})`);
  abort.abort();
}

function residentMib(pid: number): number {
  const kib = /VmRSS:\s+(\d+)/.exec(readFileSync(path.join("/proc", String(pid), "status"), "utf8"))?.[1];
  return Math.round(Number(kib) / 1024);
}

/** Measures and prints all of it. */
export async function benchInbox(): Promise<void> {
  await buildTargets();
  const product = await startProduct({ organizations: 0, durability: "full" });
  try {
    await benchBatches(await organizations(product, 50));
    await benchLeases(product);
    await benchWakeUps(product);
    await benchStreams(product);
  } finally {
    await product.stop();
  }
  console.log(machine());
}
