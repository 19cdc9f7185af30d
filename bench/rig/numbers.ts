// Numbers out of many measurements: medians, and latencies kept in buckets so that those of several runs and processes
// can be put together. A percentile of percentiles would be none.

/** Of latencies, in milliseconds. NaN where there are no samples. */
export type Spread = {
  readonly p50Ms: number;
  readonly p95Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  readonly samples: number;
};

/** Latencies and how often each was seen, rounded down to 7 significant bits of a microsecond: less than 1 % off. */
export class Latencies {
  readonly #counts = new Map<number, number>();
  #samples = 0;
  #maxUs = Number.NaN;

  /** From durations in milliseconds. */
  static of(valuesMs: Iterable<number>): Latencies {
    const latencies = new Latencies();
    for (const ms of valuesMs) latencies.add(ms);
    return latencies;
  }

  /** All of several runs, each request counted once. */
  static together(parts: Iterable<Latencies>): Latencies {
    const all = new Latencies();
    for (const part of parts) all.#take(part.steps(), part.#maxUs / 1_000);
    return all;
  }

  /** From what `steps` gave, in another process. */
  static fromSteps(steps: readonly (readonly [us: number, count: number])[], maxMs: number): Latencies {
    const latencies = new Latencies();
    latencies.#take(steps, maxMs);
    return latencies;
  }

  /** Counts one duration, or several of the same. */
  add(ms: number, count = 1): void {
    const us = bucketUs(Math.max(0, ms * 1_000));
    this.#counts.set(us, (this.#counts.get(us) ?? 0) + count);
    this.#samples += count;
    this.#noteMax(ms);
  }

  /** What is in it: microseconds and how often, ascending. */
  steps(): (readonly [us: number, count: number])[] {
    return [...this.#counts].sort(([a], [b]) => a - b);
  }

  /** The latency that this share of all (0..1) stays at or below, in milliseconds. */
  atMs(share: number): number {
    const rank = Math.max(1, Math.ceil(this.#samples * share));
    let seen = 0;
    for (const [us, count] of this.steps()) {
      seen += count;
      if (seen >= rank) return us / 1_000;
    }
    return Number.NaN;
  }

  spread(): Spread {
    return {
      p50Ms: this.atMs(0.5),
      p95Ms: this.atMs(0.95),
      p99Ms: this.atMs(0.99),
      maxMs: this.#maxUs / 1_000,
      samples: this.#samples,
    };
  }

  /** In a report's JSON stands the spread. */
  toJSON(): Spread {
    return this.spread();
  }

  #take(steps: readonly (readonly [us: number, count: number])[], maxMs: number): void {
    for (const [us, count] of steps) {
      this.#counts.set(us, (this.#counts.get(us) ?? 0) + count);
      this.#samples += count;
    }
    this.#noteMax(maxMs);
  }

  #noteMax(ms: number): void {
    if (!(this.#maxUs >= ms * 1_000)) this.#maxUs = ms * 1_000;
  }
}

function bucketUs(us: number): number {
  const step = 2 ** Math.max(0, Math.floor(Math.log2(Math.max(1, us))) - 6);
  return Math.floor(us / step) * step;
}

/** The middle value; of an even number, the lower of the two. NaN of none. */
export function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor((values.length - 1) / 2)] ?? Number.NaN;
}

/** Each figure's own median over several spreads; the samples are summed. */
export function medianSpread(spreads: readonly Spread[]): Spread {
  const of = (pick: (one: Spread) => number) => median(spreads.map(pick));
  return {
    p50Ms: of((one) => one.p50Ms),
    p95Ms: of((one) => one.p95Ms),
    p99Ms: of((one) => one.p99Ms),
    maxMs: of((one) => one.maxMs),
    samples: spreads.reduce((sum, one) => sum + one.samples, 0),
  };
}
