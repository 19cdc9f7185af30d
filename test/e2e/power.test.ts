// A few power cuts (test/power; many by `bun run power`): the disk as it may be when all that was not fsynced is lost,
// kept, torn or in another order.

import { expect, test } from "bun:test";
import { cutPower } from "../power/cut.ts";

const strace = Bun.which("strace");
if (!strace && process.env.CI) throw new Error("CI must have strace: power cuts may not be skipped there");

const seed = crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
const some = { seed, images: 32, startEach: 15, events: 150 };

test.skipIf(!strace)(
  "a power cut loses nothing that was answered, and the server starts on what is left",
  async () => {
    const report = await cutPower({ ...some, durability: "full" });
    expect({ seed, faults: report.faults }).toEqual({ seed, faults: [] });
    expect(report.images).toBe(some.images);
    expect(report.imagesWithLoss).toBe(0);
    // Else nobody has looked at a WAL that a killed process had not synced.
    expect(report.carried).toBeGreaterThan(0);
  },
  120_000,
);

test.skipIf(!strace)(
  "with DURABILITY=normal a power cut may take the last commits, and never more than those",
  async () => {
    const report = await cutPower({ ...some, durability: "normal" });
    expect({ seed, faults: report.faults }).toEqual({ seed, faults: [] });
    expect(report.imagesWithLoss).toBeGreaterThan(0);
  },
  120_000,
);
