// The main thread's half of the writer: a bounded queue, and strings of ops to the thread, which takes all that has
// come in by the time it gets to them as one transaction. Nothing is dropped and nothing is answered before the
// commit. Surprise: strings are sent before the answer to the last one is there. Waiting for it made the threads
// take turns (64 clients: 3 ms of HTTP, then 1.5 ms of writing, 13k/s); overlapped they do both at once.

import { type Channel, listen } from "../../base/thread.ts";
import type { Refused } from "../store.ts";
import type { LogCopier } from "./log_copier.ts";
import { LARGE_LOG, LOG_COPIED } from "./log_words.ts";
import { encodeOps, isFailure, type Op, type OpResult, type ToMain } from "./op.ts";

/**
 * A string costs 5-10 us to send and to take, so not one per op (32: 65 us of processor time a request; 8: 86; 1: 92).
 * Nor one whenever the writer has nothing to do, known by a number that both threads share: 0.83 of the rate at 64 clients.
 */
const SEND_OPS = 32;
/**
 * Of payloads that wait or are being written, beyond which events are refused as overloaded, however few they are:
 * 10 000 of the largest would be 2.6 GB, and each is held several times over on its way.
 */
const QUEUED_CHARACTERS_MAX = 64 * 1024 * 1024;

type Entry = {
  readonly op: Op;
  readonly resolve: (result: OpResult | Refused) => void;
  readonly reject: (error: Error) => void;
};

export class Writer {
  readonly #port: Channel;
  readonly #queuedMax: number;
  readonly #copier: LogCopier;
  #waiting: Entry[] = [];
  /** In the order sent, which is the order of the answers. */
  readonly #sent: Entry[][] = [];
  #queued = 0;
  #queuedCharacters = 0;
  #scheduled = false;
  #closed: (() => void) | null = null;
  /** Told the duration of each transaction. */
  onCommit: (commitMs: number) => void = () => {};
  /** Told which organizations' consumers have something to read besides the events that were stored. */
  onReadable: (org: number) => void = () => {};
  /** Told why writes fail when they begin to, and null when they work again. */
  onFailure: (reason: string | null) => void = () => {};
  /** Why the last group failed, null while writes work. */
  failure: string | null = null;

  /**
   * @param queuedMax ops waiting or being written, beyond which a new one is refused as overloaded
   * @param copier what the writer leaves to it: a log that has grown long
   */
  constructor(port: Channel, queuedMax: number, copier: LogCopier) {
    this.#port = port;
    this.#queuedMax = queuedMax;
    this.#copier = copier;
    listen(port, (text: string) => this.#receive(text));
  }

  /** Ops waiting or being written. */
  get queued(): number {
    return this.#queued;
  }

  /** Whether so many ops would be taken now. */
  hasRoom(ops: number): boolean {
    if (this.#closed || this.#queued + ops > this.#queuedMax) return false;
    return this.#queuedCharacters < QUEUED_CHARACTERS_MAX;
  }

  /**
   * Queues one op. The promise settles after its commit with the op's own result, or tells that nothing was
   * stored; it rejects on a defect of ours.
   */
  write(op: Op): Promise<OpResult | Refused> {
    if (!this.hasRoom(1)) return Promise.resolve(overloaded);
    const result = this.#push(op);
    if (this.#sent.length === 0 || this.#waiting.length >= SEND_OPS) this.#send();
    else this.#sendSoon();
    return result;
  }

  /** Queues ops that are to be in one transaction, in their order. All are refused, or none for want of room. */
  writeAll(ops: readonly Op[]): Promise<readonly (OpResult | Refused)[] | Refused> {
    if (!this.hasRoom(ops.length)) return Promise.resolve(overloaded);
    this.#send(); // what waits goes before, in a string of its own
    const results = ops.map((op) => this.#push(op));
    this.#send();
    return Promise.all(results);
  }

  /** Waits for what is queued, checkpoints and closes the database. New ops are refused from here on. */
  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#closed = resolve;
      if (this.queued === 0) void this.#finish();
    });
  }

  /** The last checkpoint is the writer's: no other thread may be at it. */
  async #finish(): Promise<void> {
    await this.#copier.stop();
    this.#port.postMessage("close");
  }

  async #copyLog(): Promise<void> {
    await this.#copier.copy();
    if (!this.#closed) this.#port.postMessage(LOG_COPIED);
  }

  #push(op: Op): Promise<OpResult | Refused> {
    return new Promise((resolve, reject) => {
      this.#queued++;
      this.#queuedCharacters += charactersOf(op);
      this.#waiting.push({ op, resolve, reject });
    });
  }

  /** At the end of this turn of the loop, with what other sockets bring in the same turn. */
  #sendSoon(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#send();
    });
  }

  #send(): void {
    if (this.#waiting.length === 0) return;
    const entries = this.#waiting;
    this.#waiting = [];
    this.#sent.push(entries);
    this.#port.postMessage(encodeOps(entries.map((entry) => entry.op)));
  }

  #receive(text: string): void {
    if (text === "closed") {
      this.#closed?.();
      return;
    }
    if (text === LARGE_LOG) {
      void this.#copyLog();
      return;
    }
    const { replies, commitMs, readable } = JSON.parse(text) as ToMain;
    let ops = 0;
    for (const results of replies) {
      const entries = this.#sent.shift() ?? [];
      ops += entries.length;
      this.#settle(entries, results);
    }
    this.#queued -= ops;
    this.onCommit(commitMs);
    for (const org of readable) this.onReadable(org);
    if (this.#closed && this.queued === 0) void this.#finish();
  }

  #settle(entries: readonly Entry[], results: readonly OpResult[]): void {
    let failure: string | null = null;
    entries.forEach((entry, i) => {
      const result = results[i];
      this.#queuedCharacters -= charactersOf(entry.op);
      if (!isFailure(result)) entry.resolve(result);
      else if (result.failed === "defect") entry.reject(new Error(result.reason));
      else {
        failure = result.reason;
        entry.resolve({ kind: "unavailable", reason: result.reason } satisfies Refused);
      }
    });
    const isNews = (failure === null) !== (this.failure === null);
    this.failure = failure;
    if (isNews) this.onFailure(failure);
  }
}

/** What an op weighs in the queue: of events their payloads, and of all else nothing. */
function charactersOf(op: Op): number {
  return op.op === "ingest" ? op.payload.length : 0;
}

const overloaded: Refused = { kind: "overloaded" };

/** True when `write` tells that nothing was stored. No op's own result has these words in `kind`. */
export function isRefused(result: OpResult | Refused): result is Refused {
  if (typeof result !== "object" || result === null || !("kind" in result)) return false;
  return result.kind === "overloaded" || result.kind === "unavailable";
}
