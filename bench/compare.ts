// Is one revision faster than another? Each is built in a clone of its own, and both are measured by the load generator of
// this tree, in turn: a fresh process over an empty database each time, the order reversed each round.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { errorsAt, type Findings, type Options, readOptions } from "./rig/benchmark.ts";
import { whenStopped } from "./rig/interrupted.ts";
import { LOAD_COLUMNS, type Load, load, loadCells, ofRounds, requireWrk } from "./rig/load.ts";
import { progress } from "./rig/progress.ts";
import { publish } from "./rig/report.ts";
import { inTurn, ratioOf, ratioText } from "./rig/rounds.ts";
import { run, startProduct } from "./rig/target.ts";

const ROOT = path.join(import.meta.dir, "..");
const EXIT_USAGE = 2;
const usual = { clients: 64, rounds: 7, seconds: 4, warmSeconds: 3, organizations: 50 };
type CompareOptions = Readonly<typeof usual>;

/** A built revision. `commit` is the full hash. */
type Revision = { readonly name: string; readonly commit: string; readonly executable: string };

/** `REVISION REVISION [--option=value ...]`, as git names them. The exit code. */
export async function compareRevisions(args: readonly string[]): Promise<number> {
  const names = args.filter((one) => !one.startsWith("--"));
  const [a, b] = names;
  if (a === undefined || b === undefined || names.length !== 2) {
    console.error("bun run bench compare REVISION REVISION [--clients=64 --rounds=7 --seconds=4 ...]");
    return EXIT_USAGE;
  }
  requireWrk();
  const changes = readOptions(
    usual,
    args.filter((one) => one.startsWith("--")),
  );
  const options: CompareOptions = { ...usual, ...changes };
  const dir = mkdtempSync(path.join(tmpdir(), "zapier-triggers-compare-"));
  const removeDir = () => rmSync(dir, { recursive: true, force: true });
  const release = whenStopped(removeDir);
  try {
    const first = await build(a, path.join(dir, "a"));
    const second = await build(b, path.join(dir, "b"));
    const runs = [first, second].map((revision) => () => measure(revision, options));
    const [ofFirst = [], ofSecond = []] = await inTurn("compare", options.rounds, runs);
    const found = findings(first, second, ofFirst, ofSecond, options);
    const question = `Is ${first.name} faster at ingest than ${second.name}?`;
    return publish({ name: "compare", question }, "usual", options satisfies Options, found) ? 0 : 1;
  } finally {
    release();
    removeDir();
  }
}

async function build(name: string, dir: string): Promise<Revision> {
  progress(`building ${name}`);
  const found = Bun.spawnSync(["git", "rev-parse", "--verify", "--quiet", `${name}^{commit}`], { cwd: ROOT });
  const commit = found.stdout.toString().trim();
  if (commit === "") throw new Error(`git knows no revision ${name}`);
  // Shared: nothing is copied, and commits that no branch holds are there too.
  await run(["git", "clone", "--quiet", "--shared", "--no-checkout", ROOT, dir], ROOT);
  await run(["git", "checkout", "--quiet", "--detach", commit], dir);
  await run([process.execPath, "install", "--frozen-lockfile", "--silent"], dir);
  await run([process.execPath, "scripts/build.ts"], dir);
  return { name, commit, executable: path.join(dir, "dist/zapier-triggers") };
}

async function measure({ executable }: Revision, options: CompareOptions): Promise<Load> {
  const { clients, seconds, warmSeconds, organizations } = options;
  const product = await startProduct({ organizations, executable });
  try {
    await load(product, { clients, seconds: warmSeconds });
    return await load(product, { clients, seconds });
  } finally {
    await product.stop();
  }
}

function findings(
  first: Revision,
  second: Revision,
  ofFirst: readonly Load[],
  ofSecond: readonly Load[],
  { clients, rounds, seconds, organizations }: CompareOptions,
): Findings {
  const both = [
    { ...first, of: ofRounds(ofFirst) },
    { ...second, of: ofRounds(ofSecond) },
  ];
  const rate = ratioOf(ofFirst, ofSecond, (one) => one.requestsPerSecond);
  const p99 = ratioOf(ofFirst, ofSecond, (one) => one.latencies.atMs(0.99));
  return {
    method: `${clients} clients, ${organizations} organizations; ${rounds} rounds of ${seconds} s, a fresh process over an empty database each, the order reversed each round; medians, and of the ratios (least-greatest of the rounds).`,
    tables: [
      {
        columns: ["revision", "commit", ...LOAD_COLUMNS],
        rows: both.map(({ name, commit, of }) => [name, commit.slice(0, 8), ...loadCells(of)]),
      },
      {
        columns: [`${first.name} of ${second.name}`, "median (least-greatest)"],
        rows: [
          ["requests/s", ratioText(rate)],
          ["p99", ratioText(p99)],
        ],
      },
    ],
    problems: both.flatMap(({ name, of }) => errorsAt(name, of.errors)),
    data: { first, second, ofFirst, ofSecond, rate, p99 },
  };
}
