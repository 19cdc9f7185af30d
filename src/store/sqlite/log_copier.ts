// Has a long write-ahead log copied on a thread of its own (checkpoint.worker.ts), one at a time. The thread is started
// when the writer says that the log is long, and is gone when it is short again.

import { openSync } from "node:fs";
import { listen } from "../../base/thread.ts";
import type { LogToCopy } from "./checkpoint.worker.ts";
import { ENDED, STOP } from "./log_words.ts";

export class LogCopier {
  readonly #file: string;
  readonly #startThread: () => Worker;
  #running: { readonly thread: Worker; readonly ended: Promise<void> } | null = null;
  #stopped = false;
  #descriptor: number | null = null;

  constructor(file: string, startThread: () => Worker) {
    this.#file = file;
    this.#startThread = startThread;
  }

  /** Resolves when the log is short, or when it was stopped. */
  async copy(): Promise<void> {
    if (!this.#stopped) this.#running ??= this.#start();
    await this.#running?.ended;
  }

  /** Resolves when no thread works on the log any more, and none will. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#running?.thread.postMessage(STOP);
    await this.#running?.ended;
  }

  /**
   * To sync by. Opened once and never closed: closing any descriptor of a file takes all POSIX locks of this process off
   * it, and another process would then take itself for the last one and delete the log.
   */
  #open(): number {
    this.#descriptor ??= openSync(this.#file, "r");
    return this.#descriptor;
  }

  #start() {
    const thread = this.#startThread();
    const ended = new Promise<void>((resolve) => {
      listen(thread, (text: string) => {
        if (text !== ENDED) return;
        this.#running = null;
        thread.terminate();
        resolve();
      });
    });
    thread.postMessage(JSON.stringify({ file: this.#file, descriptor: this.#open() } satisfies LogToCopy));
    return { thread, ended };
  }
}
