// One endpoint's lane: what waits for it, the longest due first, and how much may be in flight. Memory holds only the
// unsealed tail and one batch from disk; the rest waits in the due index, however long the backlog. A lane may send
// when it is open, not paused (breaker, Retry-After) or held (for the retry of an ordered endpoint), within its rate,
// and has room in flight.

import { dueMs } from "../store/sqlite/due.ts";
import type { SettleOp } from "../store/sqlite/op.ts";
import type { DueReads, Target, Waiting } from "../store/sqlite/read_due.ts";
import { afterFailure, HEALTHY, type Health, isBreakerOpen, isHopeless } from "../webhook/breaker.ts";
import { AGED, Line, TIMED } from "./line.ts";

/** A new or failing endpoint gets few attempts at once, a healthy one up to this many (32k/s at 200, 59k/s at 64). */
const WINDOW_MAX = 32;
const WINDOW_START = 4;
/** As far as an endpoint's own max_in_flight may go. */
const WINDOW_MAX_ANY = 256;
/** Answers slower than this on average: the endpoint's attempts take no place from the quick ones. */
const SLOW_MS = 50;
const SLOW_SHARE = 0.2;
/** A timer is late by a millisecond or so: at 100 a second and more, what it lost is caught up, or 1 000 would be 500. */
const RATE_SLACK_MS = 5;
const RATE_SLACK_FROM = 100;

/** What became of an attempt, for the lane. `askedMs`: the pause that a Retry-After asked for. */
export type Answered = { readonly op: SettleOp; readonly askedMs: number };

export class Lane {
  readonly endpoint: number;
  /** When the dispatcher will look at this lane at the latest; it sets this. */
  alarmAtMs = Number.POSITIVE_INFINITY;
  readonly #reads: DueReads;
  /** By the age of the event: not tried yet, or put back. */
  readonly #aged: Line;
  /** Retries, by their time. A line of its own, or a backlog of first attempts would keep them waiting for ever. */
  readonly #timed: Line;
  /** The due_at of what is in memory. */
  readonly #held = new Map<number, number>();
  /** Taken and not settled on disk yet: a read from disk must not hand them out again. */
  readonly #taken = new Set<number>();
  /** Of those, heard of anew: put back into the queue while they were in flight, or only read from disk meanwhile. */
  readonly #again = new Set<number>();
  #window = WINDOW_START;
  #sending = 0;
  #answerMs = 0;
  #target: Target | null;
  #health: Health;
  /** False: what was in flight when it was healed may have written its failure after that. */
  #isHealthOnDisk = true;
  #nextByRateMs = 0;
  /** As it is on disk: only what settles there knows whether the retry that it is for is still wanted. */
  #heldUntilMs = 0;
  /** Since when it can send at all: what waited before is no fault of this process. */
  #openSinceMs: number;

  constructor(endpoint: number, reads: DueReads, nowMs: number) {
    this.endpoint = endpoint;
    this.#reads = reads;
    const isHeld = ({ event, due_at }: Waiting) => this.#held.get(event) === due_at;
    this.#aged = new Line(endpoint, reads, AGED, isHeld);
    this.#timed = new Line(endpoint, reads, TIMED, isHeld);
    this.#target = reads.target(endpoint);
    this.#health = this.#target?.health ?? HEALTHY;
    this.#heldUntilMs = this.#target?.heldUntilMs ?? 0;
    this.#openSinceMs = nowMs;
  }

  get target(): Target | null {
    return this.#target;
  }

  get open(): boolean {
    return this.#target?.open ?? false;
  }

  /** Whether its attempts are to be counted among the slow ones from their start. */
  get isSlow(): boolean {
    return this.#answerMs > SLOW_MS;
  }

