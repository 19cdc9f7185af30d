import { expect, test } from "bun:test";
import fc from "fast-check";
import { RunDirectory } from "../../src/store/sqlite/run_directory.ts";

const hashes = fc.uniqueArray(fc.integer({ min: 0, max: 2 ** 53 - 1 }), { minLength: 1, maxLength: 200 });

test("the directory names every run that holds a hash", () => {
  fc.assert(
    fc.property(hashes, fc.integer({ min: 1, max: 50 }), (all, runEvents) => {
      const directory = new RunDirectory();
      all.forEach((hash, i) => {
        directory.add(hash, Math.floor(i / runEvents) + 1);
      });
      all.forEach((hash, i) => {
        expect(directory.find(hash)).toContain(Math.floor(i / runEvents) + 1);
      });
    }),
  );
});

test("a hash that was never added is almost never found, over many slices", () => {
  const directory = new RunDirectory();
  const random = (i: number) => (Math.imul(i, 2654435761) >>> 0) * 2 ** 21 + (Math.imul(i, 40503) & 0x1fffff);
  for (let i = 0; i < 300_000; i++) directory.add(random(i), Math.floor(i / 2000) + 1);
  let falsely = 0;
  for (let i = 300_000; i < 400_000; i++) if (directory.find(random(i)).length > 0) falsely++;
  expect(falsely).toBeLessThan(100);
  for (let i = 0; i < 300_000; i += 997)
    expect(directory.find(random(i))).toContain(Math.floor(i / 2000) + 1);
});

test("runs out of the window are forgotten slice by slice", () => {
  const directory = new RunDirectory();
  for (let i = 0; i < 100_000; i++) directory.add(i * 2 ** 32 + i, Math.floor(i / 2000) + 1);
  directory.dropUpTo(50);
  expect(directory.find(99_999 * 2 ** 32 + 99_999)).toEqual([]);
  directory.add(7, 60);
  expect(directory.find(7)).toEqual([60]);
});
