// Comparisons of a model, thousands in a run: expect() costs 20 times what a comparison costs, so it has only the last
// word, to show the difference.

import { expect } from "bun:test";

export function expectSame(actual: unknown, expected: unknown): void {
  if (!Bun.deepEquals(actual, expected)) expect(actual).toEqual(expected);
}

/** Those fields that the expected value has. */
export function expectAlike<T extends object>(actual: T | null | undefined, expected: Partial<T>): void {
  const keys = Object.keys(expected) as (keyof T)[];
  const own = actual ? Object.fromEntries(keys.map((key) => [key, actual[key]])) : actual;
  if (!Bun.deepEquals(own, expected)) expect(own as unknown).toEqual(expected);
}

export function expectAllAlike<T extends object>(
  actual: readonly T[],
  expected: readonly Partial<T>[],
): void {
  expectSame(actual.length, expected.length);
  expected.forEach((one, i) => {
    expectAlike(actual[i], one);
  });
}
