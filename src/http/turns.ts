// Fair use of the main thread by what a commit wakes: a thousand readers that look again must not keep the next request
// from being read. Looks stand in one line and are done in slices of 2 ms, with the event loop's other work between them.

const SLICE_MS = 2;

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
