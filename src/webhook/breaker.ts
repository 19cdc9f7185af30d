// The health of an endpoint. Pure: what happened goes in, the next state comes out. Any success heals it. After ten
// failures in a row the breaker is open: one probe at a time, the next at `pausedUntilMs`, while all that waits keeps
// its attempts. After five days without a success the endpoint is to be disabled.

/** Failures in a row that open the breaker. */
export const BREAKER_FAILURES = 10;
/** Without a success for so long, and with the breaker open, an endpoint is disabled. */
export const DISABLE_AFTER_MS = 5 * 24 * 60 * 60 * 1000;
/** Between probes lies a tenth of the time that it has been failing: a short outage is noticed soon when it ends. */
const PROBE_SHARE = 0.1;
const PROBE_MS_MIN = 1_000;
const PROBE_MS_MAX = 60_000;
const JITTER = 0.2;

/** Times are milliseconds of the delivery thread's clock. */
export type Health = {
  /** In a row. */
  readonly failures: number;
  /** The first of them. */
  readonly failingSinceMs: number | null;
  /** Nothing is to be sent before. */
  readonly pausedUntilMs: number | null;
};

export const HEALTHY: Health = { failures: 0, failingSinceMs: null, pausedUntilMs: null };

/** Whether the breaker is open: one probe at a time. */
export function isBreakerOpen({ failures }: Pick<Health, "failures">): boolean {
  return failures >= BREAKER_FAILURES;
}

/**
 * After a failed attempt. `askedMs`: the pause that the endpoint asked for by Retry-After, 0 for none. `random` (0..1)
 * spreads the probes by ±20 %. A failure of an attempt that was on its way when the breaker opened delays no probe.
 */
export function afterFailure(health: Health, nowMs: number, askedMs: number, random: number): Health {
  const failures = health.failures + 1;
  const failingSinceMs = health.failingSinceMs ?? nowMs;
  const pausedUntilMs = Math.max(
    isPaused(health, nowMs) ? (health.pausedUntilMs ?? 0) : 0,
    askedMs > 0 ? nowMs + askedMs : 0,
    isBreakerOpen({ failures }) && !isPaused(health, nowMs)
      ? nowMs + probeMs(nowMs - failingSinceMs, random)
      : 0,
  );
  return { failures, failingSinceMs, pausedUntilMs: pausedUntilMs === 0 ? null : Math.round(pausedUntilMs) };
}

/** Whether five days have passed without a success. One failure before a quiet week is no proof: the breaker is open too. */
export function isHopeless(health: Health, nowMs: number): boolean {
  const { failingSinceMs } = health;
  return failingSinceMs !== null && isBreakerOpen(health) && nowMs - failingSinceMs >= DISABLE_AFTER_MS;
}

function isPaused({ pausedUntilMs }: Health, nowMs: number): boolean {
  return pausedUntilMs !== null && pausedUntilMs > nowMs;
}

function probeMs(failingMs: number, random: number): number {
  const delayMs = Math.min(Math.max(failingMs * PROBE_SHARE, PROBE_MS_MIN), PROBE_MS_MAX);
  return delayMs * (1 - JITTER + 2 * JITTER * random);
}
