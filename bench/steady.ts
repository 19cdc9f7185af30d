// How calm is ingest over minutes? Percentiles of all requests of a long run, and the longest that anybody waited: pauses
// of the writer (sealing, checkpoints) are rare enough to be missed in a few seconds.

import { type Benchmark, errorsAt, type Findings } from "./rig/benchmark.ts";
import { filledDir } from "./rig/filled.ts";
import { LOAD_COLUMNS, type Load, load, loadCells, requireWrk, warmUp } from "./rig/load.ts";
import { Latencies, median } from "./rig/numbers.ts";
import { inTurn } from "./rig/rounds.ts";
import { buildTargets, startBare, startProduct } from "./rig/target.ts";

const usual = { clients: 64, slices: 10, seconds: 30, warmSeconds: 5, organizations: 50, stored: 1_000_000 };
type SteadyOptions = Readonly<typeof usual>;
const brief: SteadyOptions = {
  clients: 16,
  slices: 2,
  seconds: 1,
  warmSeconds: 1,
  organizations: 3,
  stored: 3_000,
};

export const steady: Benchmark<SteadyOptions> = {
  name: "steady",
  question: "What is the p99 of ingest over five minutes, and the longest pause, against bare Elysia's?",
  usual,
  brief,
  measure,
};

async function measure(options: SteadyOptions): Promise<Findings> {
  requireWrk();
  await buildTargets();
  const { clients, slices, seconds, organizations, stored } = options;
  const bare = await startBare();
  const data = await filledDir({ events: stored, liveDedupIds: stored, organizations });
  const product = await startProduct({ data });
  try {
    await warmUp([bare, product], options.warmSeconds);
    const runs = [bare, product].map((target) => () => load(target, { clients, seconds }));
    const [ofBare = [], ofProduct = []] = await inTurn("slices", slices, runs);
    return findings(ofBare, ofProduct, options);
  } finally {
    await bare.stop();
    await product.stop();
  }
}

function findings(ofBare: readonly Load[], ofProduct: readonly Load[], options: SteadyOptions): Findings {
  const { clients, slices, seconds, stored } = options;
  const all = (loads: readonly Load[]) => ({
    requestsPerSecond: median(loads.map((one) => one.requestsPerSecond)),
    errors: loads.reduce((sum, one) => sum + one.errors, 0),
    // Not the median of the slices' p99: the p99 of all requests.
    spread: Latencies.together(loads.map((one) => one.latencies)).spread(),
  });
  const [bare, product] = [all(ofBare), all(ofProduct)];
  return {
    method: `${clients} clients, ${slices} slices of ${seconds} s for each, in turn; percentiles of all requests together; ${stored} events stored before. The longest pause is the longest that a client waited for an answer.`,
    tables: [
      {
        columns: ["server", ...LOAD_COLUMNS],
        rows: [
          ["bare", ...loadCells(bare)],
          ["zapier-triggers", ...loadCells(product)],
        ],
      },
    ],
    figures: [
      {
        name: "p99 of bare's p99",
        ...{ value: product.spread.p99Ms / bare.spread.p99Ms, unit: "ratio", atMost: 3 },
      },
      { name: "longest pause", value: product.spread.maxMs, unit: "ms", atMost: 50 },
      { name: "longest pause of bare", value: bare.spread.maxMs, unit: "ms" },
    ],
    problems: [...errorsAt("bare", bare.errors), ...errorsAt("zapier-triggers", product.errors)],
    data: { ofBare, ofProduct },
  };
}
