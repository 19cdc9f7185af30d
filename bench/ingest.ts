// How fast is durable ingest, and how much of it is left of a bare Elysia that stores nothing? Both are built
// executables, measured in turn within one run, on a database that grows meanwhile.

import { mkdirSync } from "node:fs";
import path from "node:path";
import { type Load, load, median, requireWrk } from "./load.ts";
import { machine } from "./machine.ts";
import { buildTargets, startBare, startProduct, type Target } from "./target.ts";

export type IngestOptions = {
  readonly clients: readonly number[];
  readonly rounds: number;
  readonly seconds: number;
  readonly organizations: number;
  readonly durability: "full" | "normal";
};

const usual: IngestOptions = {
  clients: [1, 10, 64, 256],
  rounds: 5,
  seconds: 4,
  organizations: 50,
  durability: "full",
};

type Row = { readonly clients: number; readonly bare: Load; readonly product: Load; readonly ratio: number };

/** Measures and prints; returns the rows. */
export async function benchIngest(options: IngestOptions = usual): Promise<readonly Row[]> {
  requireWrk();
  await buildTargets();
  const bare = await startBare();
  const product = await startProduct(options);
  try {
    await warmUp(bare, product);
    const rows: Row[] = [];
    for (const clients of options.clients) rows.push(await compare(bare, product, clients, options));
    report(rows, options);
    return rows;
  } finally {
    await bare.stop();
    await product.stop();
  }
}

/** Until the JIT has seen everything and each key's hash is cached. */
async function warmUp(bare: Target, product: Target): Promise<void> {
  for (const target of [bare, product])
    await load(target.url, { ...loadOf(target), clients: 64, seconds: 3 });
}

async function compare(
  bare: Target,
  product: Target,
  clients: number,
  { rounds, seconds }: IngestOptions,
): Promise<Row> {
  const bareLoads: Load[] = [];
  const productLoads: Load[] = [];
  for (let round = 1; round <= rounds; round++) {
    process.stderr.write(`\r${clients} clients, round ${round} of ${rounds}   `);
    bareLoads.push(await load(bare.url, { ...loadOf(bare), clients, seconds }));
    productLoads.push(await load(product.url, { ...loadOf(product), clients, seconds }));
  }
  process.stderr.write("\r");
  const ratios = productLoads.map((one, i) => one.requestsPerSecond / (bareLoads[i]?.requestsPerSecond ?? 1));
  return { clients, bare: middle(bareLoads), product: middle(productLoads), ratio: median(ratios) };
}

function loadOf(target: Target) {
  return target.keysFile ? { keysFile: target.keysFile } : {};
}

/** Each figure's own median; errors are summed, never hidden. */
function middle(loads: readonly Load[]): Load {
  const of = (pick: (load: Load) => number) => median(loads.map(pick));
  return {
    clients: loads[0]?.clients ?? 0,
    requestsPerSecond: of((one) => one.requestsPerSecond),
    p50Ms: of((one) => one.p50Ms),
    p95Ms: of((one) => one.p95Ms),
    p99Ms: of((one) => one.p99Ms),
    maxMs: of((one) => one.maxMs),
    errors: loads.reduce((sum, one) => sum + one.errors, 0),
  };
}

function report(rows: readonly Row[], options: IngestOptions): void {
  const lines = [
    `Durable ingest against bare Elysia. ${machine()}`,
    `Both built executables; DURABILITY=${options.durability}; ${options.organizations} organizations, unique dedup ids, one delivery row an event (not sent); ${options.rounds} rounds of ${options.seconds} s in turn; medians.`,
    "",
    "| clients | server | requests/s | p50 ms | p95 ms | p99 ms | max ms | errors | of bare |",
    "|---|---|---|---|---|---|---|---|---|",
    ...rows.flatMap(({ bare, product, ratio }) => [
      cells("bare", bare, ""),
      cells("zapier-triggers", product, ratio.toFixed(2)),
    ]),
  ];
  console.log(lines.join("\n"));
  const results = path.join(import.meta.dir, "results");
  mkdirSync(results, { recursive: true });
  void Bun.write(
    path.join(results, "ingest.json"),
    JSON.stringify({ machine: machine(), options, rows }, null, 2),
  );
}

function cells(server: string, one: Load, ratio: string): string {
  const ms = [one.p50Ms, one.p95Ms, one.p99Ms, one.maxMs].map((value) => value.toFixed(2)).join(" | ");
  return `| ${one.clients} | ${server} | ${Math.round(one.requestsPerSecond)} | ${ms} | ${one.errors} | ${ratio} |`;
}
