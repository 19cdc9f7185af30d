// Receivers that fail, hang and lie, behind what stands for the sender: it keeps the sender's contract (one outcome for
// each attempt, within its timeout, never a rejection), and asks the receiver of the URL how it feels.

import type { Attempt, Sender } from "../../src/delivery/send.ts";
import type { AttemptOutcome } from "../../src/webhook/verdict.ts";
import type { Dice } from "./dice.ts";
import type { VirtualTime } from "./virtual_time.ts";

export const moods = [
  "well", // 200 within some milliseconds
  "slow", // 200 after up to 2 s
  "late", // takes it, and answers after the timeout
  "silent", // drops it, and never answers
  "failing", // 500
  "flaky", // one of the others each time
  "refusing", // no connection
  "moved", // 301
  "gone", // 410
  "busy", // 429 with a Retry-After of seconds
  "down", // 503 with a Retry-After that nobody can mean
  "lying", // 200, and its handler crashes
] as const;
export type Mood = (typeof moods)[number];

type Answer = Pick<AttemptOutcome, "status" | "error" | "retryAfter"> & { readonly afterMs: number };

const ANSWERED = { error: null, retryAfter: null };
const ABSURD = ["99999999999", "Fri, 31 Dec 9999 23:59:59 GMT", "-1", "soon", "0", "86401"] as const;

export class Receivers implements Sender {
  /** Told of each attempt, and of each outcome. */
  onSend: (attempt: Attempt) => void = () => {};
  onOutcome: (attempt: Attempt, outcome: AttemptOutcome) => void = () => {};
  readonly #time: VirtualTime;
  readonly #dice: Dice;
  readonly #moods = new Map<string, Mood>();
  readonly #cancels = new Set<() => void>();

  constructor(time: VirtualTime, dice: Dice) {
    this.#time = time;
    this.#dice = dice;
  }

  feels(url: string, mood: Mood): void {
    this.#moods.set(url, mood);
  }

  healAll(): void {
    for (const url of this.#moods.keys()) this.#moods.set(url, "well");
  }

  send(attempt: Attempt): Promise<AttemptOutcome> {
    this.onSend(attempt);
    const startedAtMs = this.#time.wallMs;
    const startedMs = this.#time.nowMs;
    const answer = this.#answer(this.#moods.get(attempt.url) ?? "well", attempt.timeoutMs);
    return new Promise((resolve) => {
      const end = ({ status, error, retryAfter }: Omit<Answer, "afterMs">) => {
        this.#cancels.delete(cancel);
        const durationMs = this.#time.nowMs - startedMs;
        const outcome = { startedAtMs, durationMs, status, error, retryAfter, responseExcerpt: null };
        this.onOutcome(attempt, outcome);
        resolve(outcome);
      };
      const task = this.#time.after(answer.afterMs, () => end(answer));
      const cancel = () => {
        task.isOff = true;
        end({ status: null, error: { kind: "cancelled", message: "stopped" }, retryAfter: null });
      };
      this.#cancels.add(cancel);
    });
  }

  close(): void {
    for (const cancel of [...this.#cancels]) cancel();
  }

  /** The process is gone: nobody waits for an answer any more. */
  forgetAll(): void {
    this.#cancels.clear();
  }

  #answer(mood: Mood, timeoutMs: number): Answer {
    const afterMs = this.#dice.random() * 20;
    switch (mood) {
      case "well":
      case "lying":
        return { ...ANSWERED, status: this.#dice.of(200, 202, 204, 299), afterMs };
      case "slow":
        return this.#within(timeoutMs, { ...ANSWERED, status: 200, afterMs: this.#dice.random() * 2_000 });
      case "late":
      case "silent":
        return this.#within(timeoutMs, { ...ANSWERED, status: null, afterMs: timeoutMs + 1 });
      case "failing":
        return { ...ANSWERED, status: this.#dice.of(500, 400, 404, 503, 429), afterMs };
      case "flaky":
        return this.#answer(this.#dice.of("well", "failing", "slow", "late", "refusing", "busy"), timeoutMs);
      case "refusing":
        return { status: null, error: refused, retryAfter: null, afterMs: this.#dice.of(0, afterMs) };
      case "moved":
        return { ...ANSWERED, status: 301, afterMs };
      case "gone":
        return { ...ANSWERED, status: 410, afterMs };
      case "busy":
        return { error: null, status: 429, retryAfter: String(this.#dice.whole(1, 600)), afterMs };
      case "down":
        return { error: null, status: 503, retryAfter: this.#dice.of(...ABSURD), afterMs };
    }
  }

  #within(timeoutMs: number, answer: Answer): Answer {
    if (answer.afterMs < timeoutMs) return answer;
    const error = { kind: "timeout", message: "No whole answer in time." } as const;
    return { status: null, error, retryAfter: null, afterMs: timeoutMs };
  }
}

const refused = { kind: "connection_refused", message: "Nobody listens." } as const;
