// Event types and the patterns that choose among them: by endpoints, replays and readers of the inbox alike.

import { z } from "zod";

/** Of a type; a pattern may have one more, its `*`. */
export const TYPE_CHARACTERS_MAX = 255;
const PATTERNS_MAX = 100;

export const TYPE = /^[A-Za-z0-9._:/-]{1,255}$/;
/** A type exactly, the beginning of one with `*` at its end, or `*`. */
export const TYPE_PATTERN = /^(?:[A-Za-z0-9._:/-]{1,255}\*?|\*)$/;

const DETAIL =
  "It must be an event type, the beginning of one with * at its end (order.*), or *: at most 255 characters of " +
  "A-Z a-z 0-9 . _ : / - and the *.";
const COUNT_DETAIL = `It must hold 1 to ${PATTERNS_MAX} patterns; leave it out for the default.`;

/** One or more patterns; what matches one of them is chosen. */
export const typePatterns = z
  .array(z.string("It must be a string.").regex(TYPE_PATTERN, DETAIL), "It must be a list of patterns.")
  .min(1, COUNT_DETAIL)
  .max(PATTERNS_MAX, COUNT_DETAIL)
  .refine((list) => new Set(list).size === list.length, "It must hold each pattern once.");
