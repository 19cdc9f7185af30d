// Does retention hold the others up? Two servers over copies of one database, whose events are all older than a day: for
// one of them that is too old, and it removes them from its start on. Both get the same ingest, at a steady rate.

import { rmSync } from "node:fs";
import { metric } from "./rig/api.ts";
import type { Benchmark, Findings } from "./rig/benchmark.ts";
import { filledDir } from "./rig/filled.ts";
import { Latencies } from "./rig/numbers.ts";
import { eventTexts } from "./rig/requests.ts";
import { inTurn, ratioOf } from "./rig/rounds.ts";
import { problemsOf, type Sent, send } from "./rig/sender.ts";
import { buildTargets, startProduct } from "./rig/target.ts";

const usual = {
  ...{ stored: 1_000_000, organizations: 50, perSecond: 2_000, clients: 64 },
  ...{ rounds: 3, warmSeconds: 2, seconds: 8 },
};
type RetentionOptions = Readonly<typeof usual>;
const brief: RetentionOptions = {
  ...{ stored: 4_000, organizations: 3, perSecond: 200, clients: 8, rounds: 1, warmSeconds: 1, seconds: 1 },
};

export const retention: Benchmark<RetentionOptions> = {
  name: "retention",
  question: "What does the removal of old events cost the p99 of ingest?",
  usual,
  brief,
  measure,
};

/** `freed`: bytes of the file that hold nothing any more when the run ends. */
type Run = { readonly ingest: Sent; readonly freed: number };

async function measure(options: RetentionOptions): Promise<Findings> {
  await buildTargets();
  const run = (retentionDays: number) => () => underLoad(options, retentionDays);
  const [kept = [], removing = []] = await inTurn("retention", options.rounds, [run(30), run(1)]);
  return findings(kept, removing, options);
}

/** A fresh copy and a fresh server: what was removed in one round is not there to be removed in the next. */
async function underLoad(options: RetentionOptions, retentionDays: number): Promise<Run> {
  const { stored, organizations, perSecond, clients, seconds, warmSeconds } = options;
  const data = { ...(await filledDir({ events: stored, liveDedupIds: 0, organizations })), keep: true };
  const product = await startProduct({ data, env: { RETENTION_DAYS: String(retentionDays) } });
  const { url, keys } = product;
  try {
    const requests = eventTexts(keys);
    const sending = { url, connections: clients, perSecond, requests, successes: [202] };
    await send({ ...sending, seconds: warmSeconds });
    const freedBefore = await metric(url, "database_free_bytes");
    const ingest = await send({ ...sending, seconds });
    return { ingest, freed: (await metric(url, "database_free_bytes")) - freedBefore };
  } finally {
    await product.stop();
    rmSync(data.dir, { recursive: true, force: true });
  }
}

function findings(
  kept: readonly Run[],
  removing: readonly Run[],
  { stored, perSecond, clients, rounds, seconds }: RetentionOptions,
): Findings {
  const p99 = ratioOf(removing, kept, ({ ingest }) => ingest.latencies.atMs(0.99));
  const row = (name: string, runs: readonly Run[]) => {
    const all = Latencies.together(runs.map(({ ingest }) => ingest.latencies));
    const { p50Ms, p95Ms, p99Ms, maxMs } = all.spread();
    const freed = runs.reduce((sum, one) => sum + one.freed, 0) / runs.length;
    return [name, p50Ms, p95Ms, p99Ms, maxMs, Math.round(freed / 1024 / 1024)];
  };
  return {
    method: `${stored} events stored, all older than a day; ingest of ${perSecond} events a second over ${clients} connections; a fresh server each time, in turn, ${rounds} rounds of ${seconds} s.`,
    tables: [
      {
        columns: ["retention", "p50 ms", "p95 ms", "p99 ms", "max ms", "freed MiB"],
        rows: [row("30 days: nothing to remove", kept), row("1 day: all of it", removing)],
      },
    ],
    figures: [{ name: "p99 of ingest beside retention, of without", value: p99.median, unit: "ratio" }],
    problems: [
      ...problemsOf(
        "ingest",
        kept.map(({ ingest }) => ingest),
      ),
      ...problemsOf(
        "ingest beside retention",
        removing.map(({ ingest }) => ingest),
      ),
    ],
    data: { kept, removing },
  };
}
