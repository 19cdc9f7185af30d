// Hands results to the writer, one batch at a time: what ends during a commit goes along with the next. A batch
// that found the disk full is sent again until it is written; meanwhile nothing new is sent, since what cannot be
// recorded would be sent twice.

import { isFailure, type OpResult, type SettleOp } from "../store/sqlite/op.ts";

/** A full disk is looked at again this often; only while something waits to be recorded. */
const AGAIN_MS = 1_000;
/** Results not on disk yet, beyond which no new attempt starts. */
const UNSETTLED_MAX = 2_000;

export class Settler {
  readonly #send: (ops: readonly SettleOp[]) => void;
  readonly #onSettled: (op: SettleOp, sealed: number) => void;
  #waiting: SettleOp[] = [];
  #sent: SettleOp[] = [];
  #failing = false;
  #scheduled = false;

  constructor(send: (ops: readonly SettleOp[]) => void, onSettled: (op: SettleOp, sealed: number) => void) {
    this.#send = send;
    this.#onSettled = onSettled;
  }

  get empty(): boolean {
    return this.#waiting.length === 0 && this.#sent.length === 0;
  }

  /** The disk refused the last batch, and it is tried again each second. */
  get failing(): boolean {
    return this.#failing;
  }

  /** New attempts must wait: results are not being written, or not fast enough. */
  get blocked(): boolean {
    return this.#failing || this.#waiting.length + this.#sent.length >= UNSETTLED_MAX;
  }

  add(op: SettleOp): void {
    this.#waiting.push(op);
    this.#schedule();
  }

  /** The writer answered, op by op. What the disk refused is sent again; a defect is not, it would fail again. */
  replied(results: readonly OpResult[], sealed: number): void {
    const ops = this.#sent;
    this.#sent = [];
    const refused = ops.filter((_, i) => isUnavailable(results[i]));
    this.#failing = refused.length > 0;
    if (this.#failing) {
      this.#waiting = [...refused, ...this.#waiting];
      setTimeout(() => this.#flush(), AGAIN_MS);
    }
    ops.forEach((op, i) => {
      if (!isUnavailable(results[i])) this.#onSettled(op, sealed);
    });
    if (!this.#failing) this.#flush();
  }

  #schedule(): void {
    if (this.#scheduled || this.#failing || this.#sent.length > 0) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    if (this.#waiting.length === 0 || this.#sent.length > 0) return;
    this.#sent = this.#waiting;
    this.#waiting = [];
    this.#send(this.#sent);
  }
}

function isUnavailable(result: OpResult): boolean {
  return isFailure(result) && result.failed === "unavailable";
}
