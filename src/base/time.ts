// Times cross the wire as RFC 3339, UTC, milliseconds; inside they are milliseconds since 1970, a number.

/** RFC 3339 text of a time in milliseconds since 1970: `2026-11-21T08:30:00.000Z`. */
export function rfc3339(ms: number): string {
  return new Date(ms).toISOString();
}

const PATTERN = /^(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)$/;

/**
 * Milliseconds since 1970 of an RFC 3339 date-time, or null when it is not one. `Date.parse` alone also takes
 * `2026` and `Nov 21`, and rolls February 30 over into March; both are refused here.
 */
export function parseRfc3339(text: string): number | null {
  const match = PATTERN.exec(text);
  if (!match) return null;
  const ms = Date.parse(text.toUpperCase());
  if (Number.isNaN(ms)) return null;
  const daysInMonth = new Date(Date.UTC(Number(match[1]), Number(match[2]), 0)).getUTCDate();
  return Number(match[3]) <= daysInMonth ? ms : null;
}
