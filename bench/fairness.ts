// Does an endpoint that hangs, fails or is slow cost the others anything? The time from an event's acceptance to its
// first attempt at 20 healthy endpoints, alone and beside three sick ones, in turn, each on a fresh server.

import { mkdirSync, readFileSync } from "node:fs";
import { cpus } from "node:os";
import path from "node:path";
import { median } from "./load.ts";
import { machine } from "./machine.ts";
import { type Arrival, type Manner, machineMs, type Receivers, startReceivers } from "./receiver.ts";
import { buildTargets, callApi, startProduct, type Target } from "./target.ts";

const HEALTHY = 20;
const SICK: readonly Manner[] = ["hanging", "failing", "slow"];
/** Until the JIT has seen everything, the keys' hashes are cached, and the sick ones' first attempts hang. */
const WARM_SECONDS = 5;
/** Longer than WEBHOOK_TIMEOUT (15 s): attempts run into it within the measurement. */
const SECONDS = 20;
/** That count. */
const ROUNDS = 3;
/** For what is still on its way when the last event has been accepted. */
const LATE_MAX_MS = 10_000;
const MARK = 2;
/** On a shared machine a round waits until others leave it alone, and does not count when they took more than this. */
const OTHERS_MAX = 0.1;
const QUIET_WAIT_MAX_MS = 60_000;
const TRIES_MAX = 6;
/** What cutting `created_at` to milliseconds adds to the time since then, on the average. */
const CUT_MS = 0.5;

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
  arrange(product: Target, urls: readonly string[]): Promise<readonly string[]>;
};

const VARIANTS: readonly Variant[] = [
  {
    name: "fan-out",
    text: "one organization, each event to all endpoints",
    // 1 000 deliveries a second to the healthy ones.
    perEndpointPerSecond: 50,
    async arrange(product, urls) {
      const key = await product.newKey("All");
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
        const key = await product.newKey(`Organization ${keys.length}`);
        await callApi(product.url, "/api/webhook/config", key, { webhook_url: url });
        keys.push(key);
      }
      return keys;
    },
  },
];

type Spread = { readonly p50Ms: number; readonly p95Ms: number; readonly p99Ms: number };
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

/** Measures and prints; the exit code is 1 when the mark is missed or an event never came. */
export async function benchFairness(): Promise<void> {
  await buildTargets();
  const results: Result[] = [];
  for (const variant of VARIANTS) results.push(await compare(variant));
  report(results);
}

async function compare(variant: Variant): Promise<Result> {
  const rounds: Round[] = [];
  for (let tries = 1; tries <= TRIES_MAX && rounds.filter(isUndisturbed).length < ROUNDS; tries++) {
    await quiet();
    const alone = await measure(variant, []);
    console.log(`${variant.name}, alone, round ${tries}: ${told(alone)}`);
    const beside = await measure(variant, SICK);
    console.log(`${variant.name}, beside, round ${tries}: ${told(beside)}`);
    rounds.push({ alone, beside });
  }
  return summary(variant, rounds);
}

function isUndisturbed({ alone, beside }: Round): boolean {
  return Math.max(alone.others, beside.others) <= OTHERS_MAX;
}

/** Until nothing else ran for two seconds, or for too long. */
async function quiet(): Promise<void> {
  for (const untilMs = machineMs() + QUIET_WAIT_MAX_MS; machineMs() < untilMs; ) {
    const before = processorTime([]);
    await Bun.sleep(2_000);
    if (shares(before, processorTime([])).busy <= OTHERS_MAX) return;
  }
}

/** On a server of its own, with these sick endpoints beside the healthy ones. */
async function measure(variant: Variant, manners: readonly Manner[]): Promise<Run> {
  const healthy = await startReceivers(Array.from({ length: HEALTHY }, () => "healthy" as const));
  const sick = await startReceivers(manners);
  const product = await startProduct({
    organizations: 0,
    durability: "full",
    receiverUrl: healthy.urls[0] ?? "",
  });
  try {
    const urls = [...healthy.urls, ...sick.urls];
    const keys = await variant.arrange(product, urls);
    // Events go round the keys, so each key's endpoints get the same whatever their number.
    const perSecond = variant.perEndpointPerSecond * keys.length;
    await drive(product.url, keys, perSecond, WARM_SECONDS);
    await allArrived(healthy, 0);
    await Promise.all([healthy.take(), sick.take()]);
    return await measured(product, keys, perSecond, healthy, sick);
  } finally {
    // First the sick ones: the server's stop would wait for their answers.
    await sick.stop();
    await product.stop();
    await healthy.stop();
  }
}

