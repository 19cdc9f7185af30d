// Waiting: pauses that an AbortSignal ends, how long to wait before another try, and a time limit for one piece of
// work. Surprise: AbortSignal.any and AbortSignal.timeout are not used. A worker's signal lives for weeks, and what
// they hang on it stays until the garbage collector comes by; here every listener and timer is taken off again.

/** Resolves after `ms`; rejects with the signal's reason as soon as it is aborted. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const end = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", end);
      resolve();
    }, ms);
    signal?.addEventListener("abort", end, { once: true });
  });
}

/** Before try `attempt` + 2: doubled each time up to `maxMs`, and half of it drawn, so that clients do not meet again. */
export function backoffMs(attempt: number, firstMs: number, maxMs: number): number {
  const ms = Math.min(maxMs, firstMs * 2 ** Math.min(attempt, 30));
  return ms / 2 + (Math.random() * ms) / 2;
}

/** What a `Limit` aborts with when its time is over. */
export class TimeOver extends Error {
  override readonly name = "TimeOver";
}

/** A signal that is aborted with `outer`, or `ms` after the last `start`. `end` must be called. */
export class Limit {
  readonly #controller = new AbortController();
  readonly #outer: AbortSignal | undefined;
  readonly #onAbort = () => this.#controller.abort(this.#outer?.reason);
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(outer?: AbortSignal) {
    this.#outer = outer;
    if (outer?.aborted) this.#onAbort();
    else outer?.addEventListener("abort", this.#onAbort, { once: true });
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  start(ms: number): void {
    this.stop();
    this.#timer = setTimeout(() => this.#controller.abort(new TimeOver(`${ms} ms are over`)), ms);
  }

  /** The clock stands until the next `start`. */
  stop(): void {
    clearTimeout(this.#timer);
  }

  end(): void {
    this.stop();
    this.#outer?.removeEventListener("abort", this.#onAbort);
  }
}

/** Promise.withResolvers, which Node has from version 22 only. */
export function withResolvers<T>() {
  let resolve: (value: T) => void = () => {};
  let reject: (reason: unknown) => void = () => {};
  const promise = new Promise<T>((one, other) => {
    resolve = one;
    reject = other;
  });
  return { promise, resolve, reject };
}
