// The status of an event as SQL, over the rows that decide it. The inbox index repeats it for sealed events; the
// two are compared in tests.

import type { DeliveryStatus, EventStatus } from "../../wire/tiers.ts";

/**
 * Numbers on disk, by position. The last one: acknowledged, so it is told as delivered, and then retried or replayed,
 * so a delivery waits; without it, a list of what waits would have to look at all that was ever delivered.
 */
export const statusNames: readonly EventStatus[] = [
  "pending",
  "failed",
  "dead_letter",
  "delivered",
  "delivered",
];
/** Not among them: no list shows a hidden event (deliver_at), and by its id it is told as pending. */
const HIDDEN = 5;

export const state = { waiting: 0, delivered: 1, deadLetter: 2, cancelled: 3 } as const;
export const status = {
  pending: 0,
  failed: 1,
  deadLetter: 2,
  delivered: 3,
  deliveredWaiting: 4,
  hidden: HIDDEN,
} as const;
/** All numbers, as an SQL list. */
export const STATUSES_SQL = `(${Object.values(status).join(", ")})`;

/** The numbers that are told by this name. */
export function statusNumbers(name: EventStatus): readonly number[] {
  return statusNames.flatMap((one, number) => (one === name ? [number] : []));
}

/** A waiting delivery is told as failed when an attempt of its round failed, else as pending. */
export function deliveryStatus(row: {
  state: number;
  attempts: number;
  attempts_before: number;
}): DeliveryStatus {
  if (row.state === state.delivered) return "delivered";
  if (row.state === state.deadLetter) return "dead_letter";
  if (row.state === state.cancelled) return "cancelled";
  return row.attempts > row.attempts_before ? "failed" : "pending";
}

/** An SQL expression: the status number of the event whose seq is the expression `seq`. */
export function statusSql(seq: string): string {
  return `CASE WHEN EXISTS (SELECT 1 FROM acks WHERE event = ${seq}) THEN
      3 + EXISTS (SELECT 1 FROM deliveries WHERE event = ${seq} AND state = 0)
    WHEN EXISTS (SELECT 1 FROM scheduled WHERE event = ${seq} AND nth IS NULL) THEN ${HIDDEN}
    WHEN EXISTS (SELECT 1 FROM given_up WHERE event = ${seq}) THEN 2
    ELSE (
    SELECT CASE WHEN max(state = 0 AND attempts > attempts_before) THEN 1 WHEN max(state = 0) THEN 0
                WHEN max(state = 2) THEN 2 WHEN max(state = 1) THEN 3 ELSE 0 END
    FROM deliveries WHERE event = ${seq}) END`;
}
