// When to try again. Only numbers in and numbers out: the caller brings the clock and the dice.

const JITTER = 0.2;
const RETRY_AFTER_MAX_MS = 24 * 60 * 60 * 1000;

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** The three forms a recipient must read (RFC 9110, 5.6.7); all are UTC. Date.parse would also read "next 5". */
const HTTP_DATES = [
  /^\w{3}, (?<day>\d\d) (?<month>\w{3}) (?<year>\d{4}) (?<hour>\d\d):(?<minute>\d\d):(?<second>\d\d) GMT$/,
  /^\w{6,9}, (?<day>\d\d)-(?<month>\w{3})-(?<year>\d\d) (?<hour>\d\d):(?<minute>\d\d):(?<second>\d\d) GMT$/,
  /^\w{3} (?<month>\w{3}) (?<day>[ \d]\d) (?<hour>\d\d):(?<minute>\d\d):(?<second>\d\d) (?<year>\d{4})$/,
];

/**
 * Milliseconds to wait after `attemptsMade` attempts, or null when the schedule is used up: a dead letter.
 * `schedule[0]` follows the first attempt. `random` (0..1, 1 not included) spreads each delay by ±20 %, so that a
 * thousand deliveries that failed together do not come back together. Nothing tried yet is due at once: 0.
 */
export function retryDelayMs(
  schedule: readonly number[],
  attemptsMade: number,
  random: number,
): number | null {
  if (attemptsMade < 1) return 0;
  const delayMs = schedule[attemptsMade - 1];
  if (delayMs === undefined) return null;
  return Math.round(delayMs * (1 - JITTER + 2 * JITTER * random));
}

/**
 * Milliseconds that a `Retry-After` (seconds or an HTTP date, RFC 9110, 10.2.3) asks to wait, 0 for a date gone by, at
 * most 24 h, so that no endpoint can park its deliveries for a year; null when it is missing or cannot be read.
 */
export function retryAfterMs(header: string | null, nowMs: number): number | null {
  if (header === null) return null;
  const text = header.trim();
  const waitMs = /^\d+$/.test(text) ? Number(text) * 1000 : httpDateMs(text, nowMs) - nowMs;
  return Number.isNaN(waitMs) ? null : Math.min(Math.max(waitMs, 0), RETRY_AFTER_MAX_MS);
}

function httpDateMs(text: string, nowMs: number): number {
  for (const form of HTTP_DATES) {
    const part = form.exec(text)?.groups;
    if (part === undefined) continue;
    const day = Number(part.day);
    const month = MONTHS.indexOf(part.month ?? "");
    const date = new Date(
      Date.UTC(
        fullYear(Number(part.year), nowMs),
        month,
        day,
        Number(part.hour),
        Number(part.minute),
        Number(part.second),
      ),
    );
    // Date.UTC rolls the 31st of February over into March, and month -1 into the year before.
    return date.getUTCDate() === day && date.getUTCMonth() === month ? date.getTime() : Number.NaN;
  }
  return Number.NaN;
}

/** Two digits mean the year that is at most 50 years ahead (RFC 9110, 5.6.7). */
function fullYear(year: number, nowMs: number): number {
  if (year > 99) return year;
  const thisYear = new Date(nowMs).getUTCFullYear();
  const sameCentury = thisYear - (thisYear % 100) + year;
  return sameCentury > thisYear + 50 ? sameCentury - 100 : sameCentury;
}
