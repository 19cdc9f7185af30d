// What one client waits for that sends its next event when it has the last answer: against bare Elysia and the disk's
// own time, since a durable answer cannot come before its fdatasync. All in the same run, in turn; and how long the
// machine takes to wake a thread, three times more for a durable answer than for bare.

import { type Benchmark, errorsAt, type Findings } from "./rig/benchmark.ts";
import { LOAD_COLUMNS, type Load, load, loadCells, ofRounds, requireWrk, warmUp } from "./rig/load.ts";
import { fdatasyncs } from "./rig/machine.ts";
import { Latencies, median } from "./rig/numbers.ts";
import { inTurn } from "./rig/rounds.ts";
import { buildTargets, startBare, startProduct } from "./rig/target.ts";
import { wakeUps } from "./rig/wake_up.ts";

/** The mark: p95 at most this much of bare's p95 and an fdatasync's p95 together. */
const OF_THE_FLOOR_MAX = 1.5;

const usual = { rounds: 7, seconds: 5, warmSeconds: 3, organizations: 50, fdatasyncs: 1_000, wakeUps: 1_000 };
type ClientOptions = Readonly<typeof usual>;
const brief: ClientOptions = {
  ...{ rounds: 1, seconds: 1, warmSeconds: 1, organizations: 3, fdatasyncs: 50, wakeUps: 50 },
};

export const client: Benchmark<ClientOptions> = {
  name: "client",
  question: "How long does one client wait, against bare Elysia and one fdatasync?",
  usual,
  brief,
  measure,
};

async function measure(options: ClientOptions): Promise<Findings> {
  requireWrk();
  await buildTargets();
  const { rounds, seconds, organizations } = options;
  const bare = await startBare();
  const product = await startProduct({ organizations });
  try {
    await warmUp([bare, product], options.warmSeconds);
    const disk: Latencies[] = [];
    const wake: Latencies[] = [];
    const [ofBare = [], ofProduct = []] = await inTurn("one client", rounds, [
      async () => {
        disk.push(fdatasyncs(options.fdatasyncs));
        wake.push(wakeUps(options.wakeUps));
        return load(bare, { clients: 1, seconds });
      },
      () => load(product, { clients: 1, seconds }),
    ]);
    return findings(ofBare, ofProduct, { disk, wake }, options);
  } finally {
    await bare.stop();
    await product.stop();
  }
}

function findings(
  ofBare: readonly Load[],
  ofProduct: readonly Load[],
  { disk, wake }: { readonly disk: readonly Latencies[]; readonly wake: readonly Latencies[] },
  { rounds, seconds }: ClientOptions,
): Findings {
  const p95Ms = (one: Latencies | undefined) => one?.atMs(0.95) ?? Number.NaN;
  const ofFloor = ofProduct.map(
    (one, i) => p95Ms(one.latencies) / (p95Ms(ofBare[i]?.latencies) + p95Ms(disk[i])),
  );
  const [bare, product] = [ofRounds(ofBare), ofRounds(ofProduct)];
  const row = (name: string, all: readonly Latencies[]) => {
    const spread = Latencies.together(all).spread();
    return [name, "", spread.p50Ms, spread.p95Ms, spread.p99Ms, spread.maxMs, 0];
  };
  return {
    method: `One connection; ${rounds} rounds of ${seconds} s in turn; medians. An fdatasync: of 8 KiB, on the same disk.`,
    tables: [
      {
        columns: ["what", ...LOAD_COLUMNS],
        rows: [
          ["bare", ...loadCells(bare)],
          ["zapier-triggers", ...loadCells(product)],
          row("fdatasync", disk),
          row("a thread woken", wake),
        ],
      },
    ],
    figures: [
      {
        name: "p95 of one client / (bare p95 + fdatasync p95)",
        ...{ value: median(ofFloor), unit: "ratio", atMost: OF_THE_FLOOR_MAX },
      },
    ],
    problems: [...errorsAt("bare", bare.errors), ...errorsAt("zapier-triggers", product.errors)],
    data: { ofBare, ofProduct, disk, wake, ofFloor },
  };
}
