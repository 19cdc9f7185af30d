// A page of a list as JSON text. Surprise: it ends early before it passes 8 MiB, because the rows of some lists may be
// 50 KB each, and a thousand of them would be held in memory several times over.

/** With room for the list's own members beside its rows. */
const ROWS_BYTES_MAX = 8 * 1024 * 1024 - 4_096;

/**
 * A page of at most `limit` rows under this name. `rows` go on for as long as there are any; no more of them are read
 * than the page takes, and one: so it is known whether another page follows.
 */
export function listJson<T>(
  name: string,
  rows: Iterable<T>,
  limit: number,
  told: (row: T) => object,
  cursorAfter: (row: T) => string,
): string {
  const texts: string[] = [];
  let bytes = 0;
  let last: T | undefined;
  let next: string | null = null;
  for (const row of rows) {
    const text = texts.length < limit ? JSON.stringify(told(row)) : "";
    bytes += Buffer.byteLength(text) + 1;
    const isFull = texts.length >= limit || (bytes > ROWS_BYTES_MAX && texts.length > 0);
    if (isFull && last !== undefined) {
      next = cursorAfter(last);
      break;
    }
    texts.push(text);
    last = row;
  }
  return `{"${name}":[${texts.join(",")}],${listEndJson(next)}}`;
}

/** The members behind the rows. */
export function listEndJson(nextCursor: string | null): string {
  return `"next_cursor":${JSON.stringify(nextCursor)},"has_more":${nextCursor !== null}`;
}
