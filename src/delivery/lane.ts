// One endpoint's lane: what waits for it, in the order of its due times, and how much may be in flight. Memory
// holds only the unsealed tail and one batch from disk; the rest waits in the due index, however long the backlog.

import { Heap } from "../base/heap.ts";
import type { DueReads, Target } from "../store/sqlite/read_due.ts";

/** A new or failing endpoint gets few attempts at once, a healthy one up to this many (32k/s at 200, 59k/s at 64). */
const WINDOW_MAX = 32;
const WINDOW_START = 4;
/** Deliveries read from disk at once. */
const BATCH = 128;

type Held = { readonly event: number; readonly dueAtMs: number };

export class Lane {
  readonly endpoint: number;
  /** When the dispatcher will look at this lane at the latest; it sets this. */
  alarmAtMs = Number.POSITIVE_INFINITY;
  readonly #reads: DueReads;
  readonly #waiting = new Heap<Held>(
    (a, b) => a.dueAtMs < b.dueAtMs || (a.dueAtMs === b.dueAtMs && a.event < b.event),
  );
  readonly #held = new Set<number>();
  /** Taken and not settled on disk yet: a read from disk must not hand them out again. */
  readonly #taken = new Set<number>();
  /** Not after the earliest due time of what waits on disk only; null when nothing does. */
  #diskDueMs: number | null = null;
  #window = WINDOW_START;
  #sending = 0;
  #target: Target | null;

  constructor(endpoint: number, reads: DueReads) {
    this.endpoint = endpoint;
    this.#reads = reads;
    this.#target = reads.target(endpoint);
  }

  get target(): Target | null {
    return this.#target;
  }

  get open(): boolean {
    return this.#target?.open ?? false;
  }

  get hasRoom(): boolean {
    return this.open && this.#sending < this.#window;
  }

  /** A waiting delivery of an unsealed event. A closed lane holds nothing: it reads all when it is opened. */
  hold(event: number, dueAtMs: number): void {
    if (!this.open || this.#held.has(event) || this.#taken.has(event)) return;
    this.#held.add(event);
    this.#waiting.push({ event, dueAtMs });
  }

  /** A waiting delivery of a sealed event: it stands in the due index. */
  waitsOnDisk(dueAtMs: number): void {
    this.#diskDueMs = Math.min(this.#diskDueMs ?? Number.POSITIVE_INFINITY, dueAtMs);
  }

  /** Events up to `sealed` stand in the due index now: memory lets go of them. */
  seal(sealed: number): void {
    if (this.#waiting.size === 0) return;
    for (const { event, dueAtMs } of this.#waiting.reject((held) => held.event > sealed)) {
      this.#held.delete(event);
      this.waitsOnDisk(dueAtMs);
    }
  }

  /** Reads again where to send, and, when the lane has just opened, what waits. */
  refresh(sealed: number): void {
    const before = this.#target;
    this.#target = this.#reads.target(this.endpoint);
    if (!this.open) {
      for (const { event } of this.#waiting.reject(() => false)) this.#held.delete(event);
      this.#diskDueMs = null;
    } else if (!before?.open) {
      for (const row of this.#reads.unsealed(sealed)) {
        if (row.endpoint === this.endpoint) this.hold(row.event, row.due_at);
      }
      this.lookOnDisk();
    }
    if (before?.url !== this.#target?.url) this.#window = WINDOW_START;
  }

  /** Looks up since when something waits in the due index. */
  lookOnDisk(): void {
    this.#diskDueMs = this.open ? this.#reads.nextDueMs(this.endpoint) : null;
  }

  /** When the next delivery is due, at the earliest; null when none waits. */
  nextDueMs(): number | null {
    if (!this.open) return null;
    const due = Math.min(
      this.#waiting.peek()?.dueAtMs ?? Number.POSITIVE_INFINITY,
      this.#diskDueMs ?? Number.POSITIVE_INFINITY,
    );
    return due === Number.POSITIVE_INFINITY ? null : due;
  }

  /** The event of the delivery that is due the longest, now in flight; null when none is due. */
  take(nowMs: number): number | null {
    if ((this.#diskDueMs ?? nowMs + 1) <= nowMs) this.#readBatch(nowMs);
    const first = this.#waiting.peek();
    if (!first || first.dueAtMs > nowMs) return null;
    this.#waiting.pop();
    this.#held.delete(first.event);
    this.#taken.add(first.event);
    this.#sending++;
    return first.event;
  }

  /** The answer came, or did not: the room is free, the delivery is not settled yet. */
  answered(ok: boolean): void {
    this.#sending--;
    this.#window = ok ? Math.min(WINDOW_MAX, this.#window + 1) : Math.max(1, this.#window >> 1);
  }

  /** Settled on disk, or found not to wait any more. */
  settled(event: number): void {
    this.#taken.delete(event);
  }

  /** Gives back one that was taken and not sent. */
  untake(event: number): void {
    this.#sending--;
    this.#taken.delete(event);
  }

  /** What is due on disk comes before what is in memory only when it is due earlier. */
  #readBatch(nowMs: number): void {
    const first = this.#waiting.peek();
    if (this.#diskDueMs === null || (first && first.dueAtMs <= this.#diskDueMs)) return;
    const limit = BATCH + this.#taken.size + this.#held.size;
    const rows = this.#reads.due(this.endpoint, nowMs, limit);
    for (const row of rows) this.hold(row.event, row.due_at);
    const last = rows.at(-1);
    const more = last !== undefined && rows.length === limit;
    this.#diskDueMs = more ? last.due_at : this.#reads.nextDueAfterMs(this.endpoint, nowMs);
  }
}
