// Database files as files: whose they are, by their first 100 bytes, and how one is made to last. Surprise: a header
// is read before SQLite opens the file and never while it is open, because closing any descriptor of a file takes away
// all POSIX locks that this process has on it (https://www.sqlite.org/howtocorrupt.html, 2.2).

import { closeSync, fsyncSync, openSync, readSync, statSync } from "node:fs";
import { freemem } from "node:os";
import path from "node:path";
import { newestSchema } from "./migrate.ts";

/** "ZTRG": what db/0001_initial.sql writes as `application_id`. */
export const APPLICATION_ID = 0x5a545247;

/** https://www.sqlite.org/fileformat.html#the_database_header */
const HEADER_BYTES = 100;
const MAGIC = "SQLite format 3\0";
const SCHEMA_AT = 60;
const APPLICATION_AT = 68;

/** What may stand beside a database file and belongs to it. */
const COMPANIONS = ["-wal", "-shm", "-journal"] as const;

/** Where the database of a data directory is. */
export function databaseIn(dataDir: string): string {
  return path.join(dataDir, "triggers.db");
}

/** Which of the database file and its companions are there. */
export function filesOf(database: string): string[] {
  return ["", ...COMPANIONS].map((suffix) => database + suffix).filter((file) => sizeOf(file) !== null);
}

/** In bytes; null when there is no such file. */
export function sizeOf(file: string): number | null {
  return statSync(file, { throwIfNoEntry: false })?.size ?? null;
}

/** Null when it is a database of this program, of a schema that it knows; else a whole sentence that says why not. */
export function whyNotOurs(file: string): string | null {
  const header = readHeader(file);
  if (header === null) return `${file} is not a SQLite database.`;
  if (header.applicationId !== APPLICATION_ID)
    return `${file} is a SQLite database, but not one of zapier-triggers.`;
  if (header.schema > newestSchema)
    return `${file} has schema ${header.schema}, and this program knows schemas up to ${newestSchema}: it is of a newer version, which can read it.`;
  return null;
}

const CHUNK_BYTES = 4 << 20;

/**
 * Reads a file once from its start to its end, so that the system has it in memory: SQLite reads pages in the order of
 * their trees, and a check of 4.3 GB from a disk of 215 MB/s took 200 s, and 33 s so. Not what does not fit there.
 */
export function warm(file: string): void {
  if ((sizeOf(file) ?? 0) > freemem() / 2) return;
  const descriptor = openSync(file, "r");
  try {
    const chunk = Buffer.alloc(CHUNK_BYTES);
    while (readSync(descriptor, chunk) > 0);
  } catch {
    // A disk that cannot be read: the check will say where.
  } finally {
    closeSync(descriptor);
  }
}

function readHeader(file: string): { readonly applicationId: number; readonly schema: number } | null {
  const bytes = Buffer.alloc(HEADER_BYTES);
  const descriptor = openSync(file, "r");
  try {
    if (readSync(descriptor, bytes, 0, HEADER_BYTES, 0) < HEADER_BYTES) return null;
  } finally {
    closeSync(descriptor);
  }
  if (bytes.toString("latin1", 0, MAGIC.length) !== MAGIC) return null;
  return { applicationId: bytes.readUInt32BE(APPLICATION_AT), schema: bytes.readUInt32BE(SCHEMA_AT) };
}

/** Returns when what was written to the file, or which files are in the directory, survives a power cut. */
export function sync(fileOrDirectory: string): void {
  const descriptor = openSync(fileOrDirectory, "r");
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
