// A benchmark that is stopped half-way, or fails, ends what it has started: a server that stays would spoil the next
// figures, and a database of millions of events would stay on the disk.

const endings = new Set<() => void>();

/** `end` is called when this process ends early; the returned function takes that back. */
export function whenStopped(end: () => void): () => void {
  endings.add(end);
  return () => void endings.delete(end);
}

/** Ends everything that is still there. */
export function endEverything(): void {
  for (const end of endings) end();
  endings.clear();
}

/** Ends everything and exits, on SIGTERM, SIGINT and SIGHUP. Called once, by the command line. */
export function endOnSignals(): void {
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
    process.once(signal, () => {
      endEverything();
      process.exit(1);
    });
  }
}
