// Does ingest slow down as the database grows? The same load on an empty database and on full ones, in turn. For the
// picture, several sizes; for the mark, the last.

import { type Benchmark, errorsAt, type Findings } from "./rig/benchmark.ts";
import { filledDir } from "./rig/filled.ts";
import { LOAD_COLUMNS, load, loadCells, ofRounds, type Rounds, requireWrk, warmUp } from "./rig/load.ts";
import { inTurn, type Ratio, ratioOf, ratioText } from "./rig/rounds.ts";
import { buildTargets, startProduct } from "./rig/target.ts";

const usual = {
  stored: [1_000_000, 5_000_000, 20_000_000],
  ...{ liveDedupIdsMax: 10_000_000, clients: 64, rounds: 5, seconds: 4, warmSeconds: 3, organizations: 50 },
};
type GrowthOptions = Readonly<typeof usual>;
const brief: GrowthOptions = {
  stored: [2_000, 4_000],
  ...{ liveDedupIdsMax: 2_000, clients: 16, rounds: 1, seconds: 1, warmSeconds: 1, organizations: 3 },
};

export const growth: Benchmark<GrowthOptions> = {
  name: "growth",
  question: "How much of the ingest rate of an empty database is left when it holds millions of events?",
  usual,
  brief,
  measure,
};

/** By size; pictures.ts reads it back from the report. */
export type GrowthRow = {
  readonly stored: number;
  readonly liveDedupIds: number;
  readonly empty: Rounds;
  readonly full: Rounds;
  readonly ratio: Ratio;
};

async function measure(options: GrowthOptions): Promise<Findings> {
  requireWrk();
  await buildTargets();
  const rows: GrowthRow[] = [];
  for (const stored of options.stored) rows.push(await compare(stored, options));
  return findings(rows, options);
}

async function compare(stored: number, options: GrowthOptions): Promise<GrowthRow> {
  const { clients, rounds, seconds, organizations, liveDedupIdsMax } = options;
  const liveDedupIds = Math.min(stored, liveDedupIdsMax);
  const data = await filledDir({ events: stored, liveDedupIds, organizations });
  const full = await startProduct({ data });
  // Fresh for each size, else it would have grown by the rounds of those before.
  const empty = await startProduct({ organizations });
  try {
    await warmUp([empty, full], options.warmSeconds);
    const runs = [empty, full].map((target) => () => load(target, { clients, seconds }));
    const [ofEmpty = [], ofFull = []] = await inTurn(`${stored} events`, rounds, runs);
    const ratio = ratioOf(ofFull, ofEmpty, (one) => one.requestsPerSecond);
    return { stored, liveDedupIds, empty: ofRounds(ofEmpty), full: ofRounds(ofFull), ratio };
  } finally {
    await empty.stop();
    await full.stop();
  }
}

function findings(rows: readonly GrowthRow[], { clients, rounds, seconds }: GrowthOptions): Findings {
  return {
    method: `${clients} clients; an empty and a full database in turn, ${rounds} rounds of ${seconds} s; medians. Of the stored events 80 % are delivered, 10 % dead letters, 10 % wait.`,
    tables: [
      {
        columns: ["stored", "live dedup ids", ...LOAD_COLUMNS, "of empty"],
        rows: rows.flatMap(({ stored, liveDedupIds, empty, full, ratio }) => [
          [0, 0, ...loadCells(empty), ""],
          [stored, liveDedupIds, ...loadCells(full), ratioText(ratio)],
        ]),
      },
    ],
    figures: rows.map(({ stored, ratio }) => ({
      name: `ingest with ${stored} events stored, of empty`,
      ...{ value: ratio.median, unit: "ratio", atLeast: 0.9 },
    })),
    problems: rows.flatMap(({ stored, empty, full }) => [
      ...errorsAt(`empty beside ${stored}`, empty.errors),
      ...errorsAt(`${stored} events`, full.errors),
    ]),
    data: rows,
  };
}
