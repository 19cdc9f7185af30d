// A backup of a data directory: one file with all that was committed when it began. It only reads, so the server may
// run or not. Surprise: it is no copy of the file's bytes but VACUUM INTO, which leaves out free space and what was
// deleted.

import { existsSync, realpathSync, statSync } from "node:fs";
import path from "node:path";
import { type Copied, type CopyTools, copyTo } from "./copying.ts";
import { databaseIn } from "./database_file.ts";

/** Refused: there is no database, `file` is there already (and not `force`), or it cannot be written. */
export async function backUp(
  { dataDir, file, force }: { readonly dataDir: string; readonly file: string; readonly force: boolean },
  tools: CopyTools,
): Promise<Copied> {
  const database = databaseIn(dataDir);
  const detail = whyNoBackup(database, path.resolve(file), force);
  if (detail !== null) return { kind: "refused", detail };
  return await copyTo(
    { work: "backup", source: path.resolve(database), target: path.resolve(file), replaces: force },
    tools,
  );
}

function whyNoBackup(database: string, file: string, force: boolean): string | null {
  if (!existsSync(database))
    return `There is no database ${path.resolve(database)}: set DATA_DIR to the server's.`;
  const folder = path.dirname(file);
  if (!existsSync(folder)) return `There is no directory ${folder} for the backup.`;
  if (isPartOf(database, file)) return `${file} belongs to the database itself: name another file.`;
  if (!existsSync(file)) return null;
  if (!statSync(file).isFile()) return `${file} is there and is no file.`;
  return force ? null : `${file} is there already: name another file, or replace it with --force.`;
}

/** The database, its WAL, the lock, by whatever path. */
function isPartOf(database: string, file: string): boolean {
  const real = existsSync(file)
    ? realpathSync(file)
    : path.join(realpathSync(path.dirname(file)), path.basename(file));
  const start = realpathSync(database).replace(/\.db$/, ".");
  return /^(db(-wal|-shm|-journal)?|lock)$/.test(real.startsWith(start) ? real.slice(start.length) : "");
}
