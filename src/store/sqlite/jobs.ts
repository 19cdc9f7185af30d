// Long writes that run behind the answers: cancelling, ageing, replaying. Each is a loop of short ops; a step that is
// refused (full queue, full disk) is tried again, and what a stop interrupts goes on after the next start.

import type { Written } from "../store.ts";
import type { RareOp } from "./op.ts";

const AGAIN_MS = 1_000;
/** A caller waits for the end of a short job, so that he reads his own write; a long one goes on without him. */
const PATIENCE_MS = 500;

export class Jobs {
  readonly #write: (op: RareOp) => Promise<Written<unknown>>;
  readonly #running = new Map<string, Promise<void>>();
  #stopped = false;
  readonly #pauses = new Set<() => void>();

  constructor(write: (op: RareOp) => Promise<Written<unknown>>) {
    this.#write = write;
  }

  /**
   * Repeats a step until it gives no next op. `name` is what the job is about: while one runs, another of the same name
   * follows it. Resolves when the job is done, or after half a second.
   */
  async run<T>(name: string, first: RareOp, next: (result: T) => RareOp | null): Promise<void> {
    const before = this.#running.get(name) ?? Promise.resolve();
    const steps = () => this.#steps(first, next);
    const job = before.then(steps, steps);
    this.#running.set(name, job);
    const forget = () => {
      if (this.#running.get(name) === job) this.#running.delete(name);
    };
    job.then(forget, forget); // a defect is the caller's to tell; the next start takes the job up again
    await Promise.race([job, Bun.sleep(PATIENCE_MS)]);
  }

  /** Resolves when no step is under way. */
  async stop(): Promise<void> {
    this.#stopped = true;
    for (const wake of this.#pauses) wake();
    await Promise.allSettled(this.#running.values());
  }

  async #steps<T>(first: RareOp, next: (result: T) => RareOp | null): Promise<void> {
    let op: RareOp | null = first;
    while (op !== null && !this.#stopped) {
      const written: Written<unknown> = await this.#write(op);
      if (written.kind === "done") op = next(written.value as T);
      else await this.#pause();
    }
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        clearTimeout(timer);
        this.#pauses.delete(wake);
        resolve();
      };
      const timer = setTimeout(wake, AGAIN_MS);
      this.#pauses.add(wake);
    });
  }
}
