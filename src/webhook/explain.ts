// Why an event has, or has not, been delivered to an endpoint: the decision behind GET /api/events/:id/explain. Pure:
// what is known goes in, a stable word and a sentence come out. The first thing that holds a delivery up is told, in
// the order in which they would have to be removed: the endpoint itself, then its turn, then its health, then time.

import { rfc3339 } from "../base/time.ts";
import { BREAKER_FAILURES } from "./breaker.ts";
import { typeMatcher } from "./event_types.ts";

export type ExplainReason =
  | "delivered"
  | "acknowledged"
  | "endpoint_deleted"
  | "type_not_matched"
  | "created_later"
  | "changed_later"
  | "attempts_exhausted"
  | "endpoint_disabled"
  | "delivery_disabled"
  | "waits_for_earlier"
  | "breaker_open"
  | "paused"
  | "retry_scheduled"
  | "due_now";

export type ExplainedEvent = {
  readonly type: string;
  readonly createdAtMs: number;
  readonly acknowledgedAtMs: number | null;
};

export type ExplainedEndpoint = {
  readonly eventTypes: readonly string[];
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
  readonly disabledAtMs: number | null;
  readonly disabledReason: "manual" | "gone" | "failing" | null;
  readonly deletedAtMs: number | null;
  readonly ordered: boolean;
  readonly failures: number;
  readonly pausedUntilMs: number | null;
};

export type ExplainedDelivery = {
  readonly status: "pending" | "failed" | "delivered" | "dead_letter" | "cancelled";
  readonly attempts: number;
  readonly responseStatus: number | null;
  readonly lastError: string | null;
  /** Its own time or the end of the endpoint's pause, whichever is later. */
  readonly nextAttemptAtMs: number | null;
};

export type Circumstances = {
  readonly nowMs: number;
  /** DISABLE_WEBHOOK_DELIVERY. */
  readonly deliveryDisabled: boolean;
  readonly event: ExplainedEvent;
  readonly endpoint: ExplainedEndpoint;
  /** Null: the event was not meant for this endpoint. */
  readonly delivery: ExplainedDelivery | null;
  /** Of an ordered endpoint: what is to be delivered before. */
  readonly waitsForEventId: string | null;
};

export type Explained = {
  readonly reason: ExplainReason;
  readonly detail: string;
  /** The earliest; null when none is to come, or when something has to happen before. */
  readonly nextAttemptAtMs: number | null;
};

/** Patterns that are named; an endpoint may have a hundred. */
const PATTERNS_NAMED_MAX = 5;

/** How an endpoint stands to an event. */
export function explain(given: Circumstances): Explained {
  const { delivery } = given;
  if (delivery === null) return explainUnmatched(given);
  return delivery.status === "pending" || delivery.status === "failed"
    ? explainWaiting({ ...given, delivery })
    : explainFinal({ ...given, delivery });
}

function explainUnmatched({ event, endpoint }: Circumstances): Explained {
  if (endpoint.deletedAtMs !== null) {
    return final("endpoint_deleted", `The endpoint was deleted at ${rfc3339(endpoint.deletedAtMs)}.`);
  }
  if (!typeMatcher(endpoint.eventTypes)(event.type)) {
    const detail = `The type ${event.type} matches none of the endpoint's event_types: ${named(endpoint.eventTypes)}.`;
    return final("type_not_matched", detail);
  }
  const remedy = "A replay with missing_only sends it: POST /api/endpoints/:id/replay.";
  const isNewer = endpoint.createdAtMs >= event.createdAtMs;
  if (isNewer || endpoint.updatedAtMs <= endpoint.createdAtMs) {
    const detail = `The endpoint was made at ${rfc3339(endpoint.createdAtMs)}, after the event was accepted. ${remedy}`;
    return final("created_later", detail);
  }
  const changed = `The endpoint was changed after the event was accepted, last at ${rfc3339(endpoint.updatedAtMs)}`;
  const detail = `${changed}: its event_types match now, but did not then. ${remedy}`;
  return final("changed_later", detail);
}