  get hasRoom(): boolean {
    if (!this.#target?.open) return false;
    // The next of an ordered endpoint must know on disk what became of the last.
    if (this.#target.ordered) return this.#taken.size === 0;
    if (isBreakerOpen(this.#health)) return this.#sending === 0;
    return this.#sending < Math.min(this.#window, this.#target.maxInFlight ?? WINDOW_MAX);
  }

  /** A waiting delivery of an unsealed event. A closed lane holds nothing: it reads all when it is opened. */
  hold(event: number, dueAt: number): void {
    if (!this.open || this.#held.get(event) === dueAt) return;
    if (this.#taken.has(event)) {
      this.#again.add(event);
      return;
    }
    this.#held.set(event, dueAt);
    this.#line(dueAt).push({ event, due_at: dueAt });
  }

  /** A waiting delivery of a sealed event: it stands in the due index. */
  waitsOnDisk(event: number, dueAt: number): void {
    if (this.open) this.#line(dueAt).waitsOnDisk({ event, due_at: dueAt });
  }

  /** Events up to `sealed` stand in the due index now: memory lets go of them. */
  seal(sealed: number): void {
    for (const line of [this.#aged, this.#timed]) {
      for (const { event } of line.seal(sealed)) this.#held.delete(event);
    }
  }

  /** Reads again where to send and how, and, when the lane has just opened, what waits. */
  refresh(sealed: number, nowMs: number): void {
    this.#renew(sealed, nowMs, false);
  }

  /**
   * All that waits has a new place. It was closed for that, which this may never have heard of: the disk is read when a
   * notice comes, and by then it can be open again.
   */
  reopen(sealed: number, nowMs: number): void {
    this.#renew(sealed, nowMs, true);
  }

  #renew(sealed: number, nowMs: number, isMoved: boolean): void {
    const before = this.#target;
    this.#target = this.#reads.target(this.endpoint);
    this.#heldUntilMs = this.#target?.heldUntilMs ?? 0;
    if (!this.open || isMoved) this.#forget();
    if (this.open && (isMoved || !before?.open)) this.#readAll(sealed, nowMs);
    if (before?.url !== this.#target?.url) this.#window = WINDOW_START;
  }

  #forget(): void {
    this.#aged.clear();
    this.#timed.clear();
    this.#held.clear();
  }

  #readAll(sealed: number, nowMs: number): void {
    this.#openSinceMs = nowMs;
    for (const row of this.#reads.unsealed(sealed)) {
      if (row.endpoint === this.endpoint) this.hold(row.event, row.due_at);
    }
    this.lookOnDisk();
  }

  /** Its failures are forgotten, on disk too. */
  heal(): void {
    this.#health = HEALTHY;
    this.#isHealthOnDisk = this.#taken.size === 0;
    this.#window = WINDOW_START;
  }

  /** Looks up until when it is held. */
  readHold(): void {
    this.#heldUntilMs = this.#reads.heldUntilMs(this.endpoint) ?? 0;
  }

  /** Looks up what is the first to wait in the due index. */
  lookOnDisk(): void {
    if (!this.open) return;
    this.#aged.lookOnDisk();
    this.#timed.lookOnDisk();
  }

  /** When something can be sent next, at the earliest, apart from room; null when nothing waits. */
  nextAtMs(): number | null {
    const first = this.#aged.first() ?? this.#timed.first();
    if (!this.open || first === null) return null;
    return Math.max(first.due_at, this.#gateMs());
  }

  /** For how long something could have been sent by now; 0 when nothing could be. */
  lagMs(nowMs: number): number {
    const gateMs = this.#gateMs();
    if (!this.hasRoom || gateMs > nowMs) return 0;
    const waiting = [this.#aged.first(), this.#timed.first()].filter((first) => first !== null);
    const dueSinceMs = Math.min(nowMs, ...waiting.map((first) => dueMs(first.due_at)));
    return nowMs - Math.min(nowMs, Math.max(dueSinceMs, gateMs, this.#openSinceMs));
  }

  /** The event of the delivery that is due the longest, now in flight; null when none may be sent now. */
  take(nowMs: number): number | null {
    if (!this.hasRoom || this.#gateMs() > nowMs) return null;
    const first = this.#longestDue(nowMs);
    if (first === null) return null;
    this.#held.delete(first.event);
    this.#taken.add(first.event);
    this.#sending++;
    const rate = this.#target?.rateLimitPerSecond ?? null;
    if (rate !== null) {
      const slackMs = rate >= RATE_SLACK_FROM ? RATE_SLACK_MS : 0;
      this.#nextByRateMs = Math.max(this.#nextByRateMs, nowMs - slackMs) + 1000 / rate;
    }
    return first.event;
  }

  /** The answer came, or did not: the room is free, the delivery is not settled yet. Adds what it means for the endpoint. */
  answered({ op, askedMs }: Answered, nowMs: number, random: number): SettleOp {
    this.#sending--;
    this.#answerMs += (op.durationMs - this.#answerMs) * SLOW_SHARE;
    const ok = op.outcome === "delivered";
    this.#window = ok ? Math.min(WINDOW_MAX_ANY, this.#window + 1) : Math.max(1, this.#window >> 1);
    const before = this.#health;
    this.#health = ok ? HEALTHY : afterFailure(before, nowMs, askedMs, random);
    if (ok && before.failures === 0 && before.pausedUntilMs === null && this.#isHealthOnDisk) return op;
    this.#isHealthOnDisk = true;
    const { failures, failingSinceMs, pausedUntilMs } = this.#health;
    const sinceMs = failingSinceMs === null ? null : Math.round(failingSinceMs);
    return { ...op, health: [failures, sinceMs, pausedUntilMs], hopeless: isHopeless(this.#health, nowMs) };
  }

  /** Settled on disk, or found not to wait any more. */
  settled(event: number): void {
    this.#taken.delete(event);
    if (this.#target?.ordered) this.readHold();
    if (!this.#again.delete(event)) return;
    const dueAt = this.#reads.dueAt(event, this.endpoint);
    if (dueAt !== null) this.hold(event, dueAt);
  }

  /** Gives back one that was taken and not sent, or whose attempt was given up. */
  untake(event: number): void {
    this.#sending--;
    // It was not sent, so its turn is the next one's: a thousand acknowledged ones would be a thousand seconds of silence.
    const rate = this.#target?.rateLimitPerSecond ?? null;
    if (rate !== null) this.#nextByRateMs -= 1000 / rate;
    this.settled(event);
  }

  /** Nothing may be sent before. */
  #gateMs(): number {
    const byRate = this.#target?.rateLimitPerSecond ? this.#nextByRateMs : 0;
    return Math.max(this.#health.pausedUntilMs ?? 0, this.#heldUntilMs, byRate);
  }

  #longestDue(nowMs: number): Waiting | null {
    const hold = ({ event, due_at }: Waiting) => this.hold(event, due_at);
    const aged = this.#aged.due(nowMs, hold);
    const timed = this.#timed.due(nowMs, hold);
    if (aged === null || timed === null) return aged ?? timed;
    return dueMs(timed.due_at) < dueMs(aged.due_at) ? timed : aged;
  }

  #line(dueAt: number): Line {
    return dueAt < 0 ? this.#aged : this.#timed;
  }
}
