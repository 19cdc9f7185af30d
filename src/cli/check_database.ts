// The database file as `doctor` sees it: whose it is, whether it is sound, and what is in it.
import type { Database } from "bun:sqlite";
import { existsSync } from "node:fs";
import { formatBytes } from "../base/bytes.ts";
import { rfc3339 } from "../base/time.ts";
import { databaseIn, sizeOf, warm } from "../store/sqlite/database_file.ts";
import { failureText } from "../store/sqlite/failure_text.ts";
import {
  type Contents,
  inspectContents,
  inspectOrphans,
  inspectPages,
  inspectSchema,
  opensSecrets,
  openToLook,
} from "../store/sqlite/inspect.ts";
import { type Check, ok, problem, warning } from "./check.ts";

export interface DatabaseLook {
  readonly dataDir: string;
  /** A process may write to it meanwhile. */
  readonly isServed: boolean;
  readonly full: boolean;
  /** Null: the settings are not usable, so it is not known which keys there are. */
  readonly encryptionKeys: readonly string[] | null;
}

/** Larger files are read through only when asked: it takes seconds for each GB. */
const READ_BYTES_MAX = 2e9;
const RESTORE = "Stop the server, move the files of DATA_DIR away, and restore a backup.";
/** Before the first version, and when keys no longer fit into the exact integers (src/base/id.ts). */
const YEARS = { min: 2025, max: 2092 };
const SECOND_MS = 1_000;

/** Gives each line as it is found, for some take long. */
export function* checkDatabase(look: DatabaseLook): Generator<Check> {
  const file = databaseIn(look.dataDir);
  if (!existsSync(file)) return;
  try {
    if (isReadThrough(file, look.full)) warm(file);
    const db = openToLook(file, look.isServed);
    try {
      yield* checkOpened(db, file, look);
    } finally {
      db.close();
    }
  } catch (error) {
    yield problem("database", failureText(file, error).replace(/\.$/, ""), RESTORE);
  }
}

function* checkOpened(db: Database, file: string, { full, encryptionKeys }: DatabaseLook): Generator<Check> {
  const { found, known, isOurs } = inspectSchema(db);
  if (!isOurs) {
    yield problem(
      "database",
      `${file} is another program's`,
      "Set DATA_DIR to another directory, or move the file away.",
    );
    return;
  }
  if (found !== known) {
    yield found > known
      ? problem(
          "schema",
          `${found}, and this program knows up to ${known}`,
          "Start the newer version that wrote it.",
        )
      : warning(
          "schema",
          `${found}: the next start brings it to ${known}`,
          "Make a backup before: there is no way back.",
        );
  } else yield ok("schema", String(found));
  yield* checkPages(db, file, full);
  if (found !== known) return;
  if (encryptionKeys !== null) yield checkSecrets(db, encryptionKeys);
  const contents = inspectContents(db, Date.now());
  yield checkEvents(contents);
  yield checkDeliveries(contents);
  yield checkClock(contents.newestEventMs);
}

const isReadThrough = (file: string, full: boolean) => full || (sizeOf(file) ?? 0) <= READ_BYTES_MAX;

function* checkPages(db: Database, file: string, full: boolean): Generator<Check> {
  const size = formatBytes(sizeOf(file) ?? 0);
  if (!isReadThrough(file, full)) {
    yield ok("integrity", `${size} were not read through; --full does`);
    return;
  }
  const damages = inspectPages(db, full);
  const orphans = inspectOrphans(db);
  if (damages.length > 0) yield problem("integrity", damages.join("; ").replace(/\s+/g, " "), RESTORE);
  if (orphans > 0) yield problem("integrity", `${orphans} rows without their parents`, RESTORE);
  if (damages.length + orphans === 0)
    yield ok("integrity", `${size} read${full ? ", tables compared with their indexes" : ""}`);
}

function checkSecrets(db: Database, encryptionKeys: readonly string[]): Check {
  if (opensSecrets(db, encryptionKeys))
    return ok(
      "secrets",
      encryptionKeys.length > 0 ? "open with ENCRYPTION_KEY" : "not encrypted (ENCRYPTION_KEY)",
    );
  const detail =
    encryptionKeys.length > 0
      ? "ENCRYPTION_KEY does not open the signing secrets"
      : "the signing secrets are sealed, and ENCRYPTION_KEY is not set";
  return problem("secrets", detail, "Give the key that sealed them: without it the server does not start.");
}

function checkEvents({ events, organizations, endpoints, oldestUndeliveredMs }: Contents): Check {
  const { pending, failed, dead_letter, delivered, hidden } = events;
  const counts = `pending ${pending}, failed ${failed}, dead_letter ${dead_letter}, delivered ${delivered}, hidden ${hidden}`;
  const oldest =
    oldestUndeliveredMs === null ? "" : `; the oldest undelivered is of ${rfc3339(oldestUndeliveredMs)}`;
  return ok("events", `${counts}; organizations ${organizations}, endpoints ${endpoints}${oldest}`);
}

function checkDeliveries({ deliveriesDue, oldestDueMs }: Contents): Check {
  if (oldestDueMs === null) return ok("deliveries", "none is due");
  return ok("deliveries", `${deliveriesDue} are due, the oldest since ${rfc3339(oldestDueMs)}`);
}

function checkClock(newestEventMs: number | null): Check {
  const nowMs = Date.now();
  const now = rfc3339(nowMs);
  const year = new Date(nowMs).getUTCFullYear();
  if (year < YEARS.min || year > YEARS.max) return problem("clock", `it is set to ${now}`, "Set the clock.");
  const aheadMs = (newestEventMs ?? 0) - nowMs;
  if (aheadMs <= SECOND_MS) return ok("clock", now);
  return warning(
    "clock",
    `it says ${now}, and the newest event was accepted ${Math.ceil(aheadMs / SECOND_MS)} s later: it was set back`,
    "Set the clock. Until it has caught up, created_at of new events runs ahead of it.",
  );
}
