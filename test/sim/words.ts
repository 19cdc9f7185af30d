// A seed's story for people: what broke, how to see it again, and what happened before.

import type { Told } from "./run.ts";

export function words({ seed, problem, steps, events, attempts }: Told): string {
  const head = problem === null ? "kept every promise" : problem;
  const told = steps.filter((step) => !step.endsWith("(left out)")).map((step) => `  ${step}`);
  const again = `SEED=${seed}: ${head}\n(bun run sim --seed=${seed}; ${events} events, ${attempts} attempts)`;
  return [again, ...told].join("\n");
}
