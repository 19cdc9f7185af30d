// Up to where consumers have leased, per organization and type filter: below it, whatever can be leased came back and
// is in `leased` as free. So a lease goes on where the last one ended, however many are out. Memory only: forgotten, a
// lease walks from the start once, past what is out.

/** Filters remembered over all organizations; beyond it the oldest is forgotten. */
const FRONTIERS_MAX = 10_000;

export class Frontiers {
  readonly #low = new Map<string, number>();

  /** Events above this are still to be looked at. */
  low(org: number, type: string | null): number {
    return this.#low.get(key(org, type)) ?? -1;
  }

  moveTo(org: number, type: string | null, event: number): void {
    const name = key(org, type);
    this.#low.delete(name);
    this.#low.set(name, event);
    if (this.#low.size <= FRONTIERS_MAX) return;
    for (const oldest of this.#low.keys()) {
      this.#low.delete(oldest);
      return;
    }
  }

  /** An event that was over waits again. Rare: all filters of all organizations are looked at. */
  lower(org: number, event: number): void {
    for (const [name, low] of this.#low) {
      if (name.startsWith(`${org} `) && low >= event) this.#low.set(name, event - 1);
    }
  }

  forgetAll(): void {
    this.#low.clear();
  }
}

function key(org: number, type: string | null): string {
  return `${org} ${type ?? "*"}`;
}
