// Removes what is older than the retention, in small steps that the writer takes between others' work. One timer,
// and a look at each start.

import type { Log } from "../base/log.ts";
import type { Written } from "../store/store.ts";

/** Events expire to the day; an hour late is soon enough, and one wake-up an hour costs nothing. */
const EVERY_MS = 60 * 60 * 1000;
const DAY_MS = 24 * EVERY_MS;

/** Starts the rounds; the returned function ends them, after the step in hand. */
export function startRetention(
  prune: (beforeMs: number) => Promise<Written<number>>,
  retentionDays: number,
  log: Log,
): () => void {
  let timer: ReturnType<typeof setTimeout> | null = null;
  let stopped = false;
  const round = async (): Promise<void> => {
    const pruned = await prune(Date.now() - retentionDays * DAY_MS);
    if (pruned.kind !== "done")
      log.warn({ why: pruned.kind }, "retention could not write; it tries again later");
    else if (pruned.value > 0) log.info({ events: pruned.value }, "retention removed old events");
    if (!stopped) timer = setTimeout(round, EVERY_MS);
  };
  void round();
  return () => {
    stopped = true;
    if (timer) clearTimeout(timer);
  };
}
