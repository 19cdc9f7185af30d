// Does an endpoint that hangs, fails or is slow cost the others anything? The time from an event's acceptance to its
// first attempt at 20 healthy endpoints, alone and beside three sick ones, in turn, each on a fresh server.

import { callApi, newOrganization } from "./rig/api.ts";
import type { Benchmark, Findings } from "./rig/benchmark.ts";
import { medianSpread, type Spread } from "./rig/numbers.ts";
import { processorTime, shares } from "./rig/processes.ts";
import { progress } from "./rig/progress.ts";
import { type Arrival, type Manner, machineMs, type Receivers, startReceivers } from "./rig/receiver.ts";
import { PAYLOAD } from "./rig/requests.ts";
import { buildTargets, type Product, startProduct } from "./rig/target.ts";

const SICK: readonly Manner[] = ["hanging", "failing", "slow"];
/** For what is still on its way when the last event has been accepted. */
const LATE_MAX_MS = 10_000;
const MARK = 2;
/** On a shared machine a round waits until others leave it alone, and does not count when they took more than this. */
const OTHERS_MAX = 0.1;
/** What cutting `created_at` to milliseconds adds to the time since then, on the average. */
const CUT_MS = 0.5;

const usual = {
  healthy: 20,
  /** Until the JIT has seen everything, the keys' hashes are cached, and the sick ones' first attempts hang. */
  warmSeconds: 5,
  /** Longer than WEBHOOK_TIMEOUT (15 s): attempts run into it within the measurement. */
  seconds: 20,
  /** That count: those that others left alone. */
  rounds: 3,
  triesMax: 6,
  quietWaitSeconds: 60,
};
type FairnessOptions = Readonly<typeof usual>;
const brief: FairnessOptions = {
  healthy: 3,
  warmSeconds: 0.5,
  seconds: 1,
  rounds: 1,
  triesMax: 1,
  quietWaitSeconds: 0,
};

export const fairness: Benchmark<FairnessOptions> = {
  name: "fairness",
  question: "Does an endpoint that hangs, fails or is slow cost the others anything?",
  usual,
  brief,
  measure: measureAll,
};

/**
 * How the endpoints are arranged, and so which event goes where. Each endpoint gets as many deliveries a second in
 * either case. The rates leave a part of the machine idle ("busy" in the figures): at saturation one would measure who
 * gets the processor, and not who waits for whom.
 */
type Variant = {
  readonly name: "fan-out" | "organizations";
  readonly text: string;
  readonly perEndpointPerSecond: number;
  /** Makes an endpoint for each URL; gives the keys to publish with, in turn. */
  arrange(product: Product, urls: readonly string[]): Promise<readonly string[]>;
};

const VARIANTS: readonly Variant[] = [
  {
    name: "fan-out",
    text: "one organization, each event to all endpoints",
    // 1 000 deliveries a second to the healthy ones.
    perEndpointPerSecond: 50,
    async arrange(product, urls) {
      const { key } = await newOrganization(product.url, "All");
      for (const url of urls) await callApi(product.url, "/api/endpoints", key, { url });
      return [key];
    },
  },
  {
    name: "organizations",
    text: "an organization with one webhook for each endpoint, events to each in turn",
    // Each delivery is an event of its own here, and a request of this process: at 1 000 a second it is what is slow.
    perEndpointPerSecond: 20,
    async arrange(product, urls) {
      const keys: string[] = [];
      for (const url of urls) {
        const { key } = await newOrganization(product.url, `Organization ${keys.length}`);
        await callApi(product.url, "/api/webhook/config", key, { webhook_url: url });
        keys.push(key);
      }
      return keys;
    },
  },
];

/** Times of healthy endpoints' first attempts. */
type Times = {
  /** From acceptance: `created_at`, as it stands in the event's id. With the commit. */
  readonly accepted: Spread;
  /** From reading the 202 here. Below zero: the webhook was there before the answer was read. */
  readonly answered: Spread;
  /** From sending the event here. */
  readonly sent: Spread;
};
const FROM: readonly (keyof Times)[] = ["accepted", "answered", "sent"];
type Run = {
  readonly times: Times;
  readonly eventsPerSecond: number;
  readonly deliveries: number;
  /** To healthy endpoints, when the last event was accepted; and those that never came. */
  readonly outstanding: number;
  readonly missing: number;
  /** Shares of all processors' time: by whatever ran, and by what is no part of this benchmark. */
  readonly busy: number;
  readonly others: number;
  /** First attempts at the sick ones meanwhile. */
  readonly sick: Readonly<Record<string, number>>;
};
type Round = { readonly alone: Run; readonly beside: Run };
type Result = {
  readonly name: Variant["name"];
  readonly variant: string;
  readonly rounds: readonly Round[];
  /** How many of the rounds others left alone: the figures are of these, or of all when there is none. */
  readonly undisturbed: number;
  /** Medians over the rounds. */
  readonly alone: Times;
  readonly beside: Times;
  /** Medians of the rounds' ratios. */
  readonly ratio: Times;
};

