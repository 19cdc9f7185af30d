// A few kills of the crash gate (test/crash; many by `bun run crash`): the same load, the same record, the same checks.

import { expect, test } from "bun:test";
import { Random } from "../crash/random.ts";
import { noCounts } from "../crash/record.ts";
import { runDatabase } from "../crash/run.ts";

const KILLS = 3;

test("a server that is killed under a mixed load keeps everything that it answered", async () => {
  const seed = crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
  const counts = noCounts();
  const { violations, dataDir } = await runDatabase(new Random(seed), KILLS, counts);
  expect({ seed, violations, dataDir: violations.length > 0 ? dataDir : "" }).toEqual({
    ...{ seed, violations: [], dataDir: "" },
  });
  expect(counts.kills).toBe(KILLS);
  expect(counts.webhooks + counts.answered).toBeGreaterThan(0);
  expect(counts.expired).toBeGreaterThan(0);
}, 120_000);
