// Names the sealed runs that may hold a hash: a fingerprint table in memory, 4 bytes a slot, about 8 bytes an id.
// Without it every ingest would seek in every run of the last 24 hours. Slices are filled one after the other and
// dropped whole when their last run is out of the window: nothing is ever deleted or rehashed in place.

const SLOTS_MIN = 1 << 14;
const SLOTS_MAX = 1 << 21;
/** Linear probing: above two thirds full the runs of occupied slots grow fast. */
const LOAD_MAX = 0.66;
const RUNS_MAX = 0xffff;

type Slice = {
  /** 0 is empty; else a 16-bit fingerprint above a 16-bit position in `runs`, from 1. */
  readonly slots: Uint32Array;
  readonly runs: number[];
  used: number;
};

export class RunDirectory {
  #slices: Slice[] = [];

  /** Remembers that `run` holds `hash` (53 bits). Runs come in rising order. */
  add(hash: number, run: number): void {
    const slice = this.#sliceFor(run);
    const mask = slice.slots.length - 1;
    let at = (hash % 0x1_0000_0000) & mask;
    while (slice.slots[at] !== 0) at = (at + 1) & mask;
    slice.slots[at] = (fingerprint(hash) << 16) | slice.runs.length;
    slice.used++;
  }

  /** The runs that may hold `hash`, newest slice first; a false one costs a seek and happens once in 30 000. */
  find(hash: number): readonly number[] {
    let found: number[] | null = null;
    const print = fingerprint(hash);
    for (let i = this.#slices.length - 1; i >= 0; i--) {
      const slice = this.#slices[i];
      if (!slice) continue;
      const mask = slice.slots.length - 1;
      for (let at = (hash % 0x1_0000_0000) & mask; slice.slots[at] !== 0; at = (at + 1) & mask) {
        const slot = slice.slots[at] ?? 0;
        if (slot >>> 16 !== print) continue;
        found ??= [];
        const run = slice.runs[(slot & RUNS_MAX) - 1];
        if (run !== undefined && !found.includes(run)) found.push(run);
      }
    }
    return found ?? none;
  }

  /** Forgets the slices whose last run is at or before `run`. */
  dropUpTo(run: number): void {
    this.#slices = this.#slices.filter((slice) => (slice.runs.at(-1) ?? 0) > run);
  }

  #sliceFor(run: number): Slice {
    let slice = this.#slices.at(-1);
    const full = !slice || slice.used >= slice.slots.length * LOAD_MAX;
    if (!slice || full || (slice.runs.length === RUNS_MAX && slice.runs.at(-1) !== run)) {
      const slots = Math.min(SLOTS_MAX, Math.max(SLOTS_MIN, (slice?.slots.length ?? 0) * 4));
      slice = { slots: new Uint32Array(slots), runs: [], used: 0 };
      this.#slices.push(slice);
    }
    if (slice.runs.at(-1) !== run) slice.runs.push(run);
    return slice;
  }
}

const none: readonly number[] = [];

function fingerprint(hash: number): number {
  return Math.floor(hash / 0x1_0000_0000) & 0xffff;
}
