// Cursors: where a walk goes on. Opaque to clients, and bound to the walk they came from: a cursor of another list,
// organization, order or filter is refused, because it would skip or repeat rows without anybody noticing.

import { invalid } from "./problem.ts";

const PATTERN = /^1\.(\d{1,16})(?:\.(\d{1,16}))?\.([0-9a-z]{1,13})$/;

/** The key of the last row that was told; `within` when rows have a second number, else 0. */
export type CursorKey = { readonly row: number; readonly within: number };

/** `walk` is everything that makes the walk what it is, in one text. */
export function encodeCursor(walk: string, row: number, within = 0): string {
  const key = within === 0 ? row : `${row}.${within}`;
  return Buffer.from(`1.${key}.${fingerprint(walk)}`).toString("base64url");
}

/** The key inside a cursor, null for no cursor; 422 when it is not of this walk. */
export function decodeCursor(walk: string, cursor: string | undefined): CursorKey | null {
  if (cursor === undefined) return null;
  const match = PATTERN.exec(Buffer.from(cursor, "base64url").toString("latin1"));
  const key = { row: Number(match?.[1]), within: Number(match?.[2] ?? 0) };
  const isSafe = Number.isSafeInteger(key.row) && Number.isSafeInteger(key.within);
  if (match?.[3] === fingerprint(walk) && isSafe) return key;
  const detail =
    "It must be the next_cursor of the page before, of this same list with the same filters and order.";
  throw invalid("/cursor", detail);
}

/** Not a signature: whoever forges a cursor only moves about in his own rows. */
function fingerprint(walk: string): string {
  return Bun.hash(walk).toString(36);
}