async function measureAll(options: FairnessOptions): Promise<Findings> {
  await buildTargets();
  const results: Result[] = [];
  for (const variant of VARIANTS) results.push(await compare(variant, options));
  return findings(results, options);
}

async function compare(variant: Variant, options: FairnessOptions): Promise<Result> {
  const { rounds: roundsWanted, triesMax, quietWaitSeconds } = options;
  const rounds: Round[] = [];
  for (let tries = 1; tries <= triesMax && rounds.filter(isUndisturbed).length < roundsWanted; tries++) {
    if (quietWaitSeconds > 0) await quiet(quietWaitSeconds);
    progress(`${variant.name}, alone, round ${tries}`);
    const alone = await measure(variant, [], options);
    progress(`${variant.name}, beside, round ${tries}`);
    rounds.push({ alone, beside: await measure(variant, SICK, options) });
  }
  return summary(variant, rounds);
}

function isUndisturbed({ alone, beside }: Round): boolean {
  return Math.max(alone.others, beside.others) <= OTHERS_MAX;
}

/** Until nothing else ran for two seconds, or for too long. */
async function quiet(waitSecondsMax: number): Promise<void> {
  for (const untilMs = machineMs() + waitSecondsMax * 1_000; machineMs() < untilMs; ) {
    const before = processorTime([]);
    await Bun.sleep(2_000);
    if (shares(before, processorTime([])).busy <= OTHERS_MAX) return;
  }
}

/** On a server of its own, with these sick endpoints beside the healthy ones. */
async function measure(variant: Variant, manners: readonly Manner[], options: FairnessOptions): Promise<Run> {
  const healthy = await startReceivers(Array.from({ length: options.healthy }, () => "healthy" as const));
  const sick = await startReceivers(manners);
  const product = await startProduct({ receiverUrl: healthy.urls[0] ?? "" });
  try {
    const urls = [...healthy.urls, ...sick.urls];
    const keys = await variant.arrange(product, urls);
    // Events go round the keys, so each key's endpoints get the same whatever their number.
    const perSecond = variant.perEndpointPerSecond * keys.length;
    await drive(product.url, keys, perSecond, options.warmSeconds);
    await allArrived(healthy, 0);
    await Promise.all([healthy.take(), sick.take()]);
    return await measured(product, keys, { perSecond, seconds: options.seconds }, healthy, sick);
  } finally {
    // First the sick ones: the server's stop would wait for their answers.
    await sick.stop();
    await product.stop();
    await healthy.stop();
  }
}

async function measured(
  product: Product,
  keys: readonly string[],
  { perSecond, seconds }: { readonly perSecond: number; readonly seconds: number },
  healthy: Receivers,
  sick: Receivers,
): Promise<Run> {
  const pids = [process.pid, product.pid, healthy.pid, sick.pid];
  const before = processorTime(pids);
  const events = await drive(product.url, keys, perSecond, seconds);
  const { busy, others } = shares(before, processorTime(pids));
  // Organizations' events in turn: of the keys, those of the healthy endpoints come first.
  const awaited =
    keys.length === 1
      ? events.length * healthy.urls.length
      : events.filter((one) => one.key < healthy.urls.length).length;
  const outstanding = awaited - (await healthy.count());
  await allArrived(healthy, awaited);
  const arrivals = await healthy.take();
  const atSick = await sick.take();
  return {
    times: timesOf(events, arrivals),
    eventsPerSecond: events.length / seconds,
    deliveries: arrivals.length,
    outstanding,
    missing: awaited - arrivals.length,
    busy,
    others,
    sick: Object.fromEntries(sick.urls.map((_, i) => [SICK[i], countOf(atSick, i)])),
  };
}

function timesOf(events: readonly Sent[], arrivals: readonly Arrival[]): Times {
  const byId = new Map(events.map((one) => [one.id, one]));
  const since = (pick: (event: Sent) => number) =>
    signedSpread(
      arrivals.flatMap(([, id, atMs]) => {
        const event = byId.get(id);
        return event === undefined ? [] : [atMs - pick(event)];
      }),
    );
  return {
    // The first 48 bits of a UUIDv7.
    accepted: since(({ id }) => Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16) + CUT_MS),
    answered: since((event) => event.answeredMs),
    sent: since((event) => event.sentMs),
  };
}

const countOf = (arrivals: readonly Arrival[], receiver: number) =>
  arrivals.filter((one) => one[0] === receiver).length;

/** Until `awaited` are there (0: until no more come), or too long. */
async function allArrived(receivers: Receivers, awaited: number): Promise<void> {
  const untilMs = machineMs() + LATE_MAX_MS;
  for (let before = -1; machineMs() < untilMs; ) {
    const count = await receivers.count();
    if (awaited === 0 ? count === before : count >= awaited) return;
    before = count;
    await Bun.sleep(200);
  }
}

