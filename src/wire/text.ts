// The small schemas that the others are made of: texts, times, ids. Surprise: lengths count characters (Unicode code
// points), as JSON Schema's maxLength does, not UTF-16 units as zod's `.max()` does: 255 emojis are 255 characters.

import { z } from "zod";
import { ID_PATTERN } from "../base/id.ts";
import { parseRfc3339 } from "../base/time.ts";

/** True for text that a database and a header can hold: no lone surrogate, no U+0000. */
export function isStorable(text: string): boolean {
  return text.isWellFormed() && !text.includes("\0");
}

/** Whether a text has 1 to `charactersMax` characters. */
export function isWithin(text: string, charactersMax: number): boolean {
  if (text.length <= charactersMax) return text.length > 0;
  if (text.length > charactersMax * 2) return false;
  let characters = 0;
  for (const _ of text) characters++;
  return characters <= charactersMax;
}

/** A text of 1 to `charactersMax` characters that can be stored. */
export function text(charactersMax: number, meta: { description: string; examples: string[] }) {
  return z
    .string("It must be a string.")
    .refine((value) => isWithin(value, charactersMax), `It must have 1 to ${charactersMax} characters.`)
    .refine(isStorable, "It must not hold U+0000 or half of a surrogate pair.")
    .meta({ ...meta, minLength: 1, maxLength: charactersMax });
}

/** A time as it is answered: RFC 3339, UTC, milliseconds. */
export function time(description: string) {
  return z.string().meta({ description, format: "date-time", examples: ["2026-11-21T08:30:00.000Z"] });
}

/** The same, or null. */
export function timeOrNull(description: string) {
  return z
    .string()
    .nullable()
    .meta({ description, format: "date-time", examples: ["2026-11-21T08:30:00.000Z"] });
}

const TIME_DETAIL = "It must be an RFC 3339 date-time with a time zone, such as 2026-11-21T08:30:00.000Z.";

/** A time as it is taken: any RFC 3339 date-time. Parsed to milliseconds since 1970. */
export function timeInput(description: string) {
  return z
    .string(TIME_DETAIL)
    .meta({ description, format: "date-time", examples: ["2026-11-21T08:30:00.000Z"] })
    .transform((value, context) => {
      const ms = parseRfc3339(value);
      if (ms !== null) return ms;
      context.issues.push({ code: "custom", message: TIME_DETAIL, input: value });
      return z.NEVER;
    });
}

/** The same, left as a text. */
export function timeText(description: string) {
  return z
    .string(TIME_DETAIL)
    .refine((value) => parseRfc3339(value) !== null, TIME_DETAIL)
    .meta({ description, format: "date-time", examples: ["2026-11-21T08:30:00.000Z"] });
}

/** An id as it is answered: UUIDv7, lower case. */
export function id(description: string) {
  return z.string().meta({ description, format: "uuid", examples: ["01a1fd3a-0340-7000-8f4e-3b8d1c6a9e52"] });
}

/** An id as a query names it. Surprise: any other UUID is refused, because it cannot be an id of ours. */
export function idInput(description: string) {
  return z
    .string()
    .regex(ID_PATTERN, "It must be an id: a UUIDv7 in lower case.")
    .meta({ description, format: "uuid", examples: ["01a1fd3a-0340-7000-8f4e-3b8d1c6a9e52"] });
}

export const EVENT_IDS_MAX = 1_000;

/** 1 to 1 000 ids of events as a body names them. What is no id at all is found to be nobody's later. */
export function eventIds(description: string) {
  return z
    .array(z.string("It must be a string.").max(64, "It is no event id."), "It must be a list of event ids.")
    .min(1, "It must hold at least one id.")
    .max(EVENT_IDS_MAX, `It must hold at most ${EVENT_IDS_MAX} ids.`)
    .meta({ description, examples: [["01a1fd3a-0340-7000-8f4e-3b8d1c6a9e52"]] });
}

/** A whole number from `min` to `max`; strict: `"5"` and `5.5` are none. */
export function wholeNumber(min: number, max: number, meta: { description: string; examples: number[] }) {
  const detail = `It must be a whole number from ${min} to ${max}.`;
  return z.int(detail).min(min, detail).max(max, detail).meta(meta);
}

/** What a list says about its continuation. */
export const listEnd = {
  next_cursor: z
    .string()
    .nullable()
    .meta({
      description: "Hand it back as `cursor` for the next page. Null at the end.",
      examples: ["MS40NzI4ODQ0MDEyNTQ0LjFmOGEzYw"],
    }),
  has_more: z.boolean().meta({
    description:
      "Whether another page follows. A page may be shorter than `limit`, or empty, before the end.",
    examples: [false],
  }),
};

export const LIST_LIMIT_MAX = 1_000;

/** The two parameters of every list. */
export const listQuery = {
  limit: wholeNumber(1, LIST_LIMIT_MAX, {
    description: "At most so many on a page.",
    examples: [100],
  }).default(100),
  cursor: z
    .string()
    .max(500, "It must be a cursor that this list answered.")
    .optional()
    .meta({ description: "Continues a list: the `next_cursor` of the page before." }),
};
