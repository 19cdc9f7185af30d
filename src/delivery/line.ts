// A part of what waits for an endpoint, in the order of due_at and event: a heap of what is in memory, and where the
// rest begins on disk. A lane has two: what stands by the age of its event, and what waits for a time (due.ts).

import { Heap } from "../base/heap.ts";
import type { DueReads, Waiting } from "../store/sqlite/read_due.ts";

/** Deliveries read from disk at once. */
const BATCH = 128;

/** The keys of a line: above `above`, up to `upTo`, of which those up to now are due. */
export type LineRange = { readonly above: number; readonly upTo: number };

export const AGED: LineRange = { above: -Number.MAX_SAFE_INTEGER, upTo: -1 };
export const TIMED: LineRange = { above: 0, upTo: Number.MAX_SAFE_INTEGER };

export class Line {
  readonly #endpoint: number;
  readonly #reads: DueReads;
  readonly #range: LineRange;
  /** An entry that this denies is stale: it was taken, or has another due_at by now. */
  readonly #isHeld: (waiting: Waiting) => boolean;
  readonly #heap = new Heap<Waiting>(isBefore);
  /** Nothing that waits on disk only is before this; null when nothing does. */
  #disk: Waiting | null = null;

  constructor(endpoint: number, reads: DueReads, range: LineRange, isHeld: (waiting: Waiting) => boolean) {
    this.#endpoint = endpoint;
    this.#reads = reads;
    this.#range = range;
    this.#isHeld = isHeld;
  }

  push(waiting: Waiting): void {
    this.#heap.push(waiting);
  }

  /** Something that stands in the due index. */
  waitsOnDisk(waiting: Waiting): void {
    if (this.#disk === null || isBefore(waiting, this.#disk)) this.#disk = waiting;
  }

  /** Looks up what is the first in the due index. */
  lookOnDisk(): void {
    const first = this.#reads.firstDueAfter(this.#endpoint, this.#range.above);
    this.#disk = first !== null && first.due_at <= this.#range.upTo ? first : null;
  }

  /** Memory lets go of events up to `sealed`, which stand in the due index now; returns them. */
  seal(sealed: number): readonly Waiting[] {
    if (this.#heap.size === 0) return [];
    const gone = this.#heap.reject((waiting) => waiting.event > sealed).filter(this.#isHeld);
    for (const waiting of gone) this.waitsOnDisk(waiting);
    return gone;
  }

  clear(): void {
    this.#heap.reject(() => false);
    this.#disk = null;
  }

  /** Nothing of the line is before this. */
  first(): Waiting | null {
    const held = this.#firstHeld();
    if (held === null || this.#disk === null) return held ?? this.#disk;
    return isBefore(this.#disk, held) ? this.#disk : held;
  }

  /** The first that is due, in memory now; `hold` takes what is read from disk meanwhile. */
  due(nowMs: number, hold: (waiting: Waiting) => void): Waiting | null {
    const upTo = Math.min(nowMs, this.#range.upTo);
    while (this.#disk !== null && this.#disk.due_at <= upTo) {
      const held = this.#firstHeld();
      if (held !== null && isBefore(held, this.#disk)) break;
      this.#readBatch(this.#disk, upTo, hold);
    }
    const first = this.#firstHeld();
    return first !== null && first.due_at <= upTo ? first : null;
  }

  #readBatch(from: Waiting, upTo: number, hold: (waiting: Waiting) => void): void {
    const rows = this.#reads.due(this.#endpoint, from, upTo, BATCH);
    for (const row of rows) hold(row);
    const last = rows.length === BATCH ? rows.at(-1) : undefined;
    const next = last ? { ...last, event: last.event + 1 } : this.#reads.firstDueAfter(this.#endpoint, upTo);
    this.#disk = next !== null && next.due_at <= this.#range.upTo ? next : null;
  }

  #firstHeld(): Waiting | null {
    for (let first = this.#heap.peek(); first !== undefined; first = this.#heap.peek()) {
      if (this.#isHeld(first)) return first;
      this.#heap.pop();
    }
    return null;
  }
}

function isBefore(a: Waiting, b: Waiting): boolean {
  return a.due_at < b.due_at || (a.due_at === b.due_at && a.event < b.event);
}
