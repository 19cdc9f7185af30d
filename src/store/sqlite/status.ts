// The status of an event as SQL, over the rows that decide it. The inbox index repeats it for sealed events; the
// two are compared in tests.

import type { DeliveryState, EventStatus } from "../../wire/tiers.ts";

/** Numbers on disk, by position. */
export const statusNames: readonly EventStatus[] = ["pending", "failed", "dead_letter", "delivered"];
export const stateNames: readonly DeliveryState[] = ["waiting", "delivered", "dead_letter", "cancelled"];

export const state = { waiting: 0, delivered: 1, deadLetter: 2, cancelled: 3 } as const;
export const status = { pending: 0, failed: 1, deadLetter: 2, delivered: 3 } as const;

/** An SQL expression: the status number of the event whose seq is the expression `seq`. */
export function statusSql(seq: string): string {
  return `CASE WHEN EXISTS (SELECT 1 FROM acks WHERE event = ${seq}) THEN 3 ELSE (
    SELECT CASE WHEN max(state = 0 AND attempts > 0) THEN 1 WHEN max(state = 0) THEN 0
                WHEN max(state = 2) THEN 2 WHEN max(state = 1) THEN 3 ELSE 0 END
    FROM deliveries WHERE event = ${seq}) END`;
}
