// Ten minutes of all that the server takes: do memory and the write-ahead log stay where they are? The series is in the
// results, since a line that rises slowly looks flat in two numbers.

import { statSync } from "node:fs";
import path from "node:path";
import { metric } from "./rig/api.ts";
import { type Benchmark, errorsAt, type Findings } from "./rig/benchmark.ts";
import { filledDir } from "./rig/filled.ts";
import { LOAD_COLUMNS, type Load, load, loadCells, requireWrk } from "./rig/load.ts";
import { residentMib } from "./rig/processes.ts";
import { progress } from "./rig/progress.ts";
import { buildTargets, type Product, startProduct } from "./rig/target.ts";

const MIB = 2 ** 20;

// The marks: 80 MB, 250 MB and 128 MB.
const IDLE_MIB_MAX = 76.3;
const RESIDENT_MIB_MAX = 238;
const WAL_MIB_MAX = 122;

const usual = { clients: 64, seconds: 600, sampleSeconds: 5, idleSeconds: 10, organizations: 50 };
type EndureOptions = Readonly<typeof usual>;
const brief: EndureOptions = { clients: 16, seconds: 2, sampleSeconds: 1, idleSeconds: 1, organizations: 3 };

export const endure: Benchmark<EndureOptions> = {
  name: "endure",
  question: "How large are memory and the write-ahead log, idle and under ten minutes of full load?",
  usual,
  brief,
  measure,
};

type Sample = {
  readonly atSeconds: number;
  readonly residentMib: number;
  readonly walMib: number;
  readonly databaseMib: number;
  readonly events: number;
};

async function measure(options: EndureOptions): Promise<Findings> {
  requireWrk();
  await buildTargets();
  const { clients, seconds, organizations } = options;
  // Idle is a server that was started over what there is, and has not been asked anything yet.
  const data = await filledDir({ events: 0, liveDedupIds: 0, organizations });
  const product = await startProduct({ data });
  try {
    await Bun.sleep(options.idleSeconds * 1_000);
    const idleMib = residentMib(product.pid);
    const series: Sample[] = [await sample(product, 0)];
    const startMs = performance.now();
    const under = load(product, { clients, seconds });
    const timer = setInterval(async () => {
      const atSeconds = (performance.now() - startMs) / 1_000;
      progress(`${Math.round(atSeconds)} of ${seconds} s`);
      series.push(await sample(product, atSeconds));
    }, options.sampleSeconds * 1_000);
    const sent = await under;
    clearInterval(timer);
    series.push(await sample(product, seconds));
    return findings(idleMib, series, sent, options);
  } finally {
    await product.stop();
  }
}

async function sample({ url, pid, dir }: Product, atSeconds: number): Promise<Sample> {
  const sizeMib = (name: string) => statSync(path.join(dir, name)).size / MIB;
  return {
    atSeconds,
    residentMib: residentMib(pid),
    walMib: sizeMib("triggers.db-wal"),
    databaseMib: sizeMib("triggers.db"),
    events: await metric(url, "events_ingested_total"),
  };
}

function findings(idleMib: number, series: readonly Sample[], sent: Load, options: EndureOptions): Findings {
  const { clients, seconds, sampleSeconds } = options;
  const last = series.at(-1);
  const greatest = (pick: (one: Sample) => number) => Math.max(...series.map(pick));
  /** Ten lines tell the course; all samples are in the JSON. */
  const shown = series.filter((_, i) => i % Math.ceil(series.length / 10) === 0 || i === series.length - 1);
  const spread = sent.latencies.spread();
  return {
    method: `${clients} clients as fast as the answers come, for ${seconds} s, from an empty database; sampled each ${sampleSeconds} s.`,
    tables: [
      { columns: [...LOAD_COLUMNS], rows: [loadCells({ ...sent, spread })] },
      {
        columns: ["at s", "events", "resident MiB", "WAL MiB", "database MiB"],
        rows: shown.map((one) => [
          Math.round(one.atSeconds),
          one.events,
          one.residentMib,
          one.walMib,
          one.databaseMib,
        ]),
      },
    ],
    figures: [
      { name: "resident, idle", value: idleMib, unit: "MiB", atMost: IDLE_MIB_MAX },
      {
        name: "resident at the end",
        ...{ value: last?.residentMib ?? Number.NaN, unit: "MiB", atMost: RESIDENT_MIB_MAX },
      },
      { name: "resident at most", value: greatest((one) => one.residentMib), unit: "MiB" },
      {
        name: "WAL file at most",
        ...{ value: greatest((one) => one.walMib), unit: "MiB", atMost: WAL_MIB_MAX },
      },
    ],
    problems: errorsAt("load", sent.errors),
    data: { idleMib, series, sent },
  };
}
