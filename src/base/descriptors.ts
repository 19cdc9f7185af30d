// File descriptors: how many this process may have, and whether it runs out of them. Every connection is one, also one
// that says nothing. Surprise: it is asked by opening something: a new descriptor gets the lowest number that is free,
// so this costs 5 µs whatever is open, where counting ten thousand in /proc takes 5 ms.

import { closeSync, openSync, readFileSync } from "node:fs";

/** Below the limit by this share, and by this many, connections are let go of. */
const SPARE_SHARE = 1 / 16;
const SPARE_MIN = 32;
/**
 * A burst of new connections, each with its request, comes within a millisecond, so a number of answers needs a new look:
 * this many, or a share of what was free. (16 whatever was free took 4 % of the main thread's time, by its profile.)
 */
const LOOK_AGAIN_ANSWERS_MIN = 16;
const LOOK_AGAIN_SHARE = 1 / 4;
const LOOK_AGAIN_MS = 10;

/** The most that this process may have open; Infinity where it is not told. Bun raises the soft limit to the hard one. */
export function descriptorsMax(): number {
  try {
    const told = /^Max open files +(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1];
    return told === undefined ? Number.POSITIVE_INFINITY : Number(told);
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}

/** Whether one more can be had at all. */
export function hasFreeDescriptor(): boolean {
  return lowestFree() !== null;
}

/** Tells, for each answer, whether few are left. One for a process: what it found is good for a moment. */
export class Descriptors {
  readonly #fewFrom: number;
  #isFew = false;
  #answers = 0;
  #lookAgainAnswers = LOOK_AGAIN_ANSWERS_MIN;
  #lookedMs = Number.NEGATIVE_INFINITY;

  constructor(max = descriptorsMax()) {
    this.#fewFrom = Math.min(max - SPARE_MIN, Math.ceil(max * (1 - SPARE_SHARE)));
  }

  /** `nowMs` by `performance.now()`. */
  areFew(nowMs: number): boolean {
    this.#answers++;
    if (this.#answers < this.#lookAgainAnswers && nowMs - this.#lookedMs < LOOK_AGAIN_MS) return this.#isFew;
    this.#answers = 0;
    this.#lookedMs = nowMs;
    const free = lowestFree();
    const room = free === null ? 0 : this.#fewFrom - free;
    this.#isFew = room <= 0;
    this.#lookAgainAnswers = Math.max(LOOK_AGAIN_ANSWERS_MIN, room * LOOK_AGAIN_SHARE);
    return this.#isFew;
  }
}

/** The number that the next one would get; null when there is none. */
function lowestFree(): number | null {
  try {
    const fd = openSync("/dev/null", "r");
    closeSync(fd);
    return fd;
  } catch (error) {
    // EMFILE: of this process. ENFILE: of the whole machine. Anything else says nothing about descriptors.
    const code = error instanceof Error && "code" in error ? error.code : null;
    return code === "EMFILE" || code === "ENFILE" ? null : 0;
  }
}
