// `bun run bench [name] [--option=value ...]`: runs one benchmark; `all`, `smoke` (all of them briefly), `compare` (two
// revisions) and `pictures` (from the last results) go over several. Each builds what it measures.

import { argon } from "./argon.ts";
import { client } from "./client.ts";
import { compareRevisions } from "./compare.ts";
import { connections } from "./connections.ts";
import { deliver } from "./deliver.ts";
import { endure } from "./endure.ts";
import { fairness } from "./fairness.ts";
import { growth } from "./growth.ts";
import { idle } from "./idle.ts";
import { inbox } from "./inbox.ts";
import { ingest } from "./ingest.ts";
import { micro } from "./micro.ts";
import { overload } from "./overload.ts";
import { drawPictures } from "./pictures.ts";
import { read } from "./read.ts";
import { readers } from "./readers.ts";
import { retention } from "./retention.ts";
import { type Figure, type Options, type Runnable, readOptions, runnable } from "./rig/benchmark.ts";
import { endEverything, endOnSignals } from "./rig/interrupted.ts";
import { endProgress } from "./rig/progress.ts";
import { isKept, publish } from "./rig/report.ts";
import { slowdisk } from "./slowdisk.ts";
import { start } from "./start.ts";
import { steady } from "./steady.ts";
import { wal } from "./wal.ts";

const EXIT_USAGE = 2;
/** Those that pictures are drawn from. */
const DRAWN: readonly string[] = [ingest.name, growth.name];

const BENCHMARKS: readonly Runnable[] = [
  runnable(ingest),
  runnable(client),
  runnable(steady),
  runnable(growth),
  runnable(read),
  runnable(start),
  runnable(deliver),
  runnable(fairness),
  runnable(inbox),
  runnable(endure),
  runnable(idle),
  runnable(slowdisk),
  runnable(overload),
  runnable(connections),
  runnable(readers),
  runnable(argon),
  runnable(retention),
  runnable(wal),
  runnable(micro),
];

endOnSignals();
const [name = "ingest", ...flags] = process.argv.slice(2);
try {
  process.exitCode = await run(name, flags);
} catch (error) {
  endProgress();
  console.error(error);
  process.exitCode = 1;
}
endEverything();
// What a benchmark left open must not keep the process: it has said what it found.
process.exit();

async function run(name: string, flags: readonly string[]): Promise<number> {
  if (name === "smoke") return smoke(flags);
  if (name === "pictures") return drawPictures("usual");
  if (name === "compare") return compareRevisions(flags);
  const chosen = name === "all" ? BENCHMARKS : BENCHMARKS.filter((one) => one.name === name);
  if (chosen.length === 0) return usage(`There is no benchmark ${name}.`);
  let isGood = true;
  for (const benchmark of chosen) {
    let changes: Options;
    try {
      changes = readOptions(benchmark.usual, flags);
    } catch (error) {
      return usage(String(error instanceof Error ? error.message : error));
    }
    const { options, findings } = await benchmark.run("usual", changes);
    isGood = publish(benchmark, "usual", options, findings) && isGood;
    isGood = (findings.figures ?? []).every((figure: Figure) => isKept(figure)) && isGood;
  }
  if (chosen.some(({ name }) => DRAWN.includes(name))) drawPictures("usual");
  return isGood ? 0 : 1;
}

/** Whether all of them work, not how fast anything is. Ends as a test run does, so that CI counts it as one. */
async function smoke(only: readonly string[]): Promise<number> {
  const failed: string[] = [];
  const chosen = BENCHMARKS.filter(({ name }) => only.length === 0 || only.includes(name));
  for (const benchmark of chosen) {
    const startedMs = performance.now();
    let works = false;
    try {
      const { options, findings } = await benchmark.run("brief", {});
      works = publish(benchmark, "brief", options, findings);
    } catch (error) {
      endProgress();
      console.log(error);
    }
    endEverything(); // nothing, unless it failed
    if (!works) failed.push(benchmark.name);
    const seconds = ((performance.now() - startedMs) / 1_000).toFixed(1);
    console.log(`${works ? "(pass)" : "(fail)"} ${benchmark.name} [${seconds} s]\n`);
  }
  drawPictures("brief");
  if (failed.length > 0) console.log(`failed: ${failed.join(", ")}`);
  console.log(` ${chosen.length - failed.length} pass\n ${failed.length} fail`);
  return failed.length === 0 ? 0 : 1;
}

function usage(why: string): number {
  const names = BENCHMARKS.map(({ name, question }) => `  ${name.padEnd(11)} ${question}`);
  console.error(
    [
      why,
      "bun run bench NAME [--option=value ...], where NAME is",
      ...names,
      "  all         one after the other",
      "  smoke       all of them briefly: whether they work",
      "  compare     REVISION REVISION: ingest of two revisions in turn",
      "  pictures    bench/pictures from the last results",
    ].join("\n"),
  );
  return EXIT_USAGE;
}
