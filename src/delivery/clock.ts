// The clock that delivery's waits are measured by. It starts at the wall clock and then only counts the time that
// passes, so setting the wall clock forward or back by a day neither sends everything at once nor nothing for a day.
// (What the times on disk mean after a restart: store/sqlite/on_open.ts.)

const startedMs = Date.now() - performance.now();

/** Milliseconds since 1970, as if the clock had never been set since this thread started. */
export function steadyNowMs(): number {
  return startedMs + performance.now();
}
