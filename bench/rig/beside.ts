// Does something cost the others anything? Ingest of all organizations at a steady rate, alone and beside that something,
// in turn on one server. A steady rate, not the greatest: at saturation one measures who gets the processor.

import type { Findings } from "./benchmark.ts";
import { type Busy, busyTable, whileBusy } from "./busy.ts";
import { Latencies } from "./numbers.ts";
import { eventTexts } from "./requests.ts";
import { inTurn, ratioOf, ratioText } from "./rounds.ts";
import { problemsOf, type Sent, send, statusesText } from "./sender.ts";
import type { Product } from "./target.ts";

export type BesideOptions = {
  readonly perSecond: number;
  readonly clients: number;
  readonly rounds: number;
  readonly seconds: number;
};

/** What was sent beside: by what it was. */
export type Disturbance = Readonly<Record<string, Sent>>;
type Run = { readonly ingest: Sent; readonly beside: Disturbance; readonly busy: Busy };

/**
 * Measures ingest with and without what `disturb` sends, which takes as many seconds as it is told. `expect` says what is
 * wrong with what was sent beside, if anything: that it did not disturb, for example.
 */
export async function besideOthers(
  what: string,
  product: Product,
  options: BesideOptions,
  disturb: (seconds: number) => Promise<Disturbance>,
): Promise<Findings> {
  const { rounds, seconds } = options;
  const ingest = (forSeconds: number) => sendEvents(product, options, forSeconds);
  await ingest(Math.min(seconds, 3)); // until the JIT has seen everything and each key's hash is cached
  const watched = (run: () => Promise<Omit<Run, "busy">>) => async () => {
    const { result, busy } = await whileBusy(product.pid, run);
    return { ...result, busy };
  };
  const [alone = [], disturbed = []] = await inTurn<Run>(what, rounds, [
    watched(async () => ({ ingest: await ingest(seconds), beside: {} })),
    watched(async () => {
      const [events, beside] = await Promise.all([ingest(seconds), disturb(seconds)]);
      return { ingest: events, beside };
    }),
  ]);
  return findings(what, alone, disturbed, options);
}

function sendEvents(product: Product, { perSecond, clients }: BesideOptions, seconds: number): Promise<Sent> {
  const requests = eventTexts(product.keys);
  const { url } = product;
  return send({ url, connections: clients, seconds, perSecond, requests, successes: [202] });
}

function findings(
  what: string,
  alone: readonly Run[],
  disturbed: readonly Run[],
  { perSecond, clients, rounds, seconds }: BesideOptions,
): Findings {
  const p99 = ratioOf(disturbed, alone, (one) => one.ingest.latencies.atMs(0.99));
  const row = (name: string, runs: readonly Sent[]) => {
    const { p50Ms, p95Ms, p99Ms, maxMs } = Latencies.together(runs.map((one) => one.latencies)).spread();
    const sum = (pick: (one: Sent) => number) => runs.reduce((total, one) => total + pick(one), 0);
    const rate = sum((one) => one.requestsPerSecond) / runs.length;
    return [name, rate, p50Ms, p95Ms, p99Ms, maxMs, sum((one) => one.bytes / one.requests) / runs.length];
  };
  const names = Object.keys(disturbed[0]?.beside ?? {});
  const of = (name: string) => disturbed.flatMap(({ beside }) => beside[name] ?? []);
  const ingestOf = (runs: readonly Run[]) => runs.map((one) => one.ingest);
  return {
    method: `Ingest of ${perSecond} events a second over ${clients} connections, alone and beside ${what}, in turn; ${rounds} rounds of ${seconds} s; percentiles of all requests of the rounds together.`,
    tables: [
      {
        columns: ["what", "a second", "p50 ms", "p95 ms", "p99 ms", "max ms", "bytes an answer"],
        rows: [
          row("ingest alone", ingestOf(alone)),
          row("ingest beside it", ingestOf(disturbed)),
          ...names.map((name) => row(name, of(name))),
        ],
      },
      busyTable("what", [
        ["ingest alone", alone.map((one) => one.busy)],
        ["ingest beside it", disturbed.map((one) => one.busy)],
      ]),
      {
        columns: ["answers", "statuses"],
        rows: names.map((name) => [name, statusesText(of(name))]),
      },
    ],
    figures: [
      {
        name: `p99 of ingest beside ${what}, of alone (${ratioText(p99)})`,
        ...{ value: p99.median, unit: "ratio", atMost: 2 },
      },
    ],
    problems: [
      ...problemsOf("ingest alone", ingestOf(alone)),
      ...problemsOf("ingest beside it", ingestOf(disturbed)),
      ...names.flatMap((name) => problemsOf(name, of(name))),
    ],
    data: { alone, disturbed },
  };
}
