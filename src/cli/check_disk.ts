// The data directory and the disk under it, as `doctor` sees them. Nothing is written to find out what can be.
import { accessSync, constants, existsSync, readFileSync, realpathSync, statfsSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { formatBytes } from "../base/bytes.ts";
import { sizeOf } from "../store/sqlite/database_file.ts";
import { type Check, ok, problem, warning } from "./check.ts";

/** Below this the server itself says that it is not ready. */
const FREE_BYTES_MIN = 64 << 20;
const WAL_BYTES_MAX = 256 << 20;
/** SQLite's WAL needs memory that all its processes share, and locks that hold: the network gives neither. */
const NETWORK =
  /^(nfs\d?|cifs|smb\w*|9p|afs|ceph|glusterfs|lustre|ncpfs|fuse\.(sshfs|s3fs|rclone|glusterfs).*|vboxsf|drvfs)$/;
const MEMORY = /^(tmpfs|ramfs)$/;
const OF_CONTAINER = /^(overlay|aufs)$/;

/** Whether there is something behind it to look at. */
export const isDirectory = (dataDir: string) =>
  statSync(dataDir, { throwIfNoEntry: false })?.isDirectory() ?? false;

export function checkDirectory(dataDir: string): readonly Check[] {
  const full = resolve(dataDir);
  if (!existsSync(full)) {
    const parent = nearestParent(full);
    return canWrite(parent)
      ? [ok("data directory", `${full}: nothing there yet, the server makes it`)]
      : [
          problem(
            "data directory",
            `${full} is not there, and this user may not make it in ${parent}`,
            AS_SERVER,
          ),
        ];
  }
  if (!isDirectory(full))
    return [problem("data directory", `${full} is no directory`, "Set DATA_DIR to another path.")];
  if (!canWrite(full)) return [problem("data directory", `this user may not write to ${full}`, AS_SERVER)];
  return [...ownership("data directory", full, "700"), ...databaseFile(join(full, "triggers.db"))];
}

const AS_SERVER =
  "Run doctor as the user that the server runs as. If it is that one: give it the directory (chown), or set DATA_DIR to another.";

function databaseFile(file: string): readonly Check[] {
  if (!existsSync(file)) return [ok("database file", "none yet, the server makes it")];
  const readable = can(file, constants.R_OK | constants.W_OK);
  if (!readable) return [problem("database file", `this user may not read and write ${file}`, AS_SERVER)];
  return [...ownership("database file", file, "600"), ...walSize(`${file}-wal`)];
}

/** `mode`: what the server gives it. */
function ownership(check: string, file: string, mode: "700" | "600"): readonly Check[] {
  const { uid, mode: bits } = statSync(file);
  const me = process.geteuid?.() ?? uid;
  const checks: Check[] = [];
  if (uid !== me)
    checks.push(warning(check, `${file} is of user ${uid}, and doctor runs as user ${me}`, AS_SERVER));
  if ((bits & 0o077) !== 0) {
    const has = (bits & 0o777).toString(8);
    checks.push(
      warning(check, `${file} has mode ${has}: others of this machine reach it`, `chmod ${mode} ${file}`),
    );
  }
  return checks.length > 0 ? checks : [ok(check, file)];
}

function walSize(file: string): readonly Check[] {
  const bytes = sizeOf(file) ?? 0;
  if (bytes <= WAL_BYTES_MAX) return [ok("write-ahead log", formatBytes(bytes))];
  const advice =
    "Something reads for long: a backup, an open transaction of the sqlite3 shell, a replica that hangs. It shrinks after that.";
  return [warning("write-ahead log", `${formatBytes(bytes)} in ${file}`, advice)];
}

export function checkSpace(dataDir: string): Check {
  const place = nearestParent(resolve(dataDir));
  const { bavail, bsize } = statfsSync(place);
  const free = bavail * bsize;
  const needed = sizeOf(join(dataDir, "triggers.db")) ?? 0;
  const told = `${formatBytes(free)} free on ${place}`;
  if (free < FREE_BYTES_MIN)
    return problem("disk space", told, "Make room: the server is about to refuse events.");
  if (free >= needed + FREE_BYTES_MIN)
    return ok("disk space", `${told}, the database has ${formatBytes(needed)}`);
  return warning(
    "disk space",
    `${told}, less than the database's own ${formatBytes(needed)}: a backup does not fit beside it`,
    "Make room, or write backups to another disk.",
  );
}

export function checkFileSystem(dataDir: string): Check {
  const place = realpathSync(nearestParent(resolve(dataDir)));
  const kind = fileSystemOf(place);
  if (kind === null) return ok("file system", "of a kind that this system does not tell");
  if (NETWORK.test(kind))
    return warning(
      "file system",
      `${place} is on ${kind}, a network`,
      "Put DATA_DIR on a disk of this machine: SQLite's locks and its log are not safe there.",
    );
  if (MEMORY.test(kind))
    return warning(
      "file system",
      `${place} is on ${kind}, in memory`,
      "Put DATA_DIR on a disk: all of it is gone when the machine starts again.",
    );
  if (OF_CONTAINER.test(kind))
    return warning(
      "file system",
      `${place} is on ${kind}, a container's own layer`,
      "Mount a volume there: all of it is gone with the container.",
    );
  return ok("file system", kind);
}

/** The kind of the file system that a real path is on, as Linux tells it; null elsewhere. */
function fileSystemOf(place: string): string | null {
  const table = "/proc/self/mountinfo";
  if (!existsSync(table)) return null;
  let found: { at: string; kind: string } | null = null;
  for (const line of readFileSync(table, "utf8").split("\n")) {
    const at = line
      .split(" ")[4]
      ?.replace(/\\(\d{3})/g, (_, octal) => String.fromCharCode(Number.parseInt(octal, 8)));
    const kind = / - (\S+)/.exec(line)?.[1];
    if (at === undefined || kind === undefined) continue;
    const holds = place === at || place.startsWith(at.endsWith("/") ? at : `${at}/`);
    // Of two mounts at one place the later one is seen.
    if (holds && at.length >= (found?.at.length ?? 0)) found = { at, kind };
  }
  return found?.kind ?? null;
}

function nearestParent(place: string): string {
  return existsSync(place) ? place : nearestParent(dirname(place));
}

const canWrite = (place: string) => can(place, constants.W_OK | constants.X_OK);

function can(place: string, mode: number): boolean {
  try {
    accessSync(place, mode);
    return true;
  } catch {
    return false;
  }
}
