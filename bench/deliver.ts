// How many events a second go all the way (accepted, delivered, recorded) while the backlog stays flat; how long after
// its 202 an event is sent first, idle and under that load; and what a backlog of a million deliveries costs ingest.
// Load generator (wrk, paced), server and receiver share the machine.

import { callApi, drained, metric, newOrganization } from "./rig/api.ts";
import { type Benchmark, errorsAt, type Findings, type Table } from "./rig/benchmark.ts";
import { type Busy, busyTable, whileBusy } from "./rig/busy.ts";
import { LOAD_COLUMNS, load, loadCells, ofRounds, type Rounds, requireWrk } from "./rig/load.ts";
import { Latencies, type Spread } from "./rig/numbers.ts";
import { progress } from "./rig/progress.ts";
import { inTurn, type Ratio, ratioOf, ratioText } from "./rig/rounds.ts";
import { buildTargets, type Product, startProduct, startScript } from "./rig/target.ts";

/** The greatest wait of an idle sample for the webhook: then it is taken for lost. */
const SAMPLE_MS_MAX = 30_000;
const SAMPLED_EVERY_SECONDS = 5;

const usual = {
  ...{ organizations: 50, clients: 64, warmSeconds: 5, warmPerSecond: 2_000 },
  ...{ perSecond: 5_000, seconds: 60 },
  /** Tried one after the other, until the backlog grows. */
  ...{ higherPerSecond: [6_000, 8_000, 10_000, 12_000], higherSeconds: 15 },
  /** By events of this process's own, to an endpoint of its own. */
  ...{ samplesPerSecond: 20, idleSamples: 200 },
  ...{ backlog: 1_000_000, backlogRounds: 3, backlogSeconds: 4 },
};
type DeliverOptions = Readonly<typeof usual>;
const brief: DeliverOptions = {
  ...{ organizations: 3, clients: 8, warmSeconds: 1, warmPerSecond: 200, perSecond: 300, seconds: 1 },
  ...{ higherPerSecond: [], higherSeconds: 1, samplesPerSecond: 20, idleSamples: 5 },
  ...{ backlog: 1_000, backlogRounds: 1, backlogSeconds: 1 },
};

export const deliver: Benchmark<DeliverOptions> = {
  name: "deliver",
  question:
    "How many events a second are accepted, delivered and recorded, and how soon is an event sent first?",
  usual,
  brief,
  measure,
};

type Sustained = {
  readonly perSecond: number;
  readonly seconds: number;
  readonly accepted: number;
  readonly errors: number;
  readonly delivered: number;
  /** Due and not delivered, each five seconds and at the end. */
  readonly backlog: readonly number[];
  readonly flat: boolean;
  readonly firstAttempt: Spread;
  readonly busy: Busy;
};
type Backlog = {
  readonly without: Rounds;
  readonly with: Rounds;
  readonly ratio: Ratio;
  readonly waiting: number;
};

async function measure(options: DeliverOptions): Promise<Findings> {
  requireWrk();
  await buildTargets();
  const { idle, sustained } = await sustainAll(options);
  const backlog = await compareBacklog(options);
  return findings(idle, sustained, backlog, options);
}

async function sustainAll(options: DeliverOptions) {
  const { organizations, clients, samplesPerSecond } = options;
  const sink = await startScript("sink.ts");
  const product = await startProduct({ organizations, receiverUrl: sink.url });
  const sampler = await startSampler(product);
  try {
    await load(product, { clients, seconds: options.warmSeconds, perSecond: options.warmPerSecond });
    await drained(product.url);
    progress("202 to first attempt, idle");
    const idle = Latencies.of(await sampler.sample(options.idleSamples, samplesPerSecond)).spread();
    const sustain = (perSecond: number, seconds: number) =>
      sustainRate(product, sampler, { perSecond, seconds, clients, samplesPerSecond });
    const sustained = [await sustain(options.perSecond, options.seconds)];
    for (const perSecond of options.higherPerSecond) {
      if (!sustained.at(-1)?.flat) break;
      sustained.push(await sustain(perSecond, options.higherSeconds));
    }
    return { idle, sustained };
  } finally {
    sampler.stop();
    await product.stop();
    await sink.stop();
  }
}

type Rate = Pick<DeliverOptions, "perSecond" | "seconds" | "clients" | "samplesPerSecond">;

/** One rate for so long, and whether what is due stays about the same. */
async function sustainRate(product: Product, sampler: Sampler, rate: Rate): Promise<Sustained> {
  const { perSecond, seconds, clients, samplesPerSecond } = rate;
  progress(`${perSecond} events a second for ${seconds} s`);
  const { url } = product;
  const deliveredTotal = () => metric(url, 'webhook_deliveries_total{status="delivered"}');
  const before = await deliveredTotal();
  const backlog: number[] = [];
  const timer = setInterval(
    async () => backlog.push(await metric(url, "deliveries_due")),
    SAMPLED_EVERY_SECONDS * 1_000,
  );
  const samples = sampler.sample(seconds * samplesPerSecond, samplesPerSecond);
  const { result: sent, busy } = await whileBusy(product.pid, () =>
    load(product, { clients, seconds, perSecond }),
  );
  clearInterval(timer);
  const left = await metric(url, "deliveries_due");
  const firstAttempts = await samples;
  await drained(url);
  return {
    ...{ perSecond, seconds, accepted: sent.requests, errors: sent.errors, backlog: [...backlog, left] },
    // Without the samples. It may be more than was accepted: wrk's last requests, whose answers it did not wait for.
    delivered: (await deliveredTotal()) - before - firstAttempts.length,
    // Half a second's worth may be on its way; a growing backlog is many times that by the end.
    flat: left < perSecond / 2 && sent.requests > perSecond * seconds * 0.98,
    firstAttempt: Latencies.of(firstAttempts).spread(),
    busy,
  };
}