type WithDelivery = Circumstances & { readonly delivery: ExplainedDelivery };

function explainFinal({ event, endpoint, delivery }: WithDelivery): Explained {
  const { status, attempts, responseStatus } = delivery;
  if (status === "delivered") {
    const answered = responseStatus === null ? "" : `; the endpoint answered ${responseStatus}`;
    return final("delivered", `It was delivered by attempt ${attempts}${answered}.`);
  }
  const { deletedAtMs } = endpoint;
  const ackedAtMs = event.acknowledgedAtMs;
  const failed = status === "dead_letter";
  const ackedFirst = ackedAtMs !== null && (deletedAtMs === null || ackedAtMs <= deletedAtMs);
  if (deletedAtMs !== null && (failed || !ackedFirst)) {
    const before = failed ? `all attempts (${attempts}) had failed` : "it was delivered";
    return final(
      "endpoint_deleted",
      `The endpoint was deleted at ${rfc3339(deletedAtMs)}, before ${before}.`,
    );
  }
  if (failed) {
    const remedy = "A retry of the delivery, or a replay, sends it again.";
    return final(
      "attempts_exhausted",
      `All attempts failed (${attempts}). ${lastFailure(delivery)}${remedy}`,
    );
  }
  const when = ackedAtMs === null ? "" : ` at ${rfc3339(ackedAtMs)}`;
  const detail = `A consumer acknowledged the event${when}, before it was delivered. A retry of the delivery sends it.`;
  return final("acknowledged", detail);
}

function explainWaiting(given: WithDelivery): Explained {
  const { nowMs, endpoint, delivery, waitsForEventId } = given;
  const held = explainHeld(given);
  if (held !== null) return held;
  if (waitsForEventId !== null) {
    const before = `event ${waitsForEventId} is to be delivered, or to become a dead letter, before this one`;
    return final("waits_for_earlier", `The endpoint is ordered: ${before}.`);
  }
  const { pausedUntilMs } = endpoint;
  const pausedMs = pausedUntilMs !== null && pausedUntilMs > nowMs ? pausedUntilMs : null;
  const nextMs = Math.max(delivery.nextAttemptAtMs ?? nowMs, pausedMs ?? 0);
  const tell = (reason: ExplainReason, detail: string) => ({ reason, detail, nextAttemptAtMs: nextMs });
  if (endpoint.failures >= BREAKER_FAILURES) {
    return tell("breaker_open", breakerText(endpoint.failures, pausedMs, nextMs, nowMs));
  }
  // The retry of an ordered endpoint's first in line is a pause of the endpoint: what waits behind it may not pass.
  const isOwnRetry = endpoint.ordered && delivery.status === "failed";
  if (pausedMs !== null && nextMs <= pausedMs && !isOwnRetry) {
    const detail = `The endpoint asked to wait: nothing is sent to it before ${rfc3339(pausedMs)}.`;
    return tell("paused", `${detail} ${lastFailure(delivery)}`.trim());
  }
  const next = `Attempt ${delivery.attempts + 1} is due`;
  return nextMs > nowMs
    ? tell("retry_scheduled", `${next} at ${rfc3339(nextMs)}. ${lastFailure(delivery)}`.trim())
    : tell("due_now", `${next} now, or under way. ${lastFailure(delivery)}`.trim());
}

function breakerText(failures: number, pausedMs: number | null, nextMs: number, nowMs: number): string {
  const probe = pausedMs === null ? "is due now" : `is due at ${rfc3339(pausedMs)}`;
  const own =
    nextMs > (pausedMs ?? nowMs) ? ` This event's own attempt is not due before ${rfc3339(nextMs)}.` : "";
  return (
    `The last ${failures} attempts to this endpoint failed, so one probe at a time is sent. The next one ${probe}. ` +
    `What waits keeps its attempts, and goes out when a probe is taken.${own}`
  );
}

