// How much is read at once on a thread that has others to serve. A page of 8 MiB took 20-40 ms, in which no request was
// read; in bites of a millisecond it takes as long, with the others' work in between.

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
