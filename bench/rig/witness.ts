// Somebody who needs nothing of what is measured, and tells what the machine itself did meanwhile: how late a sleep of 5 ms
// came to its end, how long an fdatasync took on the same disk, how much of the processor other guests of the host took.
// A pause that the witness had too is the machine's.

import { readFileSync } from "node:fs";
import { fdatasyncs } from "./machine.ts";

const SLEEP_MS = 5;
/** Every so many sleeps: ten a second, of the hundreds or thousands that the server makes. */
const SLEEPS_AN_FDATASYNC = 20;

export type Testimony = {
  /** The latest end of a sleep. */
  readonly lateMs: number;
  readonly fdatasyncMs: number;
  /** Share of all processors' time that the host gave to others. */
  readonly stolen: number;
};

export class Witness {
  #lateMs = 0;
  #fdatasyncMs = 0;
  #jiffies = jiffies();
  #isStopped = false;
  readonly #watching: Promise<void>;

  constructor() {
    this.#watching = this.#watch();
  }

  async #watch(): Promise<void> {
    for (let sleeps = 1; !this.#isStopped; sleeps++) {
      const startMs = performance.now();
      await Bun.sleep(SLEEP_MS);
      this.#lateMs = Math.max(this.#lateMs, performance.now() - startMs - SLEEP_MS);
      if (sleeps % SLEEPS_AN_FDATASYNC === 0)
        this.#fdatasyncMs = Math.max(this.#fdatasyncMs, fdatasyncs(1).atMs(1));
    }
  }

  /** What it saw since it was asked last. */
  tell(): Testimony {
    const now = jiffies();
    const { stolen, all } = this.#jiffies;
    const testimony = {
      lateMs: this.#lateMs,
      fdatasyncMs: this.#fdatasyncMs,
      stolen: (now.stolen - stolen) / Math.max(1, now.all - all),
    };
    this.#jiffies = now;
    this.#lateMs = 0;
    this.#fdatasyncMs = 0;
    return testimony;
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#watching;
  }
}

/** Of all processors since the machine's start: user, nice, system, idle, iowait, irq, softirq, steal. */
function jiffies(): { stolen: number; all: number } {
  const [, ...times] = (readFileSync("/proc/stat", "utf8").split("\n")[0] ?? "")
    .trim()
    .split(/\s+/)
    .map(Number);
  const counted = times.slice(0, 8);
  return { stolen: counted[7] ?? 0, all: counted.reduce((sum, one) => sum + one, 0) };
}
