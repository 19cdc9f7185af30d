// How much is read at once on a thread that has others to serve. A page of 8 MiB took 20-40 ms, in which no request was
// read; in bites of a millisecond it takes as long, with the others' work in between.

import type { Bite } from "../store.ts";

const BITE_MS = 1;
/** 128 KiB are read in 0.3 ms, and told and encoded in half as much. */
const BITE_BYTES = 128 * 1024;

/** What one bite may take. A walk asks before each row but its first, so that each bite gets on. */
export class BiteBudget {
  readonly #endMs = performance.now() + BITE_MS;
  #bytes = BITE_BYTES;

  take(bytes: number): void {
    this.#bytes -= bytes;
  }

  get isSpent(): boolean {
    return this.#bytes <= 0 || performance.now() >= this.#endMs;
  }
}

/** Of nothing. */
export const NO_ROWS: Bite<never, null> = { rows: [], next: null, isLast: true };

/** The same bites, of which the first with rows has been read; null when there are no rows in them. */
export function begun<Row, Key>(bites: Generator<Bite<Row, Key>>): Iterable<Bite<Row, Key>> | null {
  // Not `for of`: leaving that ends a generator.
  for (let bite = bites.next(); bite.done !== true; bite = bites.next()) {
    if (bite.value.rows.length > 0) return goOn(bite.value, bites);
  }
  return null;
}

function* goOn<Row, Key>(first: Bite<Row, Key>, rest: Iterable<Bite<Row, Key>>) {
  yield first;
  yield* rest;
}
