// Points in time as a person writes them on the command line: a time, or a duration away from now.
import { InvalidArgumentError } from "commander";
import { parseDuration } from "../base/duration.ts";
import { parseRfc3339 } from "../base/time.ts";

/** Milliseconds since 1970 of a time, or of a duration back from now. */
export function pastMoment(text: string): number {
  return moment(text, -1, "back from now like 30m or 72h");
}

/** Milliseconds since 1970 of a time, or of a duration ahead of now. */
export function futureMoment(text: string): number {
  return moment(text, 1, "ahead of now like 30m or 72h");
}

function moment(text: string, direction: 1 | -1, durations: string): number {
  const distance = parseDuration(text);
  const ms = distance.ok ? Date.now() + direction * distance.value : parseRfc3339(text.trim());
  // Beyond this a Date cannot say it.
  if (ms !== null && ms >= 0 && ms <= 253_402_300_799_999) return ms;
  throw new InvalidArgumentError(
    `It must be a time like 2026-11-21T08:30:00Z, or a duration ${durations} (ms, s, m or h).`,
  );
}