type Sent = {
  readonly id: string;
  /** The index of the key that it was sent with. */
  readonly key: number;
  readonly sentMs: number;
  readonly answeredMs: number;
};

/** Posts events at this rate, each at its own moment: a late one does not move those after it. */
async function drive(
  url: string,
  keys: readonly string[],
  perSecond: number,
  seconds: number,
): Promise<readonly Sent[]> {
  const startMs = machineMs();
  const events: Promise<Sent>[] = [];
  for (let n = 0; n < perSecond * seconds; n++) {
    const waitMs = startMs + (n * 1_000) / perSecond - machineMs();
    if (waitMs > 0.5) await Bun.sleep(waitMs);
    events.push(post(url, keys, n % keys.length));
  }
  return await Promise.all(events);
}

async function post(url: string, keys: readonly string[], key: number): Promise<Sent> {
  const sentMs = machineMs();
  const event = { type: "order.created", payload: PAYLOAD };
  const { id } = await callApi(url, "/api/events", keys[key] ?? null, event);
  return { id: String(id), key, sentMs, answeredMs: machineMs() };
}

/** A webhook may be there before its 202 was read: then the time is below zero, which `Latencies` does not hold. */
function signedSpread(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number) =>
    sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
  return { p50Ms: at(0.5), p95Ms: at(0.95), p99Ms: at(0.99), maxMs: at(1), samples: sorted.length };
}

function summary(variant: Variant, rounds: readonly Round[]): Result {
  const undisturbed = rounds.filter(isUndisturbed);
  const counted = undisturbed.length > 0 ? undisturbed : rounds;
  const middle = (spread: (round: Round, from: keyof Times) => Spread): Times => {
    const of = (from: keyof Times) => medianSpread(counted.map((round) => spread(round, from)));
    return { accepted: of("accepted"), answered: of("answered"), sent: of("sent") };
  };
  return {
    name: variant.name,
    variant: variant.text,
    rounds,
    undisturbed: undisturbed.length,
    alone: middle((round, from) => round.alone.times[from]),
    beside: middle((round, from) => round.beside.times[from]),
    ratio: middle(({ alone, beside }, from) => ratio(beside.times[from], alone.times[from])),
  };
}

function ratio(a: Spread, b: Spread): Spread {
  return {
    p50Ms: a.p50Ms / b.p50Ms,
    p95Ms: a.p95Ms / b.p95Ms,
    p99Ms: a.p99Ms / b.p99Ms,
    maxMs: a.maxMs / b.maxMs,
    samples: Math.min(a.samples, b.samples),
  };
}

function findings(results: readonly Result[], { healthy, seconds }: FairnessOptions): Findings {
  const runs = results.flatMap(({ name, rounds }) =>
    rounds.flatMap(({ alone, beside }, i) => [
      { where: `${name}, round ${i + 1}, alone`, run: alone },
      { where: `${name}, round ${i + 1}, beside`, run: beside },
    ]),
  );
  return {
    method: `${healthy} healthy endpoints, and beside them one each that is ${SICK.join(", ")}; rounds of ${seconds} s each in turn, each on a fresh server; medians of the rounds that others left alone, and of their ratios.`,
    tables: [
      {
        columns: ["variant", "from", "endpoints", "p50 ms", "p95 ms", "p99 ms"],
        rows: results.flatMap((one) => FROM.flatMap((from) => rowsOf(one, from))),
      },
      {
        columns: [
          "run",
          "events/s",
          "deliveries",
          "outstanding",
          "missing",
          "busy %",
          "others %",
          "at the sick",
        ],
        rows: runs.map(({ where, run }) => runRow(where, run)),
      },
    ],
    figures: results.map((one) => ({
      name: `${one.name}: median from acceptance, beside of alone`,
      ...{ value: one.ratio.accepted.p50Ms, unit: "ratio", atMost: MARK },
    })),
    problems: runs
      .filter(({ run }) => run.missing > 0 || run.deliveries === 0)
      .map(({ where, run }) => `${where}: ${run.missing} deliveries never came, ${run.deliveries} came`),
    data: results,
  };
}

function runRow(where: string, run: Run) {
  const sick = Object.entries(run.sick).map(([manner, count]) => `${manner} ${count}`);
  const { eventsPerSecond, deliveries, outstanding, missing, busy, others } = run;
  const percent = (share: number) => Math.round(share * 100);
  return [
    where,
    eventsPerSecond,
    deliveries,
    outstanding,
    missing,
    percent(busy),
    percent(others),
    sick.join(", "),
  ];
}

function rowsOf(result: Result, from: keyof Times) {
  return (["alone", "beside", "ratio"] as const).map((which) => {
    const { p50Ms, p95Ms, p99Ms } = result[which][from];
    return [result.name, from, which, p50Ms, p95Ms, p99Ms];
  });
}
