// A delivery as it is told, alone, in lists and inside its event.

import { rfc3339 } from "../base/time.ts";
import type { Attempt, Delivery } from "../store/store.ts";
import { timeOrNull } from "./time_told.ts";

export function deliveryTold(delivery: Delivery) {
  return {
    id: delivery.id,
    event_id: delivery.eventId,
    event_type: delivery.eventType,
    endpoint_id: delivery.endpointId,
    webhook_url: delivery.url,
    status: delivery.status,
    attempts: delivery.attempts,
    response_status: delivery.responseStatus,
    last_error: delivery.lastError,
    next_attempt_at: timeOrNull(delivery.nextAttemptAtMs),
    created_at: rfc3339(delivery.createdAtMs),
    updated_at: rfc3339(delivery.updatedAtMs),
  };
}

export function attemptTold(attempt: Attempt) {
  return {
    attempt: attempt.attempt,
    started_at: rfc3339(attempt.startedAtMs),
    duration_ms: attempt.durationMs,
    response_status: attempt.responseStatus,
    error_kind: attempt.errorKind,
    error: attempt.error,
    response_excerpt: attempt.responseExcerpt,
  };
}
