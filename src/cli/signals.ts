// SIGTERM and SIGINT. The first asks for a graceful stop; the second ends the process at once, which loses
// nothing that was answered with 202, but cuts off requests in flight.
import { constants } from "node:os";

export type StopSignal = "SIGTERM" | "SIGINT";

/**
 * One Ctrl-C arrives twice under `bun run`: from the terminal, which signals the whole group, and from
 * `bun run`, which passes on what it got; 0.04 ms apart when measured. A person takes longer than this.
 */
const COPY_MS = 50;

/** Resolves with the first stop signal; a later one exits with 128 and the signal's number (130, 143). */
export function firstStopSignal(): Promise<StopSignal> {
  return new Promise((resolve) => {
    let first: { readonly signal: StopSignal; readonly atMs: number } | null = null;
    const receive = (signal: StopSignal) => {
      const atMs = performance.now();
      if (first === null) {
        first = { signal, atMs };
        resolve(signal);
        return;
      }
      const isCopy = signal === "SIGINT" && first.signal === "SIGINT" && atMs - first.atMs < COPY_MS;
      if (!isCopy) process.exit(128 + constants.signals[signal]);
    };
    process.on("SIGTERM", receive);
    process.on("SIGINT", receive);
  });
}
