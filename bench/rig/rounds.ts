// Several things measured in turn, round by round, so that a machine that slows down slows all of them. The order is
// reversed each round: what comes first in one comes last in the next.

import { median } from "./numbers.ts";
import { progress } from "./progress.ts";

/** Runs each so many times; the results by run, in the order of the rounds. */
export async function inTurn<T>(
  what: string,
  rounds: number,
  runs: readonly (() => Promise<T>)[],
): Promise<T[][]> {
  const results: T[][] = runs.map(() => []);
  for (let round = 0; round < rounds; round++) {
    const order = runs.map((_, i) => (round % 2 === 0 ? i : runs.length - 1 - i));
    for (const i of order) {
      progress(`${what}: round ${round + 1} of ${rounds}`);
      const result = await runs[i]?.();
      if (result !== undefined) results[i]?.push(result);
    }
  }
  return results;
}

/** The ratio of one to another, round by round: its median, and how far the rounds are apart. */
export type Ratio = { readonly median: number; readonly least: number; readonly greatest: number };

export function ratioOf<T>(of: readonly T[], to: readonly T[], pick: (one: T) => number): Ratio {
  const ratios = of.map((one, i) => {
    const other = to[i];
    return other === undefined ? Number.NaN : pick(one) / pick(other);
  });
  return { median: median(ratios), least: Math.min(...ratios), greatest: Math.max(...ratios) };
}

export function ratioText({ median, least, greatest }: Ratio): string {
  return `${median.toFixed(2)} (${least.toFixed(2)}-${greatest.toFixed(2)})`;
}
