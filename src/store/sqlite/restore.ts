// A backup becomes the database of a data directory that has none. The directory is locked meanwhile, like by a server,
// and the database has its name only when all of it was copied and checked.

import { existsSync, statSync } from "node:fs";
import path from "node:path";
import { type Copied, type CopyTools, copyTo } from "./copying.ts";
import { databaseIn, filesOf, sizeOf, whyNotOurs } from "./database_file.ts";
import { opensSecrets } from "./inspect.ts";
import { lockDataDir } from "./lock.ts";
import { openUnchanging } from "./pragma.ts";

/** Refused: a server runs there, there is a database already, or `file` is none that this program can work with. */
export async function restore(
  { dataDir, file }: { readonly dataDir: string; readonly file: string },
  tools: CopyTools,
): Promise<Copied> {
  const source = path.resolve(file);
  const unusable = whyUnusable(source);
  if (unusable !== null) return { kind: "refused", detail: unusable };
  const locked = lockDataDir(dataDir);
  if (locked.kind === "refused") return locked;
  tools.signal.addEventListener("abort", locked.lock.release);
  try {
    const database = path.resolve(databaseIn(dataDir));
    const there = filesOf(database);
    if (there.length > 0) return { kind: "refused", detail: occupied(there) };
    return await copyTo({ work: "restore", source, target: database, replaces: false }, tools);
  } finally {
    locked.lock.release();
  }
}

/** Whether these keys open the secrets of what was restored. */
export function opensRestored(dataDir: string, encryptionKeys: readonly string[]): boolean {
  const db = openUnchanging(databaseIn(dataDir));
  try {
    return opensSecrets(db, encryptionKeys);
  } finally {
    db.close();
  }
}

function whyUnusable(file: string): string | null {
  if (!existsSync(file)) return `There is no file ${file}.`;
  if (!statSync(file).isFile()) return `${file} is no file.`;
  if ((sizeOf(`${file}-wal`) ?? 0) > 0)
    return `${file}-wal lies beside it: that is a copy of a database's parts and no backup. Put all of its files into DATA_DIR, named triggers.db and triggers.db-wal.`;
  return whyNotOurs(file);
}

function occupied(there: readonly string[]): string {
  const [first = ""] = there;
  const what = there.map((file) => path.basename(file)).join(", ");
  return `${path.dirname(first)} has a database already (${what}). Set DATA_DIR to another directory, or move these files away together.`;
}
