// The service as a queue: batch ingest by size of batch, lease and acknowledge by number of consumers, how soon a long
// poll answers after the commit, and what idle streams cost in memory. One client process (this one) and the server share
// the machine; what the client takes of it is told beside each figure.

import net from "node:net";
import { callApi, newOrganization } from "./rig/api.ts";
import type { Benchmark, Findings, Table } from "./rig/benchmark.ts";
import { Latencies, type Spread } from "./rig/numbers.ts";
import { residentMib } from "./rig/processes.ts";
import { progress } from "./rig/progress.ts";
import { PAYLOAD } from "./rig/requests.ts";
import { buildTargets, type Product, startProduct } from "./rig/target.ts";

/** Of batches; single events need more to keep the server busy. */
const BATCH_CLIENTS = 16;
const SINGLE_CLIENTS = 64;
const LEASE_MAX = 100;

const usual = {
  ...{ organizations: 50, batches: [1, 10, 100, 1_000], batchSeconds: 5 },
  ...{ consumers: [1, 8, 32], leaseEvents: 200_000, wakeUps: 500, streams: 1_000 },
};
type InboxOptions = Readonly<typeof usual>;
const brief: InboxOptions = {
  ...{ organizations: 3, batches: [1, 100], batchSeconds: 1 },
  ...{ consumers: [2], leaseEvents: 2_000, wakeUps: 10, streams: 10 },
};

export const inbox: Benchmark<InboxOptions> = {
  name: "inbox",
  question: "How fast are batches, leases and long polls, and what do idle streams cost?",
  usual,
  brief,
  measure,
};

type Api = { readonly url: string; readonly key: string };
/** `client`: what this process took of one core. */
type Throughput = { readonly of: number; readonly perSecond: number; readonly client: number };
type Streams = {
  readonly asked: number;
  readonly open: number;
  readonly beforeMib: number;
  readonly afterMib: number;
};

async function measure(options: InboxOptions): Promise<Findings> {
  await buildTargets();
  const product = await startProduct({ organizations: options.organizations });
  try {
    const batches = await measureBatches(product, options);
    const leases: Throughput[] = [];
    for (const consumers of options.consumers) leases.push(await measureLeases(product, consumers, options));
    const wakeUps = await measureWakeUps(product, options);
    const streams = await measureStreams(product, options);
    return findings(batches, leases, wakeUps, streams);
  } finally {
    await product.stop();
  }
}

async function organization({ url }: Product, name: string): Promise<Api> {
  return { url, key: (await newOrganization(url, name)).key };
}

async function measureBatches({ url, keys }: Product, options: InboxOptions): Promise<Throughput[]> {
  const results: Throughput[] = [];
  const event = { type: "order.created", payload: PAYLOAD };
  for (const size of options.batches) {
    progress(`batches of ${size}`);
    const where = size === 1 ? "/api/events" : "/api/events/batch";
    const body = JSON.stringify(size === 1 ? event : { events: Array(size).fill(event) });
    const endMs = performance.now() + options.batchSeconds * 1_000;
    let calls = 0;
    const one = async (client: number) => {
      for (let n = client; performance.now() < endMs; n++) {
        await callApi(url, where, keys[n % keys.length] ?? null, body);
        calls++;
      }
    };
    const clients = size === 1 ? SINGLE_CLIENTS : BATCH_CLIENTS;
    results.push(
      await throughput(
        size,
        () => Promise.all(Array.from({ length: clients }, (_, n) => one(n))),
        () => calls * size,
      ),
    );
  }
  return results;
}

/** Does the work and relates what was done to the time that it took, here and by the clock. */
async function throughput(of: number, work: () => Promise<unknown>, done: () => number): Promise<Throughput> {
  const used = process.cpuUsage();
  const startMs = performance.now();
  await work();
  const seconds = (performance.now() - startMs) / 1_000;
  const { user, system } = process.cpuUsage(used);
  return { of, perSecond: done() / seconds, client: (user + system) / 1e6 / seconds };
}

async function measureLeases(
  product: Product,
  consumers: number,
  options: InboxOptions,
): Promise<Throughput> {
  progress(`lease and acknowledge by ${consumers} consumers`);
  const { url, key } = await organization(product, `Queue of ${consumers}`);
  const events = Array(1_000).fill({ type: "order.created", payload: PAYLOAD });
  for (let n = 0; n < options.leaseEvents; n += 1_000)
    await callApi(url, "/api/events/batch", key, { events });
  let done = 0;
  const consume = async () => {
    for (;;) {
      const { lease_id, events } = await callApi(url, "/api/inbox/lease", key, { max: LEASE_MAX });
      if (lease_id === null) return;
      await callApi(url, "/api/inbox/ack", key, { lease_id });
      done += (events as unknown[]).length;
    }
  };
  const all = () => Promise.all(Array.from({ length: consumers }, consume));
  const result = await throughput(consumers, all, () => done);
  if (done !== options.leaseEvents) throw new Error(`${done} of ${options.leaseEvents} events were leased`);
  return result;
}

