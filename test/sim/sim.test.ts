// The simulation, some seconds of it at each run, from a seed that is never the same (but in CI). What breaks is told with its seed:
// `bun run sim --seed=N` shows it again, and `bun run sim --seconds=600` looks for what is rarer.

import { expect, test } from "bun:test";
import { runSeed, shrunk } from "./run.ts";
import { words } from "./words.ts";

const SEEDS = Number(process.env.SIM_SEEDS ?? 150);
/** The same each time in CI: what fails there is the fault of the change. */
const first = Number(process.env.SEED ?? (process.env.CI ? 1 : Math.floor(Math.random() * 2 ** 30)));

test(`delivery and leases keep their promises through ${SEEDS} lives, from seed ${first} on`, () => {
  for (let seed = first; seed < first + SEEDS; seed++) {
    const told = runSeed(seed);
    if (told.problem !== null) throw new Error(words(shrunk(told)));
  }
}, 300_000);

test("the simulation notices when delivery does not hear of what was committed", () => {
  const problems = [1, 2, 3, 4, 5].map((seed) => runSeed(seed, { isDeaf: true }).problem);
  expect(
    problems.filter((problem) => problem?.includes("nothing keeps it from being sent")).length,
  ).toBeGreaterThan(0);
});

test("a seed tells the same story each time", () => {
  const facts = () => {
    const { problem, events, attempts, leased } = runSeed(first);
    return { problem, events, attempts, leased };
  };
  expect(facts()).toEqual(facts());
});
