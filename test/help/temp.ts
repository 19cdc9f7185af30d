// Directories for one test each. A failed test's directory is kept to be looked at: only the passed ones go.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

/** A new empty directory. */
export function tempDir(): string {
  return mkdtempSync(path.join(tmpdir(), "zapier-triggers-"));
}

/** Runs `work` with a new directory, which is removed when the work succeeds. */
export async function withTempDir<T>(work: (dir: string) => T | Promise<T>): Promise<T> {
  const dir = tempDir();
  const value = await work(dir);
  rmSync(dir, { recursive: true, force: true });
  return value;
}
