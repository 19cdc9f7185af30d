// What SQLite or the system say when a file cannot be read or copied, in words for an operator.

import { SQLiteError } from "bun:sqlite";

/** A whole sentence. `file`: the database that was read. */
export function failureText(file: string, error: unknown): string {
  if (!(error instanceof Error)) return `${file}: ${error}`;
  const code = "code" in error ? String(error.code) : "";
  if (/^(SQLITE_FULL|ENOSPC|EDQUOT)/.test(code))
    return "The disk of the copy is full. Nothing was kept of it.";
  if (/^SQLITE_(CORRUPT|NOTADB)/.test(code))
    return `${file} is damaged (${code}: ${error.message}). zapier-triggers doctor --full tells more; a backup from before may be restored.`;
  if (/^(EACCES|EPERM|SQLITE_(CANTOPEN|PERM|AUTH|READONLY))/.test(code))
    return `${file}, or what is to be made of it, cannot be opened (${code}). Run this as the user of the server, with write access to both directories.`;
  return error instanceof SQLiteError ? `${file}: ${code}: ${error.message}.` : `${error.message}.`;
}
