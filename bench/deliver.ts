// How many events a second go all the way (accepted, delivered, recorded) while the backlog stays flat; how long after
// its 202 an event is sent first, idle and under that load; and what a backlog of a million deliveries costs ingest.
// Load generator (wrk, paced), server and receiver share the machine.

import { mkdirSync } from "node:fs";
import path from "node:path";
import { type Load, load, median, requireWrk } from "./load.ts";
import { machine } from "./machine.ts";
import { buildTargets, callApi, startProduct, startScript, type Target } from "./target.ts";

const ORGANIZATIONS = 50;
const DURABILITY = "full";
/** The load generator's connections. */
const CLIENTS = 64;
const SUSTAINED_SECONDS = 60;
const SUSTAINED_PER_SECOND = 5_000;
/** Tried for 15 s each, until the backlog grows. */
const HIGHER_PER_SECOND = [6_000, 8_000, 10_000, 12_000];
const HIGHER_SECONDS = 15;
/** Sampled by events of this process's own, to an endpoint of its own. */
const SAMPLES_PER_SECOND = 20;
const IDLE_SAMPLES = 200;
const BACKLOG = 1_000_000;
const BACKLOG_ROUNDS = 3;

type Spread = {
  readonly p50Ms: number;
  readonly p95Ms: number;
  readonly p99Ms: number;
  readonly samples: number;
};
type Sustained = {
  readonly perSecond: number;
  readonly seconds: number;
  readonly accepted: number;
  readonly errors: number;
  readonly delivered: number;
  /** Due and not delivered, each five seconds. */
  readonly backlog: readonly number[];
  readonly flat: boolean;
  readonly firstAttempt: Spread;
};

/** Measures and prints all of it. */
export async function benchDeliver(): Promise<void> {
  requireWrk();
  await buildTargets();
  const sink = await startScript("bench/sink.ts");
  const product = await startProduct({
    organizations: ORGANIZATIONS,
    durability: DURABILITY,
    receiverUrl: sink.url,
  });
  const sampler = await startSampler(product);
  let idle: Spread;
  const sustained: Sustained[] = [];
  try {
    await load(product.url, { ...keysOf(product), clients: CLIENTS, seconds: 5, perSecond: 2_000 }); // warm
    await drained(product);
    idle = spread(await sampler.sample(IDLE_SAMPLES, SAMPLES_PER_SECOND));
    console.log(`202 to first attempt, idle: ${told(idle)}`);
    sustained.push(await sustain(product, sampler, SUSTAINED_PER_SECOND, SUSTAINED_SECONDS));
    for (const perSecond of HIGHER_PER_SECOND) {
      if (!sustained.at(-1)?.flat) break;
      sustained.push(await sustain(product, sampler, perSecond, HIGHER_SECONDS));
    }
  } finally {
    sampler.stop();
    await product.stop();
    await sink.stop();
  }
  const backlog = await compareBacklog();
  report({ idle, sustained, backlog });
}

function keysOf({ keysFile }: Target) {
  return keysFile === undefined ? {} : { keysFile };
}

/** One rate for so long, and whether what is due stays about the same. */
async function sustain(
  product: Target,
  sampler: Sampler,
  perSecond: number,
  seconds: number,
): Promise<Sustained> {
  const before = await deliveredTotal(product);
  const backlog: number[] = [];
  const timer = setInterval(async () => backlog.push(await gauge(product, "deliveries_due")), 5_000);
  const samples = sampler.sample(seconds * SAMPLES_PER_SECOND, SAMPLES_PER_SECOND);
  const sent = await load(product.url, { ...keysOf(product), clients: CLIENTS, seconds, perSecond });
  clearInterval(timer);
  const left = await gauge(product, "deliveries_due");
  const firstAttempt = spread(await samples);
  await drained(product);
  const accepted = Math.round(sent.requestsPerSecond * seconds);
  const result: Sustained = {
    ...{ perSecond, seconds, accepted, errors: sent.errors, backlog: [...backlog, left] },
    delivered: (await deliveredTotal(product)) - before,
    // Half a second's worth may be on its way; a growing backlog is many times that by the end.
    flat: left < perSecond / 2 && accepted > perSecond * seconds * 0.98,
    firstAttempt,
  };
  console.log(
    `${perSecond}/s for ${seconds} s: accepted ${accepted}, delivered and recorded ${result.delivered}, errors ${sent.errors}, due each 5 s ${result.backlog.join(" ")}, ${result.flat ? "flat" : "NOT flat"}; 202 to first attempt ${told(firstAttempt)}`,
  );
  return result;
}

/** Waits until nothing is due. */
async function drained(product: Target): Promise<void> {
  while ((await gauge(product, "deliveries_due")) > 0) await Bun.sleep(250);
}

async function deliveredTotal(product: Target): Promise<number> {
  return gauge(product, 'webhook_deliveries_total{status="delivered"}');
}

