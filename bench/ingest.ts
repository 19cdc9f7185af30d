// How fast is durable ingest, and how much of it is left of a bare Elysia that stores nothing? Both are built
// executables, measured in turn within one run, on a database that holds a million events and grows meanwhile.

import { type Benchmark, errorsAt, type Figure, type Findings } from "./rig/benchmark.ts";
import { BUSY_COLUMNS, type Busy, busyCells, COST_COLUMNS, costCells, whileBusy } from "./rig/busy.ts";
import { filledDir } from "./rig/filled.ts";
import {
  LOAD_COLUMNS,
  type Load,
  load,
  loadCells,
  ofRounds,
  type Rounds,
  requireWrk,
  warmUp,
} from "./rig/load.ts";
import { inTurn, type Ratio, ratioOf, ratioText } from "./rig/rounds.ts";
import { buildTargets, startBare, startProduct, type Target } from "./rig/target.ts";

/** The mark is for this many. */
const MARK_CLIENTS = 64;
const MARK = 0.6;

const usual = {
  clients: [1, 10, 64, 256],
  rounds: 5,
  seconds: 4,
  warmSeconds: 3,
  organizations: 50,
  stored: 1_000_000,
};
type IngestOptions = Readonly<typeof usual>;
const brief: IngestOptions = {
  clients: [1, 16],
  rounds: 1,
  seconds: 1,
  warmSeconds: 1,
  organizations: 3,
  stored: 3_000,
};

export const ingest: Benchmark<IngestOptions> = {
  name: "ingest",
  question: "How much durable ingest is left of what bare Elysia answers, by clients?",
  usual,
  brief,
  measure,
};

/** By clients; pictures.ts reads it back from the report. */
export type IngestRow = {
  readonly clients: number;
  readonly bare: Rounds;
  readonly product: Rounds;
  readonly ratio: Ratio;
  readonly profile: { readonly bare: Profile; readonly product: Profile };
};

type Profile = { readonly requests: number; readonly busy: readonly Busy[] };
type Run = { readonly result: Load; readonly busy: Busy };

async function measure(options: IngestOptions): Promise<Findings> {
  requireWrk();
  await buildTargets();
  const { organizations, stored, warmSeconds } = options;
  const bare = await startBare();
  const data = await filledDir({ events: stored, liveDedupIds: stored, organizations });
  const product = await startProduct({ data });
  try {
    await warmUp([bare, product], warmSeconds);
    const rows: IngestRow[] = [];
    for (const clients of options.clients) rows.push(await compare(bare, product, clients, options));
    return findings(rows, options);
  } finally {
    await bare.stop();
    await product.stop();
  }
}

async function compare(
  bare: Target,
  product: Target,
  clients: number,
  { rounds, seconds }: IngestOptions,
): Promise<IngestRow> {
  const runs = [bare, product].map(
    (target) => () => whileBusy(target.pid, () => load(target, { clients, seconds })),
  );
  const [ofBare = [], ofProduct = []] = await inTurn<Run>(`${clients} clients`, rounds, runs);
  const ratio = ratioOf(ofProduct, ofBare, ({ result }) => result.requestsPerSecond);
  const loads = (several: readonly Run[]) => ofRounds(several.map(({ result }) => result));
  const profile = { bare: profileOf(ofBare), product: profileOf(ofProduct) };
  return { clients, bare: loads(ofBare), product: loads(ofProduct), ratio, profile };
}

function profileOf(runs: readonly Run[]): Profile {
  const requests = runs.reduce((sum, { result }) => sum + result.requests, 0);
  return { requests, busy: runs.map(({ busy }) => busy) };
}

function findings(rows: readonly IngestRow[], options: IngestOptions): Findings {
  const { organizations, rounds, seconds, stored } = options;
  return {
    method: `${organizations} organizations in turn, unique dedup ids, one delivery row an event (not sent), ${stored} events stored before; ${rounds} rounds of ${seconds} s in turn; medians.`,
    tables: [
      {
        columns: ["clients", "server", ...LOAD_COLUMNS, "of bare"],
        rows: rows.flatMap(({ clients, bare, product, ratio }) => [
          [clients, "bare", ...loadCells(bare), ""],
          [clients, "zapier-triggers", ...loadCells(product), ratioText(ratio)],
        ]),
      },
      {
        title:
          "processor time: of one request, and how busy each thread is (percent of a core; the machine: of all)",
        columns: ["clients", "server", ...COST_COLUMNS, ...BUSY_COLUMNS],
        rows: rows.flatMap(({ clients, profile: { bare, product } }) => [
          [clients, "bare", ...costCells(bare.busy, bare.requests), ...busyCells(bare.busy)],
          [
            clients,
            "zapier-triggers",
            ...costCells(product.busy, product.requests),
            ...busyCells(product.busy),
          ],
        ]),
      },
    ],
    figures: rows.map(
      ({ clients, ratio }): Figure => ({
        name: `ingest of bare, ${clients} clients`,
        value: ratio.median,
        unit: "ratio",
        ...(clients === MARK_CLIENTS && { atLeast: MARK }),
      }),
    ),
    problems: rows.flatMap(({ clients, bare, product }) => [
      ...errorsAt(`bare, ${clients} clients`, bare.errors),
      ...errorsAt(`zapier-triggers, ${clients} clients`, product.errors),
      ...(product.requestsPerSecond > 0 ? [] : [`${clients} clients: nothing was accepted`]),
    ]),
    data: rows,
  };
}