async function measured(
  product: Target,
  keys: readonly string[],
  perSecond: number,
  healthy: Receivers,
  sick: Receivers,
): Promise<Run> {
  const pids = [process.pid, product.pid, healthy.pid, sick.pid];
  const before = processorTime(pids);
  const events = await drive(product.url, keys, perSecond, SECONDS);
  const { busy, others } = shares(before, processorTime(pids));
  // Organizations' events in turn: of the keys, those of the healthy endpoints come first.
  const awaited =
    keys.length === 1 ? events.length * HEALTHY : events.filter((one) => one.key < HEALTHY).length;
  const outstanding = awaited - (await healthy.count());
  await allArrived(healthy, awaited);
  const arrivals = await healthy.take();
  const atSick = await sick.take();
  return {
    times: timesOf(events, arrivals),
    eventsPerSecond: events.length / SECONDS,
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
    spread(
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

type ProcessorTime = { readonly idleMs: number; readonly allMs: number; readonly ownMs: number };

/** What all processors did so far, and these processes. */
function processorTime(pids: readonly number[]): ProcessorTime {
  const times = cpus().map((cpu) => cpu.times);
  const sum = (of: (one: (typeof times)[number]) => number) =>
    times.reduce((total, one) => total + of(one), 0);
  return {
    idleMs: sum((one) => one.idle),
    allMs: sum((one) => one.idle + one.user + one.nice + one.sys + one.irq),
    ownMs: pids.reduce((total, pid) => total + processMs(pid), 0),
  };
}

/** User and system time of a process: fields 14 and 15 of its stat, in hundredths of a second. */
function processMs(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

function shares(before: ProcessorTime, after: ProcessorTime): { busy: number; others: number } {
  const allMs = after.allMs - before.allMs;
  const busy = 1 - (after.idleMs - before.idleMs) / allMs;
  return { busy, others: Math.max(0, busy - (after.ownMs - before.ownMs) / allMs) };
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

const PAYLOAD = { order: 4711, customer: "c_83k2", total: "129.90", note: "x".repeat(140) };

async function post(url: string, keys: readonly string[], key: number): Promise<Sent> {
  const sentMs = machineMs();
  const event = { type: "order.created", payload: PAYLOAD };
  const { id } = await callApi(url, "/api/events", keys[key] ?? null, event);
  return { id: String(id), key, sentMs, answeredMs: machineMs() };
}

function spread(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number) =>
    sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
  return { p50Ms: at(0.5), p95Ms: at(0.95), p99Ms: at(0.99) };
}

function summary(variant: Variant, rounds: readonly Round[]): Result {
  const undisturbed = rounds.filter(isUndisturbed);
  const counted = undisturbed.length > 0 ? undisturbed : rounds;
  const middle = (spread: (round: Round, from: keyof Times) => Spread): Times => {
    const of = (from: keyof Times): Spread => {
      const spreads = counted.map((round) => spread(round, from));
      const each = (pick: (one: Spread) => number) => median(spreads.map(pick));
      return {
        p50Ms: each((one) => one.p50Ms),
        p95Ms: each((one) => one.p95Ms),
        p99Ms: each((one) => one.p99Ms),
      };
    };
    return { accepted: of("accepted"), answered: of("answered"), sent: of("sent") };
  };
  return {
    variant: variant.text,
    rounds,
    undisturbed: undisturbed.length,
    alone: middle((round, from) => round.alone.times[from]),
    beside: middle((round, from) => round.beside.times[from]),
    ratio: middle(({ alone, beside }, from) => ratio(beside.times[from], alone.times[from])),
  };
}

function ratio(a: Spread, b: Spread): Spread {
  return { p50Ms: a.p50Ms / b.p50Ms, p95Ms: a.p95Ms / b.p95Ms, p99Ms: a.p99Ms / b.p99Ms };
}

function told(run: Run): string {
  const sick = Object.entries(run.sick).map(([manner, count]) => `${manner} ${count}`);
  return [
    ...FROM.map((from) => `${from} ${numbers(run.times[from])}`),
    `${run.eventsPerSecond} events/s, ${run.deliveries} deliveries, outstanding ${run.outstanding}, missing ${run.missing}`,
    `busy ${percent(run.busy)}, others ${percent(run.others)}`,
    ...(sick.length === 0 ? [] : [`first attempts at the sick: ${sick.join(", ")}`]),
  ].join("; ");
}

const numbers = ({ p50Ms, p95Ms, p99Ms }: Spread) =>
  [p50Ms, p95Ms, p99Ms].map((value) => value.toFixed(2)).join(" ");

const percent = (share: number) => `${Math.round(share * 100)} %`;

function report(results: readonly Result[]): void {
  const text = machine();
  const sick = SICK.join(", ");
  const lines = [
    `Healthy endpoints alone and beside sick ones. ${text}`,
    `Built executable; ${HEALTHY} healthy endpoints, and beside them one each that is ${sick}; rounds of ${SECONDS} s each in turn, each on a fresh server; medians of the rounds, and of their ratios. Mark: ${MARK}x.`,
    ...results.map(
      (one) => `${one.variant}: ${one.undisturbed} of ${one.rounds.length} rounds undisturbed by others`,
    ),
    "",
    "| variant | from | endpoints | p50 ms | p95 ms | p99 ms |",
    "|---|---|---|---|---|---|",
    ...results.flatMap((one) => FROM.flatMap((from) => rows(one, from))),
  ];
  console.log(lines.join("\n"));
  const directory = path.join(import.meta.dir, "results");
  mkdirSync(directory, { recursive: true });
  void Bun.write(path.join(directory, "fairness.json"), JSON.stringify({ machine: text, results }, null, 2));
  const isMissed = ({ ratio, rounds }: Result) =>
    !(ratio.accepted.p50Ms <= MARK) || rounds.some((one) => one.alone.missing + one.beside.missing > 0);
  if (results.some(isMissed)) process.exitCode = 1;
}

function rows(result: Result, from: keyof Times): string[] {
  return (["alone", "beside", "ratio"] as const).map((which) => {
    const cells = numbers(result[which][from]).split(" ").join(" | ");
    return `| ${result.variant} | ${from} | ${which} | ${cells} |`;
  });
}