async function gauge(product: Target, name: string): Promise<number> {
  const text = await (await fetch(`${product.url}/metrics`)).text();
  const line = text.split("\n").find((one) => one.startsWith(`${name} `));
  if (line === undefined) throw new Error(`no metric ${name}`);
  return Number(line.slice(name.length + 1));
}

type Sampler = {
  /** Sends so many events at this rate; how long after its 202 each was sent first, in milliseconds. */
  sample(count: number, perSecond: number): Promise<readonly number[]>;
  stop(): void;
};

/** An organization whose webhook is in this process: both ends of the measurement are one clock. */
async function startSampler(product: Target): Promise<Sampler> {
  const arrived = new Map<string, (atMs: number) => void>();
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    reusePort: false,
    fetch(request) {
      const atMs = performance.now();
      arrived.get(request.headers.get("x-event-type") ?? "")?.(atMs);
      return new Response("ok");
    },
  });
  const key = await product.newKey("Sampler");
  await callApi(product.url, "/api/webhook/config", key, { webhook_url: server.url.href });
  let n = 0;
  const one = async (): Promise<number> => {
    const type = `sample.${n++}`;
    const { promise, resolve } = Promise.withResolvers<number>();
    arrived.set(type, resolve);
    await callApi(product.url, "/api/events", key, { type, payload: {} });
    const answeredMs = performance.now();
    const arrivedMs = await promise;
    arrived.delete(type);
    // The webhook may come before the answer was read here: then nobody waited.
    return Math.max(0, arrivedMs - answeredMs);
  };
  return {
    async sample(count, perSecond) {
      const samples: Promise<number>[] = [];
      for (let i = 0; i < count; i++) {
        samples.push(one());
        await Bun.sleep(1000 / perSecond);
      }
      return Promise.all(samples);
    },
    stop: () => void server.stop(true),
  };
}

function spread(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number) =>
    sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
  return { p50Ms: at(0.5), p95Ms: at(0.95), p99Ms: at(0.99), samples: sorted.length };
}

function told({ p50Ms, p95Ms, p99Ms, samples }: Spread): string {
  return `p50 ${p50Ms.toFixed(2)} ms, p95 ${p95Ms.toFixed(2)} ms, p99 ${p99Ms.toFixed(2)} ms (${samples} samples)`;
}

type Backlog = {
  readonly without: Load;
  readonly with: Load;
  readonly ratio: number;
  readonly waiting: number;
};

/** Ingest into two servers in turn: one with a million deliveries held for a disabled endpoint, one without. */
async function compareBacklog(): Promise<Backlog> {
  const options = { organizations: ORGANIZATIONS, durability: DURABILITY, disabled: true } as const;
  const fresh = await startProduct(options);
  const loaded = await startProduct(options);
  try {
    let sent = 0;
    while (sent < BACKLOG) {
      const filled = await load(loaded.url, { ...keysOf(loaded), clients: 256, seconds: 10 });
      sent += Math.round(filled.requestsPerSecond * 10);
      process.stderr.write(`\rbacklog ${sent}   `);
    }
    process.stderr.write("\r");
    await load(fresh.url, { ...keysOf(fresh), clients: CLIENTS, seconds: 5 });
    const pairs: { without: Load; with: Load }[] = [];
    for (let round = 0; round < BACKLOG_ROUNDS; round++) {
      const without = await load(fresh.url, { ...keysOf(fresh), clients: CLIENTS, seconds: 4 });
      pairs.push({
        without,
        with: await load(loaded.url, { ...keysOf(loaded), clients: CLIENTS, seconds: 4 }),
      });
    }
    const ratio = median(pairs.map((one) => one.with.requestsPerSecond / one.without.requestsPerSecond));
    const middle = [...pairs].sort((a, b) => a.with.requestsPerSecond - b.with.requestsPerSecond)[
      Math.floor(pairs.length / 2)
    ];
    if (!middle) throw new Error("no rounds");
    return { ...middle, ratio, waiting: sent };
  } finally {
    await fresh.stop();
    await loaded.stop();
  }
}

function report(results: { idle: Spread; sustained: readonly Sustained[]; backlog: Backlog }): void {
  const { backlog } = results;
  console.log(
    `ingest with ${backlog.waiting} deliveries held: ${Math.round(backlog.with.requestsPerSecond)}/s, p95 ${backlog.with.p95Ms.toFixed(1)} ms; without: ${Math.round(backlog.without.requestsPerSecond)}/s, p95 ${backlog.without.p95Ms.toFixed(1)} ms; median ratio ${backlog.ratio.toFixed(2)}`,
  );
  console.log(machine());
  const directory = path.join(import.meta.dir, "results");
  mkdirSync(directory, { recursive: true });
  void Bun.write(
    path.join(directory, "deliver.json"),
    JSON.stringify({ machine: machine(), ...results }, null, 2),
  );
}
