// Who may send how much in a minute: a sliding window per organization, in memory. Surprise: it knows each accepted
// request of the last minute, not a level that drains. A token bucket of the same size lets twice the limit through
// in one minute (a full bucket, then its refill); a fixed minute does so across its border. Both were rejected.
//
// Times are monotonic milliseconds (`performance.now()`). A limit of up to 1 024 is exact to the millisecond; above
// that requests are summed in slots of 60 ms, each counted from its start: up to 60 ms lenient, never stricter.

import ipaddr from "ipaddr.js";
import type { LRUCache } from "lru-cache";
import { assert } from "../base/assert.ts";
import { lru } from "../base/lru.ts";

const WINDOW_MS = 60_000;
const SLOT_MS = 60;
const ENTRIES_MAX = 1_024;
/** Seven times 60 000 / 7 adds up to a few billionths short of a minute: nobody must be refused for that. */
const ROUNDING_MS = 0.001;

const ORGANIZATIONS_MAX = 100_000;
const ADDRESSES_MAX = 10_000;
const KEYS_PER_ADDRESS_PER_MINUTE = 60;

/** How a request fared. */
export type Allowance = {
  readonly allowed: boolean;
  /** Events per minute. */
  readonly limit: number;
  /** What is left of it now, this request counted. */
  readonly remaining: number;
  /** Whole seconds until all of it is there again, if nothing more is sent; 0 when it is. */
  readonly resetSeconds: number;
  /** Whole seconds until this request would fit, if nothing more is sent: at least 1; 0 when it was allowed. */
  readonly retryAfterSeconds: number;
  /** It asks for more than a whole minute's limit: waiting does not help, splitting does. */
  readonly neverFits: boolean;
};

/** What was accepted within the minute: a ring of pairs (time in ms, count), the oldest at `head`; 2^n numbers long. */
type Window = { ring: Float64Array; head: number; length: number; used: number };

/** A sliding-window limit for each key of many. Holds at most `keysMax` windows of at most 16 KB, the idle go first. */
export class Limiter<Key extends string | number> {
  #windows: LRUCache<Key, Window>;
  #windowMs: number;

  /**
   * @param graceMs shortens the window. Exact counting sees a client's jitter: one that sends each 600 ms, and
   *   whose first request is 5 ms late on the network, has 101 arrivals within 60 s. 0 is exact.
   */
  constructor({ keysMax = ORGANIZATIONS_MAX, graceMs = 0 }: { keysMax?: number; graceMs?: number } = {}) {
    this.#windows = lru(keysMax);
    this.#windowMs = WINDOW_MS - graceMs;
  }

  /** Windows held, for a gauge. */
  get size(): number {
    return this.#windows.size;
  }

