// Events as JSON text. Built by hand, because the payload is text already: parsed and written again, its digits, its
// key order and its escapes would change.

import { rfc3339 } from "../base/time.ts";
import type { EventWithDeliveries, InboxEvent } from "../store/store.ts";

/** A page of the inbox. */
export function pageJson(events: readonly InboxEvent[], nextCursor: string | null): string {
  const list = events.map((event) => `{${members(event)}}`).join(",");
  return `{"events":[${list}],"next_cursor":${JSON.stringify(nextCursor)},"has_more":${nextCursor !== null}}`;
}

/** One event with its deliveries. */
export function eventJson(event: EventWithDeliveries): string {
  const deliveries = event.deliveries.map((one) => ({
    id: one.id,
    endpoint_id: one.endpointId,
    webhook_url: one.url,
    status: one.state,
    attempts: one.attempts,
    response_status: one.responseStatus,
    last_error: one.lastError,
    next_attempt_at: timeOrNull(one.nextAttemptAtMs),
    updated_at: rfc3339(one.updatedAtMs),
  }));
  const rest = JSON.stringify({ acknowledged_at: timeOrNull(event.acknowledgedAtMs), deliveries });
  return `{${members(event)},${rest.slice(1)}`;
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

/** RFC 3339, or null. */
export function timeOrNull(ms: number | null): string | null {
  return ms === null ? null : rfc3339(ms);
}
