// Databases that hold many events already. One of 20 000 000 takes minutes to fill, so each is filled once, into
// bench/cache, and every server gets a copy of its own.

import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { Filled, FillOptions } from "./fill.ts";
import { whenStopped } from "./interrupted.ts";
import { progress } from "./progress.ts";
import { type DataDir, newDataDir, run } from "./target.ts";

const CACHE = path.join(import.meta.dir, "../cache");
const MIGRATIONS = path.join(import.meta.dir, "../../db");
/** A dedup id lives for 24 hours: later, those in the database would be dead, and so cost less. */
const LIVE_MS = 20 * 60 * 60 * 1_000;

/** A copy of a database with so many events, in a directory that is the caller's; filled first, if it has to be. */
export async function filledDir(options: FillOptions): Promise<DataDir & Pick<Filled, "ids">> {
  const cached = await cachedDir(options);
  const dir = newDataDir();
  progress(`copying a database of ${options.events} events`);
  await run(["cp", "--reflink=auto", path.join(cached, "triggers.db"), dir], CACHE);
  // Else the copy is written to the disk while the first figures are measured.
  await run(["sync", "-f", dir], CACHE);
  const { keys, ids } = filledOf(cached);
  return { dir, keys, ids };
}

async function cachedDir(options: FillOptions): Promise<string> {
  mkdirSync(CACHE, { recursive: true });
  const { events, liveDedupIds, organizations } = options;
  const dir = path.join(CACHE, `${events}-${liveDedupIds}-${organizations}-${schemaHash()}`);
  if (existsSync(dir) && (liveDedupIds === 0 || Date.now() - filledOf(dir).filledAtMs < LIVE_MS)) return dir;
  const partial = `${dir}-partial`;
  for (const old of [dir, partial]) rmSync(old, { recursive: true, force: true });
  mkdirSync(partial);
  await fill(partial, options);
  renameSync(partial, dir);
  return dir;
}

function filledOf(dir: string): Filled {
  return JSON.parse(readFileSync(path.join(dir, "filled.json"), "utf8")) as Filled;
}

async function fill(dir: string, options: FillOptions): Promise<void> {
  const script = path.join(import.meta.dir, "fill.ts");
  const child = Bun.spawn([process.execPath, script, dir, JSON.stringify(options)], {
    stdout: "pipe",
    stderr: "inherit",
  });
  const release = whenStopped(() => child.kill("SIGKILL"));
  let filled = "";
  for await (const chunk of child.stdout) {
    filled += new TextDecoder().decode(chunk);
    const events = /(\d+)\n$/.exec(filled)?.[1];
    if (events !== undefined) progress(`filling a database: ${events} of ${options.events} events`);
    filled = filled.slice(-20);
  }
  release();
  if ((await child.exited) !== 0) throw new Error("the database could not be filled");
  writeFileSync(path.join(dir, "options.json"), JSON.stringify(options));
}

/** Another schema is another database; the old one could be migrated, but was not written by this code. */
function schemaHash(): string {
  const names = readdirSync(MIGRATIONS)
    .filter((name) => /^\d{4}_.*\.sql$/.test(name))
    .sort();
  const text = names.map((name) => readFileSync(path.join(MIGRATIONS, name), "utf8")).join("");
  return Bun.hash(text).toString(16).slice(0, 8);
}
