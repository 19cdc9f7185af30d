// When keys were last used. The authenticator remembers it; here it is written down, at most once a minute, by the
// request that comes first in it: no timer wakes an idle server. What a crash forgets is a minute of these times.

import type { Deps } from "./deps.ts";

const INTERVAL_MS = 60_000;

/** To be told the time of each request with a key, in milliseconds since 1970. */
export function createLastUsed({ authenticator, store, log }: Pick<Deps, "authenticator" | "store" | "log">) {
  let writtenAtMs = 0;
  return (nowMs: number): void => {
    // Both ways, so that a clock set back does not stop it.
    if (Math.abs(nowMs - writtenAtMs) < INTERVAL_MS) return;
    writtenAtMs = nowMs;
    const used = authenticator.drainUsed();
    if (used.length === 0) return;
    store.touchKeys(used).catch((error) => log.warn({ err: error }, "times of last use not written"));
  };
}
