// The writer thread. Ops come from the main thread and from the delivery thread, each as one string at a time;
// what is there when the thread gets to it becomes one transaction (group commit). Surprise: it answers nobody
// before the commit, and a message that arrives during the fsync simply joins the next group.

import { type Channel, listen, parentThread } from "../../base/thread.ts";
import { type Engine, openEngine } from "./engine.ts";
import { type CommitNotice, decodeOps, type GroupReply, type Op } from "./op.ts";
import type { Durability } from "./pragma.ts";

/** The first message. `delivery` is one end of a channel whose other end the delivery thread has. */
export type WriterInit = {
  readonly file: string;
  readonly durability: Durability;
  readonly delivery: MessagePort;
};

/** The first answer, as JSON. */
export type WriterReady =
  | { readonly kind: "opened"; readonly lastSeq: number }
  | { readonly kind: "refused"; readonly detail: string };

/** To the delivery thread, as JSON: the answer to its ops, or news of what others committed. */
export type ToDelivery =
  | { readonly reply: GroupReply; readonly sealed: number }
  | { readonly notice: CommitNotice };

type Part = { readonly from: "main" | "delivery"; readonly ops: readonly Op[] };

listen(parentThread, (data: WriterInit) => {
  const opened = openEngine(data.file, data.durability);
  if (opened.kind === "opened") new Writer(opened.engine, data.delivery).start();
  const ready: WriterReady = opened.kind === "opened" ? { kind: "opened", lastSeq: opened.lastSeq } : opened;
  parentThread.postMessage(JSON.stringify(ready));
});

class Writer {
  readonly #engine: Engine;
  readonly #delivery: Channel;
  #waiting: Part[] = [];
  #scheduled = false;

  constructor(engine: Engine, delivery: Channel) {
    this.#engine = engine;
    this.#delivery = delivery;
  }

  start(): void {
    listen(parentThread, (text: string) => (text === "close" ? this.#close() : this.#add("main", text)));
    listen(this.#delivery, (text: string) => this.#add("delivery", text));
  }

  #add(from: Part["from"], text: string): void {
    this.#waiting.push({ from, ops: decodeOps(text) });
    if (this.#scheduled) return;
    this.#scheduled = true;
    // One turn of the loop later: the other thread's message may be there already.
    setImmediate(() => this.#commitWaiting());
  }

  #commitWaiting(): void {
    this.#scheduled = false;
    const parts = this.#waiting;
    this.#waiting = [];
    const { reply, notice } = this.#engine.commitGroup(parts.flatMap((part) => part.ops));
    if (notice) this.#tell({ notice });
    this.#answer(parts, reply);
    if (this.#engine.maintain()) {
      this.#tell({ notice: { due: [], cancelled: [], endpoints: [], sealed: this.#engine.sealed } });
    }
  }

  #answer(parts: readonly Part[], { results, commitMs }: GroupReply): void {
    let at = 0;
    for (const { from, ops } of parts) {
      const reply: GroupReply = { results: results.slice(at, at + ops.length), commitMs };
      at += ops.length;
      if (from === "main") parentThread.postMessage(JSON.stringify(reply));
      else this.#tell({ reply, sealed: this.#engine.sealed });
    }
  }

  #tell(message: ToDelivery): void {
    this.#delivery.postMessage(JSON.stringify(message));
  }

  #close(): void {
    if (this.#waiting.length > 0) this.#commitWaiting();
    this.#engine.close();
    parentThread.postMessage("closed");
  }
}
