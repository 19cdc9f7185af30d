// The main thread's half of the writer: a bounded queue, and one string of ops at a time to the thread. While the
// thread commits, what comes in waits here and goes as one string when it has answered: the slower the disk, the
// larger the groups. Nothing is dropped and nothing is answered before the commit.

import { type Channel, listen } from "../../base/thread.ts";
import type { Refused } from "../store.ts";
import { encodeOps, type GroupReply, isFailure, type Op, type OpResult } from "./op.ts";

type Entry = {
  readonly op: Op;
  readonly resolve: (result: OpResult | Refused) => void;
  readonly reject: (error: Error) => void;
};

export class Writer {
  readonly #port: Channel;
  readonly #queuedMax: number;
  readonly #onCommit: (commitMs: number, ops: number) => void;
  #waiting: Entry[] = [];
  #sent: Entry[] = [];
  #scheduled = false;
  #closed: (() => void) | null = null;
  /** Why the last group failed, null while writes work. */
  failure: string | null = null;

  /** @param queuedMax ops waiting or being written, beyond which a new one is refused as overloaded */
  constructor(port: Channel, queuedMax: number, onCommit: (commitMs: number, ops: number) => void) {
    this.#port = port;
    this.#queuedMax = queuedMax;
    this.#onCommit = onCommit;
    listen(port, (text: string) => this.#receive(text));
  }

  /** Ops waiting or being written. */
  get queued(): number {
    return this.#waiting.length + this.#sent.length;
  }

  /**
   * Queues one op. The promise settles after its commit with the op's own result, or tells that nothing was
   * stored; it rejects on a defect of ours.
   */
  write(op: Op): Promise<OpResult | Refused> {
    if (this.queued >= this.#queuedMax || this.#closed) return Promise.resolve(overloaded);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ op, resolve, reject });
      this.#schedule();
    });
  }

  /** Writes what waits, checkpoints and closes the database. New ops are refused from here on. */
  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#closed = resolve;
      if (this.queued === 0) this.#port.postMessage("close");
    });
  }

  /** At the end of this turn of the loop: what other sockets brought in the same turn goes along. */
  #schedule(): void {
    if (this.#scheduled || this.#sent.length > 0) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#send();
    });
  }

  #send(): void {
    if (this.#waiting.length === 0 || this.#sent.length > 0) return;
    this.#sent = this.#waiting;
    this.#waiting = [];
    this.#port.postMessage(encodeOps(this.#sent.map((entry) => entry.op)));
  }

  #receive(text: string): void {
    if (text === "closed") {
      this.#closed?.();
      return;
    }
    const { results, commitMs } = JSON.parse(text) as GroupReply;
    const entries = this.#sent;
    this.#sent = [];
    this.#send();
    this.#onCommit(commitMs, entries.length);
    this.#settle(entries, results);
    if (this.#closed && this.queued === 0) this.#port.postMessage("close");
  }

  #settle(entries: readonly Entry[], results: readonly OpResult[]): void {
    let failure: string | null = null;
    entries.forEach((entry, i) => {
      const result = results[i];
      if (!isFailure(result)) entry.resolve(result);
      else if (result.failed === "defect") entry.reject(new Error(result.reason));
      else {
        failure = result.reason;
        entry.resolve({ kind: "unavailable", reason: result.reason } satisfies Refused);
      }
    });
    this.failure = failure;
  }
}

const overloaded: Refused = { kind: "overloaded" };

/** True when `write` tells that nothing was stored. No op's own result has these words in `kind`. */
export function isRefused(result: OpResult | Refused): result is Refused {
  if (typeof result !== "object" || result === null || !("kind" in result)) return false;
  return result.kind === "overloaded" || result.kind === "unavailable";
}
