// Events as JSON text. Built by hand, because the payload is text already: parsed and written again, its digits, its
// key order and its escapes would change.

import { rfc3339 } from "../base/time.ts";
import type { EventWithDeliveries, InboxEvent, LeasedEvent } from "../store/store.ts";
import { deliveryTold } from "./delivery_told.ts";
import { timeOrNull } from "./time_told.ts";

/** One event with its deliveries. */
export function eventJson(event: EventWithDeliveries): string {
  const deliveries = event.deliveries.map(deliveryTold);
  const rest = JSON.stringify({ acknowledged_at: timeOrNull(event.acknowledgedAtMs), deliveries });
  return `{${members(event)},${rest.slice(1)}`;
}

/** An event alone, as lists tell it. */
export function inboxEventJson(event: InboxEvent): string {
  return `{${members(event)}}`;
}

/** An event of a lease. */
export function leasedEventJson(event: LeasedEvent): string {
  return `{${members(event)},"lease_count":${event.leaseCount}}`;
}

function members(event: InboxEvent): string {
  const before = JSON.stringify({ id: event.id, type: event.type, dedup_id: event.dedupId });
  const after = JSON.stringify({
    status: event.status,
    attempts: event.attempts,
    response_status: event.responseStatus,
    last_error: event.lastError,
    created_at: rfc3339(event.createdAtMs),
    updated_at: rfc3339(event.updatedAtMs),
    next_attempt_at: timeOrNull(event.nextAttemptAtMs),
  });
  return `${before.slice(1, -1)},"payload":${event.payload},${after.slice(1, -1)}`;
}
