// The writer thread's loop. Ops come from the main thread and from the delivery thread, each as one string at a time;
// what is there when the thread gets to it becomes one transaction (group commit). Surprise: it answers nobody
// before the commit, and a message that arrives during the fsync simply joins the next group.

import { type Channel, listen } from "../../base/thread.ts";
import { Effects } from "./effects.ts";
import type { Engine } from "./engine.ts";
import { LOG_COPIED } from "./log_words.ts";
import { decodeOps, type Op, type OpResult, type ToDelivery, type ToMain } from "./op.ts";

/**
 * Ops in one transaction. More would share the fsync better and keep the first of them waiting: 1 000 take about
 * 10 ms. What is over goes into the next one at once.
 */
const GROUP_OPS_MAX = 1_000;

type Part = { readonly from: "main" | "delivery"; readonly ops: readonly Op[] };

/** What it needs of the engine. */
export type Committing = Pick<Engine, "commitGroup" | "maintain" | "readAhead" | "sealedDue" | "close">;

export class GroupCommit {
  readonly #engine: Committing;
  readonly #main: Channel;
  readonly #delivery: Channel | null;
  readonly #onLogCopied: () => void;
  #waiting: Part[] = [];
  #scheduled = false;
  #closed = false;
  #readsAhead = false;

  /**
   * @param delivery null when nothing is delivered, and then nobody is woken for it
   * @param onLogCopied a large write-ahead log was copied by another thread
   */
  constructor(
    engine: Committing,
    main: Channel,
    delivery: Channel | null,
    onLogCopied: () => void = () => {},
  ) {
    this.#engine = engine;
    this.#main = main;
    this.#delivery = delivery;
    this.#onLogCopied = onLogCopied;
  }

  start(): void {
    listen(this.#main, (text: string) => {
      if (text === "close") this.#close();
      else if (text === LOG_COPIED) this.#onLogCopied();
      else this.#add("main", text);
    });
    if (this.#delivery) listen(this.#delivery, (text: string) => this.#add("delivery", text));
  }

  /** From the first event on, and in the turns of the loop that the groups leave: the start itself has other work. */
  #readAhead(): void {
    this.#readsAhead = true;
    if (!this.#closed && this.#engine.readAhead()) setImmediate(() => this.#readAhead());
  }

  #add(from: Part["from"], text: string): void {
    this.#waiting.push({ from, ops: decodeOps(text) });
    this.#schedule();
  }

  /** One turn of the loop later, with what else has come in by then. (A microtask: 12k/s against 17k/s at 64 clients.) */
  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => this.#commitWaiting());
  }

  #commitWaiting(): void {
    this.#scheduled = false;
    if (this.#closed) return; // with the last of it, before this turn came
    const parts = this.#takeGroup();
    const { results, commitMs, notice, readable } = this.#engine.commitGroup(
      parts.flatMap((part) => part.ops),
    );
    this.#answerMain(parts, results, { commitMs, readable });
    // Before the answers to the delivery thread itself: what it settles may be of an event that it has not heard of.
    if (notice) this.#tell({ notice });
    this.#answerDelivery(parts, results);
    if (this.#engine.maintain()) {
      this.#tell({ notice: new Effects().notice(this.#engine.sealedDue) });
    }
    if (this.#waiting.length > 0) this.#schedule();
    if (!this.#readsAhead && parts.some(({ ops }) => ops.some(({ op }) => op === "ingest")))
      this.#readAhead();
  }

  #takeGroup(): Part[] {
    let ops = 0;
    const next = this.#waiting.findIndex((part) => {
      ops += part.ops.length;
      return ops > GROUP_OPS_MAX;
    });
    return this.#waiting.splice(0, next < 0 ? this.#waiting.length : Math.max(1, next));
  }

  #answerMain(parts: readonly Part[], results: readonly OpResult[], rest: Omit<ToMain, "replies">): void {
    const replies = resultsOf("main", parts, results);
    if (replies.length === 0 && rest.readable.length === 0) return;
    this.#main.postMessage(JSON.stringify({ replies, ...rest } satisfies ToMain));
  }

  #answerDelivery(parts: readonly Part[], results: readonly OpResult[]): void {
    for (const own of resultsOf("delivery", parts, results)) {
      this.#tell({ results: own, sealed: this.#engine.sealedDue });
    }
  }

  #tell(message: ToDelivery): void {
    this.#delivery?.postMessage(JSON.stringify(message));
  }

  #close(): void {
    if (this.#closed) return;
    while (this.#waiting.length > 0) this.#commitWaiting();
    this.#closed = true;
    this.#engine.close();
    this.#main.postMessage("closed");
  }
}

/** The results of each string of ops that came from this side, in order. */
function resultsOf(from: Part["from"], parts: readonly Part[], results: readonly OpResult[]): OpResult[][] {
  let at = 0;
  return parts.flatMap((part) => {
    at += part.ops.length;
    return part.from === from ? [results.slice(at - part.ops.length, at)] : [];
  });
}
