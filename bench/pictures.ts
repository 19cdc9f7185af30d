// Pictures of the last results, as SVG: throughput and latency by clients, and the rate of ingest by stored events. Drawn
// from the JSON alone, so `bun run bench pictures` can draw them again without measuring.

import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { GrowthRow } from "./growth.ts";
import type { IngestRow } from "./ingest.ts";
import { type Chart, picture, shortNumber } from "./rig/chart.ts";
import { type Report, resultsFolder } from "./rig/report.ts";

const PICTURES = path.join(import.meta.dir, "pictures");

type Saved<Row> = Report & { readonly data: readonly Row[] };

/** Draws what there are results of; brief runs' pictures go beside their results. The exit code. */
export function drawPictures(size: "usual" | "brief"): number {
  const folder = size === "usual" ? PICTURES : resultsFolder("brief");
  const drawn = [
    draw<IngestRow>("ingest", size, folder, ingestCharts),
    draw<GrowthRow>("growth", size, folder, growthCharts),
  ];
  if (drawn.includes(true)) return 0;
  console.error("There are no results to draw: run `bun run bench ingest` or `bun run bench growth` first.");
  return 1;
}

function draw<Row>(
  name: string,
  size: "usual" | "brief",
  folder: string,
  chartsOf: (rows: readonly Row[]) => readonly Chart[],
): boolean {
  const file = path.join(resultsFolder(size), `${name}.json`);
  if (!existsSync(file)) return false;
  // Written by publish(), from the rows of this benchmark.
  const saved = JSON.parse(readFileSync(file, "utf8")) as Saved<Row>;
  const { machine, measuredAt, method } = saved;
  const where = `${machine.processor}, ${machine.memoryGib} GiB, ${machine.system}, Bun ${machine.bun}`;
  const what = `${measuredAt.slice(0, 10)}, revision ${machine.revision}, fdatasync ${machine.fdatasyncP50Ms.toFixed(2)} ms`;
  mkdirSync(folder, { recursive: true });
  const foot = [`${where}; ${what}`, method];
  writeFileSync(path.join(folder, `${name}.svg`), picture(chartsOf(saved.data), foot));
  return true;
}

function ingestCharts(rows: readonly IngestRow[]): readonly Chart[] {
  const x = { xTitle: "clients", labels: rows.map((one) => String(one.clients)) };
  const bare = (pick: (one: IngestRow["bare"]) => number) => rows.map((one) => pick(one.bare));
  const product = (pick: (one: IngestRow["product"]) => number) => rows.map((one) => pick(one.product));
  return [
    {
      ...{ title: "Events a second, by clients", ...x, scale: "linear" },
      series: [
        { name: "bare Elysia", values: bare((one) => one.requestsPerSecond), color: "a" },
        { name: "zapier-triggers", values: product((one) => one.requestsPerSecond), color: "b" },
      ],
    },
    {
      ...{ title: "Latency in ms, by clients", ...x, scale: "log" },
      series: [
        { name: "bare p50", values: bare((one) => one.spread.p50Ms), color: "a" },
        { name: "bare p99", values: bare((one) => one.spread.p99Ms), color: "a", dashed: true },
        { name: "p50", values: product((one) => one.spread.p50Ms), color: "b" },
        { name: "p99", values: product((one) => one.spread.p99Ms), color: "b", dashed: true },
      ],
    },
  ];
}

function growthCharts(rows: readonly GrowthRow[]): readonly Chart[] {
  const x = { xTitle: "stored events", labels: rows.map((one) => shortNumber(one.stored)) };
  const lines = (pick: (one: GrowthRow["full"]) => number): Chart["series"] => [
    { name: "an empty database", values: rows.map((one) => pick(one.empty)), color: "a" },
    { name: "this many stored", values: rows.map((one) => pick(one.full)), color: "b" },
  ];
  const rate = lines((one) => one.requestsPerSecond);
  const p99 = lines((one) => one.spread.p99Ms);
  return [
    { title: "Events a second, by stored events", ...x, scale: "linear", series: rate },
    { title: "p99 in ms, by stored events", ...x, scale: "linear", series: p99 },
  ];
}
