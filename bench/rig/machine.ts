// What a figure was measured on, and with: without it no number means anything.

import { Database } from "bun:sqlite";
import { closeSync, fdatasyncSync, openSync, rmSync, writeSync } from "node:fs";
import { cpus, release, totalmem } from "node:os";
import path from "node:path";
import { VERSION } from "../../src/base/version.ts";
import { Latencies } from "./numbers.ts";

/** DURABILITY of every server that is measured: what the 202 promises. */
export const COMMIT_MODE = "full (WAL, one fsync a commit, before the answer)";

export type Machine = {
  readonly processor: string;
  readonly memoryGib: number;
  readonly system: string;
  readonly bun: string;
  readonly sqlite: string;
  /** The load generator; null when it is not installed. */
  readonly wrk: string | null;
  readonly product: string;
  /** The commit that the tree is at; "-changed" behind it when it is not quite that. */
  readonly revision: string;
  readonly commitMode: string;
  /** Of 8 KiB, on the disk that the benchmarks' data lie on. */
  readonly fdatasyncP50Ms: number;
  readonly fdatasyncP95Ms: number;
};

export function machine(): Machine {
  const fdatasync = fdatasyncs(200).spread();
  return {
    processor: `${cpus().length} x ${cpus()[0]?.model.trim()}`,
    memoryGib: Math.round(totalmem() / 2 ** 30),
    system: `${process.platform} ${release()} ${process.arch}`,
    bun: Bun.version,
    sqlite: sqliteVersion(),
    wrk: /wrk (\S+)/.exec(said(["wrk", "-v"]))?.[1] ?? null,
    product: VERSION,
    revision: revision(),
    commitMode: COMMIT_MODE,
    fdatasyncP50Ms: fdatasync.p50Ms,
    fdatasyncP95Ms: fdatasync.p95Ms,
  };
}

/** One line for people. */
export function machineLine(one: Machine): string {
  return [
    one.processor,
    `${one.memoryGib} GiB`,
    one.system,
    `Bun ${one.bun}`,
    `SQLite ${one.sqlite}`,
    ...(one.wrk === null ? [] : [`wrk ${one.wrk}`]),
    `zapier-triggers ${one.product} (${one.revision})`,
    `commit mode ${one.commitMode}`,
    `fdatasync p50 ${one.fdatasyncP50Ms.toFixed(2)} ms, p95 ${one.fdatasyncP95Ms.toFixed(2)} ms`,
  ].join(", ");
}

/** How long so many fdatasyncs of 8 KiB take, one after the other, each after a write. */
export function fdatasyncs(count: number): Latencies {
  const file = path.join(import.meta.dir, `../data-fsync-${process.pid}`);
  const fd = openSync(file, "w");
  const block = new Uint8Array(8192).fill(7);
  const times = Array.from({ length: count }, () => {
    writeSync(fd, block);
    const start = performance.now();
    fdatasyncSync(fd);
    return performance.now() - start;
  });
  closeSync(fd);
  rmSync(file);
  return Latencies.of(times);
}

function revision(): string {
  const head = said(["git", "rev-parse", "--short", "HEAD"]).trim();
  if (head === "") return "unknown";
  return said(["git", "status", "--porcelain"]).trim() === "" ? head : `${head}-changed`;
}

function sqliteVersion(): string {
  const db = new Database(":memory:");
  const row = db.query<{ version: string }, []>("SELECT sqlite_version() AS version").get();
  db.close();
  return row?.version ?? "unknown";
}

/** What a program prints; empty when it is not there. (`wrk -v` exits with 1.) */
function said(command: string[]): string {
  if (!Bun.which(command[0] ?? "")) return "";
  return Bun.spawnSync(command, { cwd: import.meta.dir }).stdout.toString();
}
