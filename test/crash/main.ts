// `bun run crash [--kills=100] [--seconds=900] [--seed=N]`: kills the server (BIN, else from source) so many times under
// a mixed load, or as often as the time allows, and holds what is there after each restart against a record of its own.
// The seed repeats the operations that are drawn and the moments of the kills; how requests interleave, and so what
// exactly was in flight, is the machine's.

import { parseArgs } from "node:util";
import { endOnSignals } from "../../bench/rig/interrupted.ts";
import { Random } from "./random.ts";
import { type Counts, noCounts } from "./record.ts";
import { runDatabase } from "./run.ts";

/** Then a new database: the next one has other settings, and each restart's check is short. */
const KILLS_PER_DATABASE = 12;
const EXIT_FAILED = 1;
const EXIT_USAGE = 2;

endOnSignals();
const options = readOptions();
if (options === null) process.exit(EXIT_USAGE);
process.exit(await crash(options.kills, options.seconds * 1_000, options.seed));

function readOptions(): { kills: number; seconds: number; seed: number } | null {
  const drawn = crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
  try {
    const { values } = parseArgs({
      options: {
        kills: { type: "string", default: "100" },
        seconds: { type: "string", default: "900" },
        seed: { type: "string", default: String(drawn) },
      },
    });
    const [kills = 0, seconds = 0, seed = 0] = [values.kills, values.seconds, values.seed].map(Number);
    if (kills > 0 && seconds > 0 && Number.isSafeInteger(seed)) return { kills, seconds, seed };
  } catch {
    // said below
  }
  console.error("bun run crash [--kills=NUMBER] [--seconds=NUMBER] [--seed=NUMBER]");
  return null;
}

async function crash(kills: number, limitMs: number, seed: number): Promise<number> {
  console.log(`crash: seed ${seed}, ${process.env.BIN ?? "from source"}`);
  const endMs = performance.now() + limitMs;
  const isLate = () => performance.now() > endMs;
  const counts = noCounts();
  const random = new Random(seed);
  for (let n = 1; counts.kills < kills && !isLate(); n++) {
    const share = Math.min(KILLS_PER_DATABASE, kills - counts.kills);
    const { violations, dataDir } = await runDatabase(random.fork(`database ${n}`), share, counts, isLate);
    console.log(`database ${n}: ${said(counts)}`);
    if (violations.length === 0) continue;
    for (const violation of violations.slice(0, 20)) console.log(`VIOLATED: ${violation}`);
    console.log(`crash: ${violations.length} violations with seed ${seed}; the database is in ${dataDir}`);
    return EXIT_FAILED;
  }
  console.log(`crash: ${said(counts)}, nothing violated`);
  return 0;
}

function said(counts: Counts): string {
  const { kills, killsInStart, killsInStop, databases } = counts;
  return [
    `${kills} kills (${killsInStart} in the start, ${killsInStop} in the stop) of ${databases} databases`,
    `${counts.livesWithSeals} lives with sealing, ${counts.livesWithCheckpoints} with checkpoints`,
    `${counts.answered} answers (${counts.refused} of them 429 or 503)`,
    `${counts.accepted} events accepted`,
    `${counts.lost} in flight at a kill (${counts.adopted} were stored)`,
    `${counts.acked} acknowledged`,
    `${counts.leases} leases`,
    `${counts.changes} changes of endpoints and keys`,
    `${counts.erased} organizations erased`,
    `${counts.expired} old events removed`,
    `${counts.webhooks} webhooks`,
  ].join(", ");
}
