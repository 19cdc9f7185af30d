// What happens when three times of what can be taken is offered? The rate is measured first, and again afterwards. What is
// accepted must be in the database, what is refused must be told so, and memory must not grow with what is refused.

import { Database } from "bun:sqlite";
import { rmSync } from "node:fs";
import path from "node:path";
import { type Benchmark, type Cell, errorsAt, type Findings } from "./rig/benchmark.ts";
import { residentMib } from "./rig/processes.ts";
import { progress } from "./rig/progress.ts";
import { eventTexts, PAYLOAD, postText } from "./rig/requests.ts";
import { problemsOf, type Sent, send, statusesText, UNIQUE } from "./rig/sender.ts";
import { buildTargets, newDataDir, type Product, startProduct } from "./rig/target.ts";

const usual = {
  factor: 3,
  seconds: 60,
  rateSeconds: 10,
  clients: 256,
  /** So many that their events fit in the queue (MAX_QUEUED_EVENTS), which is what makes their rate one that can be kept. */
  batchClients: 64,
  connections: 2_000,
  batchEvents: 100,
  organizations: 50,
};
type OverloadOptions = Readonly<typeof usual>;
const brief: OverloadOptions = {
  factor: 3,
  seconds: 2,
  rateSeconds: 1,
  clients: 16,
  batchClients: 16,
  connections: 300,
  batchEvents: 100,
  organizations: 3,
};

export const overload: Benchmark<OverloadOptions> = {
  name: "overload",
  question:
    "At three times of what it can take: what is refused, how long does the rest wait, is it all there?",
  usual,
  brief,
  measure,
};

/** What is offered: single events, or batches. */
type Kind = {
  readonly name: string;
  readonly requests: readonly string[];
  readonly events: number;
  readonly clients: number;
};

type Run = {
  readonly kind: Kind;
  readonly before: Sent;
  readonly beyond: Sent;
  readonly after: Sent;
  readonly residentMib: { readonly before: number; readonly most: number; readonly after: number };
};

async function measure(options: OverloadOptions): Promise<Findings> {
  await buildTargets();
  const data = { dir: newDataDir(), keys: [], keep: true };
  const product = await startProduct({ data, organizations: options.organizations });
  const runs: Run[] = [];
  try {
    for (const kind of kinds(product, options)) runs.push(await overrun(product, kind, options));
  } finally {
    await product.stop();
  }
  const stored = storedIn(data.dir);
  rmSync(data.dir, { recursive: true });
  return findings(runs, stored, options);
}

function kinds({ keys }: Product, { batchEvents, clients, batchClients }: OverloadOptions): readonly Kind[] {
  const batch = Array.from({ length: batchEvents }, (_, n) => ({
    type: "order.created",
    dedup_id: `${UNIQUE}-${n}`,
    payload: PAYLOAD,
  }));
  const batches = keys.map((key) => postText("/api/events/batch", key, { events: batch }));
  return [
    { name: "events", requests: eventTexts(keys), events: 1, clients },
    { name: `batches of ${batchEvents}`, requests: batches, events: batchEvents, clients: batchClients },
  ];
}

async function overrun(product: Product, kind: Kind, options: OverloadOptions): Promise<Run> {
  const { connections, seconds, rateSeconds, factor } = options;
  const { url, pid } = product;
  const common = { url, requests: kind.requests, successes: [202] };
  const atItsRate = () => send({ ...common, connections: kind.clients, seconds: rateSeconds });
  progress(`${kind.name}: as fast as they are answered`);
  await send({ ...common, connections: kind.clients, seconds: Math.min(3, rateSeconds) }); // warm
  const before = await atItsRate();
  const beforeMib = residentMib(pid);
  let most = beforeMib;
  const timer = setInterval(() => (most = Math.max(most, residentMib(pid))), 200);
  progress(`${kind.name}: ${factor} times of ${Math.round(before.requestsPerSecond)} a second`);
  const perSecond = Math.ceil(before.requestsPerSecond * factor);
  const beyond = await send({ ...common, connections, seconds, perSecond, givesUp: true });
  clearInterval(timer);
  progress(`${kind.name}: as fast as they are answered`);
  const after = await atItsRate();
  return { kind, before, beyond, after, residentMib: { before: beforeMib, most, after: residentMib(pid) } };
}

