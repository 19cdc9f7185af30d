// What a figure was measured on: without it no number means anything.

import { closeSync, fdatasyncSync, openSync, rmSync, writeSync } from "node:fs";
import { cpus, totalmem } from "node:os";
import path from "node:path";
import { VERSION } from "../src/base/version.ts";
import { median } from "./load.ts";

/** One line: processor, memory, system, versions, and what an fdatasync of 8 KiB takes here. */
export function machine(): string {
  const gib = Math.round(totalmem() / 2 ** 30);
  const cpu = `${cpus().length} x ${cpus()[0]?.model.trim()}`;
  const commit = Bun.spawnSync(["git", "rev-parse", "--short", "HEAD"]).stdout.toString().trim();
  return `${cpu}, ${gib} GiB, ${process.platform} ${process.arch}, Bun ${Bun.version}, zapier-triggers ${VERSION} (${commit}), fdatasync ${fsyncMs().toFixed(2)} ms (median of 200)`;
}

function fsyncMs(): number {
  const file = path.join(import.meta.dir, `fsync-${process.pid}`);
  const fd = openSync(file, "w");
  const block = new Uint8Array(8192).fill(7);
  const times = Array.from({ length: 200 }, () => {
    writeSync(fd, block);
    const start = performance.now();
    fdatasyncSync(fd);
    return performance.now() - start;
  });
  closeSync(fd);
  rmSync(file);
  return median(times);
}
