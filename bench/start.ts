// How long from exec to the first 202, by what is stored? What it reads must not grow with that.

import { rmSync } from "node:fs";
import { callApi } from "./rig/api.ts";
import type { Benchmark, Findings } from "./rig/benchmark.ts";
import { filledDir } from "./rig/filled.ts";
import { median } from "./rig/numbers.ts";
import { progress } from "./rig/progress.ts";
import { PAYLOAD } from "./rig/requests.ts";
import { buildTargets, startProduct } from "./rig/target.ts";

const usual = {
  stored: [0, 1_000_000, 20_000_000],
  liveDedupIdsMax: 10_000_000,
  organizations: 50,
  rounds: 5,
};
type StartOptions = Readonly<typeof usual>;
const brief: StartOptions = { stored: [0, 4_000], liveDedupIdsMax: 2_000, organizations: 3, rounds: 1 };

export const start: Benchmark<StartOptions> = {
  name: "start",
  question: "How long from the start of the process to its first 202, by stored events?",
  usual,
  brief,
  measure,
};

type Row = {
  readonly stored: number;
  readonly listeningMs: readonly number[];
  readonly acceptedMs: readonly number[];
};

async function measure(options: StartOptions): Promise<Findings> {
  await buildTargets();
  const rows: Row[] = [];
  for (const stored of options.stored) rows.push(await startOften(stored, options));
  return {
    method: `${options.rounds} starts each, on a copy that has just been written, so from the page cache. The first 202 has the key's hash in it (18-20 ms).`,
    tables: [
      {
        columns: ["stored", "listening ms", "first 202 ms", "slowest ms"],
        rows: rows.map(({ stored, listeningMs, acceptedMs }) => [
          stored,
          median(listeningMs),
          median(acceptedMs),
          Math.max(...acceptedMs),
        ]),
      },
    ],
    figures: rows.map(({ stored, acceptedMs }) => ({
      name: `exec to first 202, ${stored} events stored`,
      ...{ value: median(acceptedMs), unit: "ms", atMost: 150 },
    })),
    problems: [],
    data: rows,
  };
}

async function startOften(stored: number, options: StartOptions): Promise<Row> {
  const { organizations, liveDedupIdsMax, rounds } = options;
  const listeningMs: number[] = [];
  const acceptedMs: number[] = [];
  const liveDedupIds = Math.min(stored, liveDedupIdsMax);
  const data = { ...(await filledDir({ events: stored, liveDedupIds, organizations })), keep: true };
  for (let round = 0; round < rounds; round++) {
    progress(`start on ${stored} events, ${round + 1} of ${rounds}`);
    const startedMs = performance.now();
    const product = await startProduct({ data });
    try {
      const event = { type: "order.created", dedup_id: crypto.randomUUID(), payload: PAYLOAD };
      await callApi(product.url, "/api/events", product.keys[0] ?? null, event);
      acceptedMs.push(performance.now() - startedMs);
      listeningMs.push(product.listeningMs);
    } finally {
      await product.stop();
    }
  }
  rmSync(data.dir, { recursive: true, force: true });
  return { stored, listeningMs, acceptedMs };
}
