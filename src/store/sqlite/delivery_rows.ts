// Deliveries as rows and as the store tells them.

import { idOfSeq, msOfSeq, withVariant } from "../../base/id.ts";
import type { Delivery } from "../store.ts";
import { dueMs } from "./due.ts";
import { PAUSED_UNTIL_SQL } from "./hold.ts";
import { deliveryStatus, state } from "./status.ts";

export type DeliveryRow = {
  event: number;
  event_tail: string;
  event_type: string;
  endpoint: number;
  endpoint_id: string;
  url: string;
  state: number;
  attempts: number;
  attempts_before: number;
  due_at: number | null;
  paused_until: number;
  updated_at: number;
  response_status: number | null;
  error: string | null;
};

/** Rows with all that is told of a delivery; add a WHERE. */
export const DELIVERY_SQL = `SELECT d.event, e.tail AS event_tail, e.type AS event_type, d.endpoint, p.id AS endpoint_id,
    p.url, d.state, d.attempts, d.attempts_before, d.due_at, ${PAUSED_UNTIL_SQL} AS paused_until, d.updated_at, a.response_status, a.error
  FROM deliveries d JOIN events e ON e.seq = d.event JOIN endpoints p ON p.endpoint = d.endpoint
  LEFT JOIN attempts a ON a.event = d.event AND a.endpoint = d.endpoint AND a.attempt = d.attempts`;

export function deliveryOfRow(row: DeliveryRow): Delivery {
  const createdAtMs = msOfSeq(row.event);
  return {
    id: deliveryId(row.event, row.endpoint),
    eventId: idOfSeq(row.event, row.event_tail),
    eventType: row.event_type,
    endpointId: row.endpoint_id,
    url: row.url,
    status: deliveryStatus(row),
    attempts: row.attempts,
    responseStatus: row.response_status,
    lastError: row.error,
    nextAttemptAtMs: nextAttemptMs(row),
    createdAtMs,
    updatedAtMs: Math.max(createdAtMs, row.updated_at),
  };
}

function nextAttemptMs({ state: at, due_at, paused_until }: DeliveryRow): number | null {
  if (at !== state.waiting || due_at === null) return null;
  return Math.max(dueMs(due_at), paused_until);
}

/** The column `error` of an attempt: the kind, a colon, a sentence. */
export function errorOf(text: string | null): { errorKind: string | null; error: string | null } {
  const at = text?.indexOf(": ") ?? -1;
  if (text === null || at < 0) return { errorKind: null, error: text };
  return { errorKind: text.slice(0, at), error: text.slice(at + 2) };
}

/**
 * A delivery's UUIDv7 is derived, not stored: the event's time and counter, then a hash of event and endpoint. It
 * names the row without an index, since its first 60 bits are the event's key.
 */
export function deliveryId(event: number, endpoint: number): string {
  const hash = new Bun.CryptoHasher("sha256").update(`${event}:${endpoint}`).digest("hex");
  return idOfSeq(event, withVariant(hash.slice(0, 16)));
}
