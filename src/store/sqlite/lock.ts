// One process per data directory. The lock is SQLite's own on a file beside the database, so the system releases
// it when the process dies, however it dies; server.json only tells people and the command line who holds it.

import { Database, SQLiteError } from "bun:sqlite";
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";

/** What server.json says. `url` is null until the server listens. */
export type Holder = { readonly pid: number; readonly url: string | null; readonly started_at: string };

export type Lock = {
  /** Tells others where this process listens. */
  announce(url: string): void;
  release(): void;
};

/** `doctor` looks whether the lock is held, and has it for a moment itself. */
const LOOK_MS = 200;

export type Locked =
  | { readonly kind: "locked"; readonly lock: Lock }
  | { readonly kind: "refused"; readonly detail: string };

/** Takes the data directory for this process; makes the directory when it is not there. */
export function lockDataDir(dataDir: string): Locked {
  makeDurably(path.resolve(dataDir));
  const db = new Database(path.join(dataDir, "triggers.lock"), { create: true });
  try {
    db.run(`PRAGMA busy_timeout = ${LOOK_MS}`);
    db.run("BEGIN EXCLUSIVE");
  } catch (error) {
    db.close();
    if (error instanceof SQLiteError && error.code === "SQLITE_BUSY") return refusal(dataDir);
    throw error;
  }
  const holderFile = path.join(dataDir, "server.json");
  const started_at = new Date().toISOString();
  const write = (url: string | null) =>
    writeFileSync(holderFile, `${JSON.stringify({ pid: process.pid, url, started_at } satisfies Holder)}\n`, {
      mode: 0o600,
    });
  write(null);
  return {
    kind: "locked",
    lock: {
      announce: write,
      release: () => {
        rmSync(holderFile, { force: true });
        db.close();
      },
    },
  };
}

/**
 * A new directory's name is on disk when the directory that it stands in is synced: else a power cut takes the name, and
 * with it all that was fsynced inside. (SQLite syncs the directory of its own files.)
 */
function makeDurably(dataDir: string): void {
  const first = mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  if (first === undefined) return;
  for (let made = dataDir; made.startsWith(first); made = path.dirname(made)) {
    const parent = openSync(path.dirname(made), "r");
    fsyncSync(parent);
    closeSync(parent);
  }
}

function refusal(dataDir: string): Locked {
  const holder = readHolder(dataDir);
  const who = holder ? `process ${holder.pid}, started ${holder.started_at}` : "another process";
  const where = holder?.url ? `, serving ${holder.url}` : "";
  return {
    kind: "refused",
    detail: `The data directory ${path.resolve(dataDir)} is in use by ${who}${where}. Stop that process, or set DATA_DIR to another directory.`,
  };
}

/** Who holds the data directory, as server.json tells; null when nobody said so. */
export function readHolder(dataDir: string): Holder | null {
  try {
    return JSON.parse(readFileSync(path.join(dataDir, "server.json"), "utf8")) as Holder;
  } catch {
    return null;
  }
}
