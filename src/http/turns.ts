// Fair use of the main thread by what a commit wakes: a thousand readers that look again must not keep the next request
// from being read. Looks are done in slices of 2 ms, with the event loop's other work between them.

const SLICE_MS = 2;

export class Turns {
  #sliceStartedMs = 0;
  #nextSlice: Promise<void> | null = null;

  /** Resolves at once while there is time left in this slice. Ask before each look. */
  async next(): Promise<void> {
    while (performance.now() - this.#sliceStartedMs > SLICE_MS) {
      this.#nextSlice ??= new Promise((resolve) => setImmediate(() => this.#begin(resolve)));
      await this.#nextSlice;
    }
  }

  #begin(resolve: () => void): void {
    this.#nextSlice = null;
    this.#sliceStartedMs = performance.now();
    resolve();
  }
}
