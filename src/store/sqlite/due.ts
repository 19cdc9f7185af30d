// The due_at of a waiting delivery: one integer that is both time and place in line. Positive, it is a time (ms since
// 1970) before which nothing is sent. Negative, the delivery is due now, and the number is the age of its event, so
// that deliveries_due hands out the oldest first; a clock that was set back cannot keep such a delivery waiting.

import { msOfSeq } from "../../base/id.ts";

/** Above any time, so that `time - AGE_ORIGIN` is negative. 2^43 ms is the year 2248. */
const AGE_ORIGIN = 2 ** 43;

/** Due now, in the order of age. */
export function ageKey(event: number): number {
  return msOfSeq(event) - AGE_ORIGIN;
}

/** Since or until when a delivery with this due_at waits, in milliseconds since 1970. */
export function dueMs(dueAt: number): number {
  return dueAt < 0 ? dueAt + AGE_ORIGIN : dueAt;
}

/** `dueMs` as an SQL expression; null stays null. */
export function dueMsSql(dueAt: string): string {
  return `(CASE WHEN ${dueAt} < 0 THEN ${dueAt} + ${AGE_ORIGIN} ELSE ${dueAt} END)`;
}