/** What no time removes. */
function explainHeld({ endpoint, deliveryDisabled }: WithDelivery): Explained | null {
  if (endpoint.deletedAtMs !== null) {
    const detail = `The endpoint was deleted at ${rfc3339(endpoint.deletedAtMs)}, before it was delivered.`;
    return final("endpoint_deleted", detail);
  }
  if (endpoint.disabledAtMs !== null) {
    const why = disabledText[endpoint.disabledReason ?? "manual"];
    const remedy = "The event is held; enabling the endpoint sends it: POST /api/endpoints/:id/enable.";
    const detail = `The endpoint was disabled at ${rfc3339(endpoint.disabledAtMs)}, ${why}. ${remedy}`;
    return final("endpoint_disabled", detail);
  }
  if (!deliveryDisabled) return null;
  const detail =
    "The operator started this server with DISABLE_WEBHOOK_DELIVERY: nothing is sent, and the event is held.";
  return final("delivery_disabled", detail);
}

const disabledText = {
  manual: "by a call",
  gone: "because it answered 410 Gone",
  failing: "because it had taken nothing for five days",
} as const;

/** One that time alone does not change. */
function final(reason: ExplainReason, detail: string): Explained {
  return { reason, detail, nextAttemptAtMs: null };
}

/** With a space at its end, or nothing. */
function lastFailure({ attempts, lastError }: ExplainedDelivery): string {
  return attempts === 0 || lastError === null
    ? ""
    : `The last one failed: ${lastError.replace(/[.]$/, "")}. `;
}

function named(patterns: readonly string[]): string {
  const more = patterns.length - PATTERNS_NAMED_MAX;
  const first = patterns.slice(0, PATTERNS_NAMED_MAX).join(", ");
  return more > 0 ? `${first} and ${more} more` : first;
}

/** The whole in a sentence or two: where the event goes, or why it waits for a reader. */
export function summarize(
  event: ExplainedEvent,
  endpoints: readonly { readonly matched: boolean; readonly reason: ExplainReason }[],
): string {
  const matched = endpoints.filter((one) => one.matched);
  const acknowledged =
    event.acknowledgedAtMs === null
      ? ""
      : `A consumer acknowledged it at ${rfc3339(event.acknowledgedAtMs)}; what was still to be sent then was cancelled. `;
  if (matched.length > 0) {
    return `${acknowledged}It is meant for ${matched.length} of ${endpoints.length} endpoints: ${counts(matched)}.`;
  }
  const waits = acknowledged === "" ? " It waits in the inbox until it is acknowledged." : "";
  return `${acknowledged}${unmatchedText(event, endpoints)}${waits}`;
}

function unmatchedText(
  { type }: ExplainedEvent,
  endpoints: readonly { readonly reason: ExplainReason }[],
): string {
  if (endpoints.length === 0) {
    return "The organization has no endpoints, so it is sent nowhere: POST /api/endpoints makes one.";
  }
  if (endpoints.every(({ reason }) => reason === "type_not_matched")) {
    return `No endpoint has a pattern in its event_types that matches ${type}, so it is sent nowhere.`;
  }
  return "It is sent nowhere: the endpoints whose event_types match it were made or changed after it was accepted.";
}

function counts(matched: readonly { readonly reason: ExplainReason }[]): string {
  const byReason = Map.groupBy(matched, ({ reason }) => groupOf[reason]);
  return [...byReason].map(([group, same]) => `${group} ${same.length}`).join(", ");
}

const groupOf: Readonly<Record<ExplainReason, string>> = {
  delivered: "delivered to",
  acknowledged: "cancelled for",
  endpoint_deleted: "cancelled for",
  attempts_exhausted: "given up for",
  type_not_matched: "not meant for",
  created_later: "not meant for",
  changed_later: "not meant for",
  endpoint_disabled: "held for",
  delivery_disabled: "held for",
  waits_for_earlier: "waiting for",
  breaker_open: "waiting for",
  paused: "waiting for",
  retry_scheduled: "waiting for",
  due_now: "waiting for",
};