  /**
   * Counts a request of `n` (a batch of n is n) when it fits in the last minute, and nothing when it does not.
   * `n` = 0 only reads. A changed `limit` counts at once, with what was sent before.
   */
  take(key: Key, limit: number, n: number, nowMs: number): Allowance {
    assert(Number.isInteger(n) && n >= 0, "a request counts a whole number of events");
    const window = this.#windows.get(key);
    if (window !== undefined) forget(window, nowMs, this.#windowMs);
    const used = window?.used ?? 0;
    if (used + n > limit) return this.#refusal(window, limit, n, nowMs);
    if (n > 0) record(window ?? this.#open(key, nowMs), n, limit, nowMs);
    return {
      allowed: true,
      limit,
      remaining: limit - used - n,
      resetSeconds: n > 0 ? Math.ceil(this.#windowMs / 1_000) : this.#resetSeconds(window, nowMs),
      retryAfterSeconds: 0,
      neverFits: false,
    };
  }

  #refusal(window: Window | undefined, limit: number, n: number, nowMs: number): Allowance {
    const neverFits = n > limit;
    const fitsAtMs =
      neverFits || window === undefined ? nowMs + WINDOW_MS : this.#fitsAtMs(window, limit - n);
    return {
      allowed: false,
      limit,
      remaining: Math.max(0, limit - (window?.used ?? 0)),
      resetSeconds: this.#resetSeconds(window, nowMs),
      retryAfterSeconds: Math.max(1, Math.ceil((fitsAtMs - nowMs) / 1_000)),
      neverFits,
    };
  }

  /** When at most `usedMax` will be left of what was sent. */
  #fitsAtMs(window: Window, usedMax: number): number {
    let left = window.used;
    let i = 0;
    for (; left > usedMax; i++) left -= countAt(window, i);
    return timeAt(window, i - 1) + this.#windowMs;
  }

  #resetSeconds(window: Window | undefined, nowMs: number): number {
    if (window === undefined || window.length === 0) return 0;
    return Math.ceil((timeAt(window, window.length - 1) + this.#windowMs - nowMs) / 1_000);
  }

  /** Each new window takes two idle ones away, so that memory falls again without a timer. */
  #open(key: Key, nowMs: number): Window {
    for (let i = 0; i < 2; i++) {
      const oldestKey = this.#windows.rkeys().next().value;
      const oldest = oldestKey === undefined ? undefined : this.#windows.peek(oldestKey);
      if (oldestKey === undefined || oldest === undefined) break;
      forget(oldest, nowMs, this.#windowMs);
      if (oldest.length > 0) break;
      this.#windows.delete(oldestKey);
    }
    const window = { ring: new Float64Array(8), head: 0, length: 0, used: 0 };
    this.#windows.set(key, window);
    return window;
  }
}

/**
 * A limit on each client address, for calls that anyone may make. IPv6 clients own a /64, so it counts as one.
 * `take` is `Limiter.take` with a count of 1.
 */
export function createAddressLimiter({
  perMinute = KEYS_PER_ADDRESS_PER_MINUTE,
  keysMax = ADDRESSES_MAX,
} = {}) {
  const limiter = new Limiter<string>({ keysMax });
  return {
    take: (address: string, nowMs: number): Allowance =>
      limiter.take(addressGroup(address), perMinute, 1, nowMs),
  };
}

/** The client behind an address: an IPv4 address (also from its IPv6-mapped form), or an IPv6 network of 64 bits. */
export function addressGroup(address: string): string {
  const text = address.split("%")[0] ?? "";
  if (!ipaddr.isValid(text)) return "unknown";
  const parsed = ipaddr.process(text);
  if (parsed instanceof ipaddr.IPv4) return parsed.toString();
  return `${parsed.parts
    .slice(0, 4)
    .map((part) => part.toString(16))
    .join(":")}::/64`;
}

/** Drops what is a minute old. What lies in the future (the clock went back) is moved to now: 60 s at the most. */
function forget(window: Window, nowMs: number, windowMs: number): void {
  for (let i = window.length - 1; i >= 0 && timeAt(window, i) > nowMs; i--)
    setTime(window, i, Math.floor(nowMs));
  const oldestMs = nowMs + ROUNDING_MS - windowMs;
  while (window.length > 0 && timeAt(window, 0) <= oldestMs) {
    window.used -= countAt(window, 0);
    window.head++;
    window.length--;
  }
}

function record(window: Window, n: number, limit: number, nowMs: number): void {
  const quantumMs = limit <= ENTRIES_MAX ? 1 : SLOT_MS;
  append(window, n, Math.floor(nowMs / quantumMs) * quantumMs);
  window.used += n;
}

/** Adds to the latest entry when it is not older than `timeMs`. */
function append(window: Window, n: number, timeMs: number): void {
  if (window.length > 0 && timeAt(window, window.length - 1) >= timeMs) {
    const at = offset(window, window.length - 1) + 1;
    window.ring[at] = (window.ring[at] ?? 0) + n;
    return;
  }
  if (window.length === window.ring.length / 2) resize(window);
  const at = offset(window, window.length++);
  window.ring[at] = timeMs;
  window.ring[at + 1] = n;
}

/**
 * Doubles the ring, up to 1 024 entries. A full one of that size can only be a mixture of milliseconds and slots,
 * after the limit was raised past 1 024: all of it becomes slots, and a minute has at most 1 001 of them.
 */
function resize(window: Window): void {
  const old = { ...window };
  const slotMs = window.length < ENTRIES_MAX ? 1 : SLOT_MS;
  window.ring = new Float64Array(Math.min(window.ring.length * 2, ENTRIES_MAX * 2));
  window.head = 0;
  window.length = 0;
  for (let i = 0; i < old.length; i++) {
    append(window, countAt(old, i), Math.floor(timeAt(old, i) / slotMs) * slotMs);
  }
  assert(window.length < ENTRIES_MAX, "a minute fits in the ring");
}

function offset(window: Window, i: number): number {
  return ((window.head + i) * 2) & (window.ring.length - 1);
}

function timeAt(window: Window, i: number): number {
  return window.ring[offset(window, i)] ?? 0;
}

function countAt(window: Window, i: number): number {
  return window.ring[offset(window, i) + 1] ?? 0;
}

function setTime(window: Window, i: number, timeMs: number): void {
  window.ring[offset(window, i)] = timeMs;
}