type Sampler = {
  /** Sends so many events at this rate; how long after its 202 each was sent first, in milliseconds. */
  sample(count: number, perSecond: number): Promise<readonly number[]>;
  stop(): void;
};

/** An organization whose webhook is in this process: both ends of the measurement are one clock. */
async function startSampler(product: Product): Promise<Sampler> {
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
  const { key } = await newOrganization(product.url, "Sampler");
  await callApi(product.url, "/api/webhook/config", key, { webhook_url: server.url.href });
  let n = 0;
  const one = async (): Promise<number> => {
    const type = `sample.${n++}`;
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    arrived.set(type, resolve);
    await callApi(product.url, "/api/events", key, { type, payload: {} });
    const answeredMs = performance.now();
    const timer = setTimeout(() => reject(new Error(`no webhook of ${type} came`)), SAMPLE_MS_MAX);
    const arrivedMs = await promise;
    clearTimeout(timer);
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

/** Ingest into two servers in turn: one with a million deliveries held for a disabled endpoint, one without. */
async function compareBacklog(options: DeliverOptions): Promise<Backlog> {
  const { organizations, clients, backlog, backlogRounds, backlogSeconds } = options;
  const fresh = await startProduct({ organizations, disabled: true });
  const loaded = await startProduct({ organizations, disabled: true });
  try {
    let waiting = 0;
    while (waiting < backlog) {
      progress(`making a backlog: ${waiting} of ${backlog}`);
      waiting += (await load(loaded, { clients: 256, seconds: backlog > 100_000 ? 10 : 1 })).requests;
    }
    await load(fresh, { clients, seconds: options.warmSeconds });
    const runs = [fresh, loaded].map((target) => () => load(target, { clients, seconds: backlogSeconds }));
    const [without = [], beside = []] = await inTurn("backlog", backlogRounds, runs);
    const ratio = ratioOf(beside, without, (one) => one.requestsPerSecond);
    return { without: ofRounds(without), with: ofRounds(beside), ratio, waiting };
  } finally {
    await fresh.stop();
    await loaded.stop();
  }
}

function findings(
  idle: Spread,
  sustained: readonly Sustained[],
  backlog: Backlog,
  { organizations, backlogRounds, backlogSeconds, perSecond }: DeliverOptions,
): Findings {
  const flat = sustained.filter((one) => one.flat).map((one) => one.perSecond);
  const wrong = sustained.filter((one) => one.delivered < one.accepted);
  return {
    method: `${organizations} organizations with one endpoint each, a receiver in a process of its own, wrk paced. With a backlog: ${backlogRounds} rounds of ${backlogSeconds} s in turn.`,
    tables: [
      rateTable(idle, sustained),
      busyTable(
        "events/s",
        sustained.map(({ perSecond, busy }) => [perSecond, [busy]]),
      ),
      backlogTable(backlog),
    ],
    figures: [
      { name: "sustained, backlog flat", value: Math.max(0, ...flat), unit: "events/s", atLeast: 12_000 },
      { name: "202 to first attempt, idle, p50", value: idle.p50Ms, unit: "ms", atMost: 1 },
      {
        name: `202 to first attempt, ${perSecond}/s, p99`,
        ...{ value: sustained[0]?.firstAttempt.p99Ms ?? Number.NaN, unit: "ms", atMost: 15 },
      },
      {
        name: `ingest with ${backlog.waiting} held, of without`,
        value: backlog.ratio.median,
        unit: "ratio",
      },
    ],
    problems: [
      ...sustained.flatMap((one) => errorsAt(`${one.perSecond}/s`, one.errors)),
      ...wrong.map((one) => `${one.perSecond}/s: ${one.accepted} accepted, ${one.delivered} delivered`),
      ...errorsAt("backlog", backlog.with.errors + backlog.without.errors),
    ],
    data: { idle, sustained, backlog },
  };
}

function rateTable(idle: Spread, sustained: readonly Sustained[]): Table {
  const times = ({ p50Ms, p95Ms, p99Ms, maxMs }: Spread) => [p50Ms, p95Ms, p99Ms, maxMs];
  return {
    title: "202 to first attempt, in ms, and what is due and not delivered",
    columns: ["events/s", "s", "accepted", "delivered", "due, each 5 s", "p50", "p95", "p99", "max"],
    rows: [
      ["idle", "", "", "", "", ...times(idle)],
      ...sustained.map((one) => [
        one.perSecond,
        one.seconds,
        one.accepted,
        one.delivered,
        `${one.backlog.join(" ")}${one.flat ? "" : " (not flat)"}`,
        ...times(one.firstAttempt),
      ]),
    ],
  };
}

function backlogTable(backlog: Backlog): Table {
  return {
    title: "Ingest with deliveries held",
    columns: ["held", ...LOAD_COLUMNS, "of none"],
    rows: [
      [0, ...loadCells(backlog.without), ""],
      [backlog.waiting, ...loadCells(backlog.with), ratioText(backlog.ratio)],
    ],
  };
}
