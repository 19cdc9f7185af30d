// A disk of a few megabytes, in memory, for tests of a full one. It needs the right to mount; without it a test on a
// desk passes with a word about it, and CI fails.

import { mkdirSync } from "node:fs";
import path from "node:path";
import { tempDir } from "./temp.ts";

/** Null when it cannot be had here. `stop` takes it away. */
export function mountSmallDisk(megabytes: number): { readonly dir: string; stop(): void } | null {
  const dir = path.join(tempDir(), "small");
  mkdirSync(dir);
  const options = `size=${megabytes}m,mode=0700`;
  const mounted = Bun.spawnSync(["mount", "-t", "tmpfs", "-o", options, "tmpfs", dir]);
  if (mounted.exitCode === 0) return { dir, stop: () => void Bun.spawnSync(["umount", "-l", dir]) };
  if (process.env.CI) throw new Error(`CI must be able to mount a tmpfs: ${mounted.stderr.toString()}`);
  console.warn("skipped: this needs the right to mount a tmpfs");
  return null;
}
