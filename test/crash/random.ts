// Random numbers that a seed repeats. Each part of a run forks its own source by a name, so that how often one part
// draws does not move what another draws.

export class Random {
  readonly #seed: number;
  #state: number;

  constructor(seed: number) {
    this.#seed = seed >>> 0;
    this.#state = this.#seed;
  }

  /** A source of its own, the same for the same name. */
  fork(name: string): Random {
    return new Random(Number(Bun.hash.xxHash64(name, BigInt(this.#seed)) & 0xffff_ffffn));
  }

  /** 0 <= x < 1 (mulberry32). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000;
  }

  /** A whole number, both ends included. */
  int(min: number, max: number): number {
    return min + Math.floor(this.next() * (max - min + 1));
  }

  /** Small ones as often as large ones: 1 to 10 as often as 10 to 100. */
  spread(min: number, max: number): number {
    return Math.round(min * (max / min) ** this.next());
  }

  chance(share: number): boolean {
    return this.next() < share;
  }

  /** One of a list that is not empty. */
  pick<T>(list: readonly T[]): T {
    const one = this.pickAny(list);
    if (one === undefined) throw new Error("nothing to pick from");
    return one;
  }

  pickAny<T>(list: readonly T[]): T | undefined {
    return list[Math.floor(this.next() * list.length)];
  }
}
