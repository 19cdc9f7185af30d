// Cursors: where a walk goes on. Opaque to clients, and bound to the walk they came from: a cursor of another list,
// organization, order or filter is refused, because it would skip or repeat rows without anybody noticing.

import { invalid } from "./problem.ts";

const PATTERN = /^1\.(\d{1,16})\.([0-9a-z]{1,13})$/;

/** `walk` is everything that makes the walk what it is, in one text; `seq` the key of the last row that was told. */
export function encodeCursor(walk: string, seq: number): string {
  return Buffer.from(`1.${seq}.${fingerprint(walk)}`).toString("base64url");
}

/** The key inside a cursor, null for no cursor; 422 when it is not of this walk. */
export function decodeCursor(walk: string, cursor: string | undefined): number | null {
  if (cursor === undefined) return null;
  const match = PATTERN.exec(Buffer.from(cursor, "base64url").toString("latin1"));
  const seq = Number(match?.[1]);
  if (match?.[2] === fingerprint(walk) && Number.isSafeInteger(seq)) return seq;
  const detail =
    "It must be the next_cursor of the page before, of this same list with the same filters and order.";
  throw invalid("/cursor", detail);
}

/** Not a signature: whoever forges a cursor only moves about in his own rows. */
function fingerprint(walk: string): string {
  return Bun.hash(walk).toString(36);
}
