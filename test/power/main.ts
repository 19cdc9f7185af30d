// `bun run power [--seed=N] [--images=400]`: cuts the power at so many moments of a recorded run of the server (BIN, else
// from source), with DURABILITY=full and then with normal, and opens what would be on the disk. The seed repeats what
// is done to a recorded run; the recording itself is the machine's.

import { parseArgs } from "node:util";
import { endOnSignals } from "../../bench/rig/interrupted.ts";
import { cutPower, type PowerReport } from "./cut.ts";

const START_EACH = 25;
const EVENTS = 2_500;
const EXIT_USAGE = 2;

endOnSignals();
const options = readOptions();
process.exit(options === null ? EXIT_USAGE : await power(options.seed, options.images));

function readOptions(): { seed: number; images: number } | null {
  const drawn = crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
  try {
    const { values } = parseArgs({
      options: {
        seed: { type: "string", default: String(drawn) },
        images: { type: "string", default: "400" },
      },
    });
    const [seed, images] = [Number(values.seed), Number(values.images)];
    if (Number.isSafeInteger(seed) && Number.isSafeInteger(images) && images > 0) return { seed, images };
  } catch {
    // said below
  }
  console.error("bun run power [--seed=NUMBER] [--images=NUMBER]");
  return null;
}

async function power(seed: number, images: number): Promise<number> {
  console.log(`power: seed ${seed}, ${process.env.BIN ?? "from source"}`);
  let faults = 0;
  for (const durability of ["full", "normal"] as const) {
    const options = { durability, seed, startEach: START_EACH, events: EVENTS };
    const report = await cutPower({
      ...options,
      images: durability === "full" ? images : Math.ceil(images / 4),
    });
    console.log(`DURABILITY=${durability}: ${said(report)}`);
    for (const fault of report.faults.slice(0, 20)) console.log(`VIOLATED: ${fault}`);
    if (report.faults.length > 0) console.log(`seed ${seed}; everything is in ${report.dir}`);
    faults += report.faults.length;
    // Else nothing is proved by the images of full: they would not show a loss.
    if (durability === "normal" && report.imagesWithLoss === 0) {
      console.log("VIOLATED: no image of DURABILITY=normal lacks anything, which is not believable");
      faults++;
    }
  }
  console.log(faults === 0 ? "power: nothing violated" : `power: ${faults} violations`);
  return faults === 0 ? 0 : 1;
}

function said(report: PowerReport): string {
  const { calls, syncs, checkpoints, carried, answered, images, starts, imagesWithLoss } = report;
  return [
    `${calls} calls (${syncs} syncs, ${checkpoints} checkpoints)`,
    `${carried} lives that found an unsynced WAL`,
    `${answered} events answered`,
    `${images} power cuts`,
    `${starts} starts of the whole program`,
    `${imagesWithLoss} times something answered was lost`,
  ].join(", ");
}
