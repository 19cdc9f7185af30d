// What does a slow disk cost? Each fsync takes 20 ms longer, by strace: /health must not wait for it, and ingest must share
// one among many events. The same server without the delay beside it.

import { type Benchmark, errorsAt, type Findings } from "./rig/benchmark.ts";
import { type Load, load, ofRounds, requireWrk } from "./rig/load.ts";
import { Latencies } from "./rig/numbers.ts";
import { getText } from "./rig/requests.ts";
import { inTurn } from "./rig/rounds.ts";
import { problemsOf, type Sent, send } from "./rig/sender.ts";
import { withSlowFsync } from "./rig/strace.ts";
import { buildTargets, type Product, startProduct } from "./rig/target.ts";

const usual = {
  delayMs: 20,
  clients: 256,
  healthPerSecond: 50,
  rounds: 3,
  seconds: 10,
  warmSeconds: 3,
  organizations: 50,
};
type SlowdiskOptions = Readonly<typeof usual>;
const brief: SlowdiskOptions = {
  delayMs: 20,
  clients: 16,
  healthPerSecond: 50,
  rounds: 1,
  seconds: 1,
  warmSeconds: 1,
  organizations: 3,
};

export const slowdisk: Benchmark<SlowdiskOptions> = {
  name: "slowdisk",
  question: "With an fsync that takes 20 ms more, how long does /health take, and how many events go in?",
  usual,
  brief,
  measure,
};

type Run = { readonly ingest: Load; readonly health: Sent };

async function measure(options: SlowdiskOptions): Promise<Findings> {
  requireWrk();
  await buildTargets();
  const { clients, rounds, warmSeconds, organizations, delayMs } = options;
  const quick = await startProduct({ organizations });
  const slow = await startProduct({ organizations, through: withSlowFsync(delayMs) });
  try {
    for (const target of [quick, slow]) await load(target, { clients, seconds: warmSeconds });
    const runs = [quick, slow].map((target) => () => both(target, options));
    const [ofQuick = [], ofSlow = []] = await inTurn("slow disk", rounds, runs);
    return findings(ofQuick, ofSlow, options);
  } finally {
    await quick.stop();
    await slow.stop();
  }
}

async function both(product: Product, options: SlowdiskOptions): Promise<Run> {
  const { clients, seconds, healthPerSecond } = options;
  const requests = [getText("/health")];
  const asked = { url: product.url, connections: 4, seconds, perSecond: healthPerSecond, requests };
  const [ingest, health] = await Promise.all([
    load(product, { clients, seconds }),
    send({ ...asked, successes: [200] }),
  ]);
  return { ingest, health };
}

function findings(ofQuick: readonly Run[], ofSlow: readonly Run[], options: SlowdiskOptions): Findings {
  const { clients, healthPerSecond, rounds, seconds, delayMs } = options;
  const told = (name: string, runs: readonly Run[]) => ({
    name,
    runs,
    ingest: ofRounds(runs.map((one) => one.ingest)),
    health: Latencies.together(runs.map((one) => one.health.latencies)).spread(),
  });
  const slow = told(`+${delayMs} ms`, ofSlow);
  const disks = [told("as it is", ofQuick), slow];
  return {
    method: `${clients} clients of ingest and ${healthPerSecond} GET /health a second beside each other; ${rounds} rounds of ${seconds} s, the disk as it is and slowed in turn.`,
    tables: [
      {
        columns: ["fsync", "events/s", "ingest p99 ms", "/health p50 ms", "p95 ms", "p99 ms", "max ms"],
        rows: disks.map(({ name, ingest, health }) => [
          name,
          Math.round(ingest.requestsPerSecond),
          ingest.spread.p99Ms,
          health.p50Ms,
          health.p95Ms,
          health.p99Ms,
          health.maxMs,
        ]),
      },
    ],
    figures: [
      { name: `/health p99, fsync +${delayMs} ms`, value: slow.health.p99Ms, unit: "ms", atMost: 5 },
      {
        name: `events/s, fsync +${delayMs} ms`,
        ...{ value: slow.ingest.requestsPerSecond, unit: "events/s", atLeast: 5_000 },
      },
    ],
    problems: disks.flatMap(({ name, runs, ingest }) => [
      ...errorsAt(`ingest, ${name}`, ingest.errors),
      ...problemsOf(
        `/health, ${name}`,
        runs.map((one) => one.health),
      ),
    ]),
    data: { ofQuick, ofSlow },
  };
}
