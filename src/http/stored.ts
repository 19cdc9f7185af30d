// What the store says, as this folder needs it: the value of a write or 503, and how long a call took.

import type { Latency } from "../base/latency.ts";
import type { Gone, Refused, Store, Written } from "../store/store.ts";
import { authProblem } from "./admit.ts";
import { HttpProblem } from "./problem.ts";

/** The queue is full for some milliseconds; a full disk takes somebody to look at it. */
const OVERLOADED_RETRY_AFTER = "1";
const UNAVAILABLE_RETRY_AFTER = "10";

/** The value of a write; 503 when nothing was stored. */
export function stored<T>(outcome: Written<T>): T {
  if (outcome.kind === "done") return outcome.value;
  throw refusedProblem(outcome);
}

/**
 * 503 for a write that was refused. The reason is for the log and /health/ready, not for the client. 401 when the
 * organization has gone meanwhile, as for every call from then on.
 */
export function refusedProblem(
  refused: Gone | Refused,
  headers: Readonly<Record<string, string>> = {},
): HttpProblem {
  if (refused.kind === "gone") return authProblem({ kind: "unknown" });
  return refused.kind === "overloaded"
    ? new HttpProblem("overloaded", { headers: { ...headers, "retry-after": OVERLOADED_RETRY_AFTER } })
    : new HttpProblem("storage_unavailable", {
        headers: { ...headers, "retry-after": UNAVAILABLE_RETRY_AFTER },
      });
}

/** 503 before a body is read, when its events would be refused anyway: reading it would take time from those in hand. */
export function requireRoom(store: Pick<Store, "isOverloaded">): void {
  if (store.isOverloaded()) throw refusedProblem({ kind: "overloaded" });
}

/** Observes how long each step of an iteration takes. */
export function* timedSteps<T>(latency: Latency, steps: Iterable<T>): Generator<T> {
  const iterator = steps[Symbol.iterator]();
  for (;;) {
    const step = timed(latency, () => iterator.next());
    if (step.done === true) return;
    yield step.value;
  }
}

/** Runs a call into the store and observes its duration. */
export function timed<T>(latency: Latency, run: () => T): T {
  const startedMs = performance.now();
  const observe = () => latency.observe(startedMs, performance.now());
  const result = run();
  if (result instanceof Promise) return result.finally(observe) as T;
  observe();
  return result;
}
