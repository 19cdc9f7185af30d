// How calm is ingest over minutes? Percentiles of all requests of a long run, and the longest that anybody waited: pauses
// of the writer (sealing, checkpoints) are rare enough to be missed in a few seconds.

import { type Benchmark, type Cell, errorsAt, type Findings } from "./rig/benchmark.ts";
import { filledDir } from "./rig/filled.ts";
import { LOAD_COLUMNS, type Load, load, loadCells, requireWrk, warmUp } from "./rig/load.ts";
import { Latencies, median } from "./rig/numbers.ts";
import { inTurn, ratioOf } from "./rig/rounds.ts";
import { buildTargets, startBare, startProduct } from "./rig/target.ts";
import { type Testimony, Witness } from "./rig/witness.ts";

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

/** A slice, and what the machine itself did during it. */
type Slice = { readonly load: Load; readonly machine: Testimony };

async function measure(options: SteadyOptions): Promise<Findings> {
  requireWrk();
  await buildTargets();
  const { clients, slices, seconds, organizations, stored } = options;
  const bare = await startBare();
  const data = await filledDir({ events: stored, liveDedupIds: stored, organizations });
  const product = await startProduct({ data });
  const witness = new Witness();
  try {
    await warmUp([bare, product], options.warmSeconds);
    const runs = [bare, product].map((target) => async () => {
      witness.tell();
      return { load: await load(target, { clients, seconds }), machine: witness.tell() };
    });
    const [ofBare = [], ofProduct = []] = await inTurn<Slice>("slices", slices, runs);
    return findings(ofBare, ofProduct, options);
  } finally {
    await witness.stop();
    await bare.stop();
    await product.stop();
  }
}

function findings(ofBare: readonly Slice[], ofProduct: readonly Slice[], options: SteadyOptions): Findings {
  const { clients, slices, seconds, stored } = options;
  const [bare, product] = [together(ofBare), together(ofProduct)];
  return {
    method: `${clients} clients, ${slices} slices of ${seconds} s for each, in turn; percentiles of all requests together; ${stored} events stored before. The longest pause is the longest that a client waited for an answer. Beside it a process that needs neither server: how late it woke up from a sleep, and its slowest fdatasync of ten a second on the same disk.`,
    tables: [
      {
        columns: ["server", ...LOAD_COLUMNS],
        rows: [
          ["bare", ...loadCells(bare)],
          ["zapier-triggers", ...loadCells(product)],
        ],
      },
      {
        title: "slice by slice",
        columns: [
          "server",
          "p99 ms",
          "max ms",
          "beside: woke up late, ms",
          "beside: fdatasync ms",
          "stolen %",
        ],
        rows: ofProduct.flatMap((slice, i) => [
          ...(ofBare[i] ? [sliceCells("bare", ofBare[i])] : []),
          sliceCells("zapier-triggers", slice),
        ]),
      },
    ],
    figures: [
      {
        name: "p99 of bare's p99",
        ...{ value: product.spread.p99Ms / bare.spread.p99Ms, unit: "ratio", atMost: 3 },
      },
      {
        name: "p99 of bare's p99, median of the slices",
        ...{
          value: ratioOf(ofProduct, ofBare, ({ load }) => load.latencies.atMs(0.99)).median,
          unit: "ratio",
        },
      },
      { name: "longest pause", value: product.spread.maxMs, unit: "ms", atMost: 50 },
      { name: "longest pause of bare", value: bare.spread.maxMs, unit: "ms" },
      { name: "latest waking up beside", value: latest([...ofBare, ...ofProduct]), unit: "ms" },
    ],
    problems: [...errorsAt("bare", bare.errors), ...errorsAt("zapier-triggers", product.errors)],
    data: { ofBare, ofProduct },
  };
}

function together(slices: readonly Slice[]) {
  const loads = slices.map((slice) => slice.load);
  return {
    requestsPerSecond: median(loads.map((one) => one.requestsPerSecond)),
    errors: loads.reduce((sum, one) => sum + one.errors, 0),
    // Not the median of the slices' p99: the p99 of all requests.
    spread: Latencies.together(loads.map((one) => one.latencies)).spread(),
  };
}

function sliceCells(server: string, { load: { latencies }, machine }: Slice): Cell[] {
  const { lateMs, fdatasyncMs, stolen } = machine;
  return [server, latencies.atMs(0.99), latencies.spread().maxMs, lateMs, fdatasyncMs, stolen * 100];
}

function latest(slices: readonly Slice[]): number {
  return Math.max(...slices.map(({ machine }) => machine.lateMs));
}
