// The simulation as a command: bun run sim --seconds=60, or bun run sim --seed=N to see what breaks in one seed.

import { parseArgs } from "node:util";
import { runSeed, shrunk, type Told } from "./run.ts";
import { words } from "./words.ts";

const { values } = parseArgs({ options: { seed: { type: "string" }, seconds: { type: "string" } } });

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
process.exit(runFor(Number(values.seconds ?? 60), first()) === 0 ? 0 : 1);