/** From sending the event to the poll's answer: both clocks are this process's. */
async function measureWakeUps(product: Product, options: InboxOptions): Promise<Spread> {
  const { url, key } = await organization(product, "Polled");
  const waits: number[] = [];
  for (let n = 0; n < options.wakeUps; n++) {
    progress(`long polls, ${n} of ${options.wakeUps}`);
    const since = new Date(Date.now() - 1).toISOString();
    const type = `wake.${n}`;
    const poll = fetch(`${url}/api/inbox?type=${type}&wait=30&since=${since}`, {
      headers: { "x-api-key": key },
    }).then(async (response) => ({ body: await response.text(), atMs: performance.now() }));
    await Bun.sleep(5); // the poll is waiting by then
    const startMs = performance.now();
    await callApi(url, "/api/events", key, { type, payload: n });
    const { body, atMs } = await poll;
    if (!body.includes(type)) throw new Error(`the poll answered ${body}`);
    waits.push(atMs - startMs);
  }
  return Latencies.of(waits).spread();
}

/** Over plain sockets: `fetch` opens no more than 256 connections at a time. */
async function measureStreams(product: Product, { streams: asked }: InboxOptions): Promise<Streams> {
  progress(`${asked} idle streams`);
  const { url, key } = await organization(product, "Streamed");
  const beforeMib = residentMib(product.pid);
  const streams = await Promise.all(Array.from({ length: asked }, () => openStream(new URL(url), key)));
  const open = streams.filter((one) => one.isOpen).length;
  const afterMib = residentMib(product.pid);
  for (const { socket } of streams) socket.destroy();
  return { asked, open, beforeMib, afterMib };
}

/** Settles when the server has answered, or has closed the connection. */
function openStream({ hostname, port }: URL, key: string): Promise<{ socket: net.Socket; isOpen: boolean }> {
  return new Promise((resolve) => {
    const socket = net.connect(Number(port), hostname);
    socket.once("connect", () =>
      socket.write(
        `GET /api/inbox/stream HTTP/1.1\r\nHost: ${hostname}:${port}\r\nX-API-Key: ${key}\r\n\r\n`,
      ),
    );
    socket.once("data", (head) => resolve({ socket, isOpen: String(head).startsWith("HTTP/1.1 200 ") }));
    socket.once("error", () => resolve({ socket, isOpen: false }));
    socket.once("close", () => resolve({ socket, isOpen: false }));
  });
}

function findings(
  batches: readonly Throughput[],
  leases: readonly Throughput[],
  wakeUps: Spread,
  streams: Streams,
): Findings {
  const rows = (title: string, of: string, all: readonly Throughput[]): Table => ({
    title,
    columns: [of, "events/s", "client, of a core"],
    rows: all.map((one) => [one.of, Math.round(one.perSecond), one.client]),
  });
  const { open, asked, beforeMib, afterMib } = streams;
  const eachKib = ((afterMib - beforeMib) * 1024) / open;
  return {
    method: `${SINGLE_CLIENTS} clients for single events, ${BATCH_CLIENTS} for batches; leases of ${LEASE_MAX}, each acknowledged whole.`,
    tables: [
      rows("Ingest by batches", "events a batch", batches),
      rows("Lease and acknowledge", "consumers", leases),
      {
        title: "Long poll, from sending the event to the poll's answer",
        columns: ["p50 ms", "p95 ms", "p99 ms", "max ms"],
        rows: [[wakeUps.p50Ms, wakeUps.p95Ms, wakeUps.p99Ms, wakeUps.maxMs]],
      },
      {
        title: "Idle streams",
        columns: ["open", "MiB before", "MiB with them", "KiB each"],
        rows: [[open, beforeMib, afterMib, eachKib]],
      },
    ],
    figures: [
      ...batches.map((one) => ({
        name: `batches of ${one.of}`,
        ...{ value: Math.round(one.perSecond), unit: "events/s" },
      })),
      { name: "long poll p99", value: wakeUps.p99Ms, unit: "ms" },
      { name: "memory of an idle stream", value: eachKib, unit: "KiB" },
    ],
    problems: open === asked ? [] : [`${open} of ${asked} streams opened`],
    data: { batches, leases, wakeUps, streams },
  };
}
