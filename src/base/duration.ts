// Durations as people write them in a setting: a whole number and a unit, `150ms`, `5s`, `1m`, `2h`.
// One unit a duration and no fractions: `1m30s` is `90s`, so that a text has one reading and every number
// of milliseconds has one shortest text.

const UNIT_MS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 } as const;
type Unit = keyof typeof UNIT_MS;

/** What reading a text came to; `detail` is half a sentence that goes after "the setting is ...: ". */
export type Read<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly detail: string };

/** Reads one duration. The value is whole milliseconds, 0 included; spaces around the text are ignored. */
export function parseDuration(text: string): Read<number> {
  const match = /^(\d{1,16})(ms|s|m|h)$/.exec(text.trim());
  if (!match?.[1] || !match[2]) return { ok: false, detail: durationProblem(text.trim()) };
  const ms = Number(match[1]) * UNIT_MS[match[2] as Unit];
  if (!Number.isSafeInteger(ms)) return { ok: false, detail: `"${text.trim()}" is too long a duration` };
  return { ok: true, value: ms };
}

/** Reads durations separated by commas, such as `5s,1m,5m`, into milliseconds. An empty list is refused. */
export function parseDurations(text: string): Read<readonly number[]> {
  const values: number[] = [];
  for (const part of text.split(",")) {
    const read = parseDuration(part);
    if (!read.ok) return read;
    values.push(read.value);
  }
  return { ok: true, value: values };
}

/** Writes whole milliseconds in the largest unit that needs no fraction: 90 000 is `90s`, 3 600 000 is `1h`. */
export function formatDuration(ms: number): string {
  if (!Number.isSafeInteger(ms) || ms < 0)
    throw new RangeError(`${ms} is not a whole number of milliseconds`);
  const units: readonly Unit[] = ms === 0 ? ["s"] : ["h", "m", "s", "ms"];
  const unit = units.find((candidate) => ms % UNIT_MS[candidate] === 0) ?? "ms";
  return `${ms / UNIT_MS[unit]}${unit}`;
}

/** Writes a list as `parseDurations` reads it. */
export function formatDurations(listMs: readonly number[]): string {
  return listMs.map(formatDuration).join(",");
}

function durationProblem(text: string): string {
  if (text === "") return "a duration is missing";
  if (/^\d+$/.test(text)) return `"${text}" has no unit (ms, s, m or h)`;
  return `"${text}" is not a whole number with a unit (ms, s, m or h)`;
}
