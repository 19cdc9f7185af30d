// What stands for a channel between two threads: messages arrive in their order, each a little later than it was sent.

import type { Channel } from "../../src/base/thread.ts";
import type { Dice } from "./dice.ts";
import type { VirtualTime } from "./virtual_time.ts";

type Receive = ((event: { data: string }) => void) | null;

class End implements Channel {
  onmessage: unknown = null;
  #lastMs = 0;
  readonly #to: () => End;
  readonly #time: VirtualTime;
  readonly #delayMs: () => number;

  constructor(to: () => End, time: VirtualTime, delayMs: () => number) {
    this.#to = to;
    this.#time = time;
    this.#delayMs = delayMs;
  }

  postMessage(data: unknown): void {
    this.#lastMs = Math.max(this.#lastMs, this.#time.nowMs + this.#delayMs());
    this.#time.at(this.#lastMs, () => (this.#to().onmessage as Receive)?.({ data: data as string }));
  }
}

/** The two ends. `delayMsMax`: how long a message takes at most; most take next to nothing. */
export function wire(time: VirtualTime, dice: Dice, delayMsMax: number): readonly [Channel, Channel] {
  const delayMs = () => (dice.chance(0.7) ? 0 : dice.random() * delayMsMax);
  const one: End = new End(() => other, time, delayMs);
  const other: End = new End(() => one, time, delayMs);
  return [one, other];
}
