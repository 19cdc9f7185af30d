// The simulation as a command: bun run sim --seconds=60, or bun run sim --seed=N to see what breaks in one seed. A life
// is one thread's work, so as many processes run as there are cores (--jobs), each with seeds of its own.

import { existsSync } from "node:fs";
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { runSeed, shrunk, type Told } from "./run.ts";
import { words } from "./words.ts";

/** Between the first seeds of two processes: more than any of them gets through. */
const SEEDS_APART = 2 ** 20;
/** Files in memory: what a disk does to them is tried elsewhere. */
const MEMORY = "/dev/shm";

const { values } = parseArgs({
  options: {
    seed: { type: "string" },
    seconds: { type: "string" },
    jobs: { type: "string", default: String(availableParallelism()) },
  },
});

function first(): number {
  return values.seed === undefined || values.seed === ""
    ? Math.floor(Math.random() * 2 ** 30)
    : Number(values.seed);
}

function runFor(seconds: number, from: number): number {
  const endMs = performance.now() + seconds * 1000;
  const all: Told[] = [];
  let broken = 0;
  for (let seed = from; performance.now() < endMs; seed++) {
    const told = runSeed(seed);
    all.push(told);
    if (told.problem === null) continue;
    broken++;
    console.log(words(shrunk(told)));
  }
  const sum = (of: (told: Told) => number) => all.reduce((total, told) => total + of(told), 0);
  const steps = sum((told) => told.steps.length);
  console.log(
    `${all.length} seeds in ${seconds} s, from ${from} on: ${steps} steps, ${sum((told) => told.events)} events, ` +
      `${sum((told) => told.attempts)} attempts, ${sum((told) => told.leased)} leased; ${broken} broken`,
  );
  return broken;
}

if (values.seconds === undefined && values.seed) {
  const told = runSeed(Number(values.seed));
  console.log(told.problem === null ? words(told) : words(shrunk(told)));
  process.exit(told.problem === null ? 0 : 1);
}
const [seconds, jobs] = [Number(values.seconds ?? 60), Number(values.jobs)];
process.exit(jobs > 1 ? await runAll(jobs, seconds, first()) : runFor(seconds, first()) === 0 ? 0 : 1);

/** The exit code: 0 when nothing broke in any of them. */
async function runAll(jobs: number, seconds: number, from: number): Promise<number> {
  const env = { ...process.env, ...(existsSync(MEMORY) && { TMPDIR: MEMORY }) };
  const codes = Array.from({ length: jobs }, (_, job) => {
    const seed = `--seed=${from + job * SEEDS_APART}`;
    const command = [process.execPath, import.meta.path, seed, `--seconds=${seconds}`, "--jobs=1"];
    return Bun.spawn(command, { env, stdout: "inherit", stderr: "inherit" }).exited;
  });
  return (await Promise.all(codes)).every((code) => code === 0) ? 0 : 1;
}
