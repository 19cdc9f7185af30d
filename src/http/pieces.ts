// The texts of answers that may be large, piece by piece.

import type { Bite } from "../store/store.ts";
import type { Pieces } from "./large_answers.ts";
import { listEndJson } from "./list_json.ts";

/** A page of a list as the store reads it: `{"NAME":[...],"next_cursor":...,"has_more":...}`. */
export function pagePieces<Row, Key>(
  name: string,
  bites: Iterable<Bite<Row, Key>>,
  told: (row: Row) => string,
  cursorAfter: (key: Key) => string,
): Pieces {
  const end = (next: Key | null) => `],${listEndJson(next === null ? null : cursorAfter(next))}}`;
  const { next, reached } = arrayPieces(`{"${name}":[`, bites, told, end);
  return { next, cut: () => end(reached()) };
}

/** Rows between these texts, all of them. `end` is given where the walk goes on. */
export function rowPieces<Row, Key>(
  head: string,
  bites: Iterable<Bite<Row, Key>>,
  told: (row: Row) => string,
  end: string,
): Pieces {
  return { next: arrayPieces(head, bites, told, () => end).next, cut: null };
}

function arrayPieces<Row, Key>(
  head: string,
  bites: Iterable<Bite<Row, Key>>,
  told: (row: Row) => string,
  end: (next: Key | null) => string,
) {
  const iterator = bites[Symbol.iterator]();
  let before = head;
  let reached: Key | null = null;
  const next = () => {
    const step = iterator.next();
    if (step.done === true) throw new Error("the last bite was not marked as such");
    const { rows, isLast } = step.value;
    reached = step.value.next;
    // A head that no row has followed yet waits for the next one.
    let text = "";
    if (rows.length > 0) {
      text = before + rows.map(told).join(",");
      before = ",";
    }
    if (isLast) text += (before === head ? head : "") + end(reached);
    return { text, isLast };
  };
  return { next, reached: () => reached };
}

const LINES_CHARACTERS = 32 * 1024;
const LINES_MS = 1;

/** Lines, each with its line end. */
export function linePieces(lines: Iterable<string>): Pieces {
  const iterator = lines[Symbol.iterator]();
  const next = () => {
    const endMs = performance.now() + LINES_MS;
    let text = "";
    do {
      const line = iterator.next();
      if (line.done === true) return { text, isLast: true };
      text += `${line.value}\n`;
    } while (text.length < LINES_CHARACTERS && performance.now() < endMs);
    return { text, isLast: false };
  };
  return { next, cut: null };
}
