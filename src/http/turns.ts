// Fair use of the main thread by what takes long, and by what a commit wakes: a large page, or a thousand readers that
// look again, must not keep the next request from being read. All of it stands in one line and is done in slices of a
// millisecond, with the event loop's other work between them.

/**
 * A slice ends with the piece of work that passes it. With slices of 2 ms beside twenty readers of 8 MiB pages, others
 * waited 1.5 to 3 times as long at p99. A pause between slices (a half, a third of the time for others, beyond one turn of the
 * loop) cost the readers that much and gave others nothing that could be measured.
 */
const SLICE_MS = 1;

export class Turns {
  #line: (() => void)[] = [];

  /** Does the work when its turn comes, all of it before the next one's. */
  run<T>(work: () => T | Promise<T>): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const job = () => {
      try {
        resolve(work());
      } catch (error) {
        reject(error);
      }
    };
    this.#line.push(job);
    if (this.#line.length === 1) setImmediate(() => this.#slice());
    return promise;
  }

  #slice(): void {
    const startedMs = performance.now();
    let done = 0;
    while (done < this.#line.length && performance.now() - startedMs < SLICE_MS) this.#line[done++]?.();
    this.#line = this.#line.slice(done);
    if (this.#line.length > 0) setImmediate(() => this.#slice());
  }
}
