// How much may be in flight over all endpoints. An attempt that is answered soon holds a place among the quick
// ones; one that is not answered within 250 ms moves to the slow ones, so that hanging endpoints take no place
// from the others. A slow attempt costs a socket and no processor time.

/** Sending is fastest with 16-64 at once (55-59k/s on one thread; 32k/s at 200, 17k/s at 500). */
const QUICK_MAX = 64;
const SLOW_AFTER_MS = 250;
const SLOW_MAX = 2_000;

/** One attempt in flight. */
export type Slot = { readonly startedMs: number; state: "quick" | "slow" | "over" };

export class SendSlots {
  readonly #onFree: () => void;
  /** In the order of their start, so only the first can be the next to turn slow. */
  readonly #order: Slot[] = [];
  #first = 0;
  #quick = 0;
  #slow = 0;
  #timer: ReturnType<typeof setTimeout> | null = null;

  /** @param onFree called when places became free by time alone */
  constructor(onFree: () => void) {
    this.#onFree = onFree;
  }

  get inFlight(): number {
    return this.#quick + this.#slow;
  }

  /** Whether one more quick attempt may start. When not, `onFree` will be called once that changes by time. */
  freeQuick(nowMs: number): boolean {
    if (this.#quick < QUICK_MAX) return true;
    this.#demote(nowMs);
    if (this.#quick < QUICK_MAX) return true;
    this.#setTimer(nowMs);
    return false;
  }

  /** Whether one more attempt to a slow endpoint may start. Those that turn slow on their way may go beyond the limit. */
  get freeSlow(): boolean {
    return this.#slow < SLOW_MAX;
  }

  take(nowMs: number, state: "quick" | "slow"): Slot {
    const slot: Slot = { startedMs: nowMs, state };
    if (state === "slow") this.#slow++;
    else {
      this.#order.push(slot);
      this.#quick++;
    }
    return slot;
  }

  release(slot: Slot): void {
    if (slot.state === "quick") this.#quick--;
    else if (slot.state === "slow") this.#slow--;
    slot.state = "over";
    this.#forgetPassed();
  }

  stop(): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
  }

  #demote(nowMs: number): void {
    for (let slot = this.#order[this.#first]; slot; slot = this.#order[this.#first]) {
      if (slot.state === "quick") {
        if (nowMs - slot.startedMs < SLOW_AFTER_MS) return;
        slot.state = "slow";
        this.#quick--;
        this.#slow++;
      }
      this.#first++;
    }
    this.#forgetPassed();
  }

  #forgetPassed(): void {
    while (this.#order[this.#first] && this.#order[this.#first]?.state !== "quick") this.#first++;
    if (this.#first < 1_024 && this.#first < this.#order.length) return;
    this.#order.splice(0, this.#first);
    this.#first = 0;
  }

  #setTimer(nowMs: number): void {
    if (this.#timer) return;
    const oldest = this.#order[this.#first]?.startedMs ?? nowMs;
    this.#timer = setTimeout(
      () => {
        this.#timer = null;
        this.#onFree();
      },
      Math.max(1, oldest + SLOW_AFTER_MS - nowMs),
    );
  }
}