/** Counted in the file itself, once the server has closed it. */
function storedIn(dir: string): number {
  const db = new Database(path.join(dir, "triggers.db"), { readonly: true });
  const row = db.query<{ events: number }, []>("SELECT count(*) AS events FROM events").get();
  db.close();
  return row?.events ?? Number.NaN;
}

const REFUSALS = ["503", "429"];
const refused = ({ statuses }: Sent) => REFUSALS.reduce((sum, status) => sum + (statuses[status] ?? 0), 0);

function findings(runs: readonly Run[], stored: number, options: OverloadOptions): Findings {
  const { factor, seconds, rateSeconds, clients, batchClients, connections } = options;
  const all = runs.flatMap(({ kind, before, beyond, after }) =>
    [before, beyond, after].map((sent) => ({ kind, sent })),
  );
  const row = (name: string, { events }: Kind, sent: Sent): Cell[] => {
    const { p50Ms, p99Ms, maxMs } = sent.latencies.spread();
    const offered = sent.requests + sent.errors + sent.givenUp;
    const shares = [refused(sent), sent.givenUp].map((count) => `${((100 * count) / offered).toFixed(1)} %`);
    return [name, sent.requestsPerSecond * events, ...shares, p50Ms, p99Ms, maxMs, statusesText([sent])];
  };
  return {
    method: `${clients} clients (with batches ${batchClients}) that send on when they are answered, ${rateSeconds} s; then ${factor} times that rate for ${seconds} s over ${connections} connections (what finds none free is not sent); then the first again.`,
    tables: [
      {
        columns: [
          "load",
          "accepted events/s",
          "refused",
          "not sent",
          "p50 ms",
          "p99 ms",
          "max ms",
          "answers",
        ],
        rows: runs.flatMap(({ kind, before, beyond, after }) => [
          row(`${kind.name}, at its rate`, kind, before),
          row(`${kind.name}, ${factor} times`, kind, beyond),
          row(`${kind.name}, afterwards`, kind, after),
        ]),
      },
      {
        columns: ["load", "resident MiB before", "at most", "after"],
        rows: runs.map(({ kind, residentMib: mib }) => [kind.name, mib.before, mib.most, mib.after]),
      },
    ],
    figures: runs.flatMap(({ kind, before, beyond, after, residentMib: mib }) => [
      { name: `accepted of its rate, ${kind.name}`, value: ratio(beyond, before), unit: "ratio" },
      { name: `rate afterwards of before, ${kind.name}`, value: ratio(after, before), unit: "ratio" },
      { name: `p99 of the accepted, ${kind.name}`, value: beyond.latencies.atMs(0.99), unit: "ms" },
      { name: `resident at most, ${kind.name}`, value: mib.most, unit: "MiB" },
    ]),
    problems: [
      ...runs.flatMap(({ kind, before, after }) => problemsOf(kind.name, [before, after])),
      ...runs.flatMap(({ kind, beyond }) =>
        errorsAt(`${kind.name}, ${factor} times`, beyond.errors - refused(beyond)),
      ),
      ...lost(all, stored),
    ],
    data: runs,
  };
}

const ratio = (one: Sent, other: Sent) => one.requestsPerSecond / other.requestsPerSecond;

/** There may be more than was answered: an answer that came too late is not counted. Never less. */
function lost(
  all: readonly { readonly kind: Kind; readonly sent: Sent }[],
  stored: number,
): readonly string[] {
  const accepted = all.reduce((sum, { kind, sent }) => sum + sent.requests * kind.events, 0);
  return stored >= accepted ? [] : [`${accepted} events were accepted, ${stored} are there`];
}
