// Everything of one organization as NDJSON lines, oldest event first. Payloads are spliced in as they came. Secrets
// are not told: neither the keys' hashes, nor what signs, nor the values of own headers.

import { rfc3339 } from "../../base/time.ts";
import type { EventWithDeliveries } from "../store.ts";
import type { AdminReads } from "./read_admin.ts";
import type { AttemptRow, InboxReads } from "./read_inbox.ts";

/** Found at once, in 0.2 ms; each event is read when its line is wanted. */
const WALK_EVENTS = 200;

/** A line at a time, so that whoever takes them may pause after each. Nothing when there is no such organization. */
export function* exportLines(org: number, admin: AdminReads, inbox: InboxReads): Generator<string> {
  const organization = admin.organization(org);
  if (!organization) return;
  const { org: _, createdAtMs, updatedAtMs, ...rest } = organization;
  yield line("organization", { ...rest, created_at: rfc3339(createdAtMs), updated_at: rfc3339(updatedAtMs) });
  for (const key of admin.keysOf(org)) {
    yield line("key", {
      key_id: key.keyId,
      name: key.name,
      scopes: key.scopes,
      created_at: rfc3339(key.createdAtMs),
      expires_at: timeOrNull(key.expiresAtMs),
      last_used_at: timeOrNull(key.lastUsedAtMs),
    });
  }
  for (const endpoint of admin.endpointsOf(org)) {
    yield line("endpoint", {
      endpoint_id: endpoint.id,
      name: endpoint.name,
      url: endpoint.url,
      description: endpoint.description,
      event_types: endpoint.eventTypes,
      header_names: endpoint.headerNames,
      max_in_flight: endpoint.maxInFlight,
      rate_limit_per_second: endpoint.rateLimitPerSecond,
      ordered: endpoint.ordered,
      timeout_ms: endpoint.timeoutMs,
      created_at: rfc3339(endpoint.createdAtMs),
      updated_at: rfc3339(endpoint.updatedAtMs),
      disabled_at: timeOrNull(endpoint.disabledAtMs),
      deleted_at: timeOrNull(endpoint.deletedAtMs),
    });
  }
  yield* eventLines(org, inbox);
}

function* eventLines(org: number, inbox: InboxReads): Generator<string> {
  for (let seq: number | undefined = -1; seq !== undefined; ) {
    const seqs = inbox.seqsAfter(org, seq, WALK_EVENTS);
    for (const one of seqs) {
      const whole = inbox.whole(one);
      if (whole !== null) yield eventLine(whole.event, whole.attempts);
    }
    seq = seqs.at(-1);
  }
}

function eventLine(event: EventWithDeliveries, attempts: readonly AttemptRow[]): string {
  const head = JSON.stringify({
    kind: "event",
    id: event.id,
    type: event.type,
    dedup_id: event.dedupId,
    status: event.status,
    created_at: rfc3339(event.createdAtMs),
    acknowledged_at: timeOrNull(event.acknowledgedAtMs),
    deliveries: event.deliveries.map((delivery) => ({
      id: delivery.id,
      endpoint_id: delivery.endpointId,
      status: delivery.status,
      next_attempt_at: timeOrNull(delivery.nextAttemptAtMs),
    })),
    attempts: attempts.map((attempt) => ({ ...attempt, started_at: rfc3339(attempt.started_at) })),
  });
  return `${head.slice(0, -1)},"payload":${event.payload}}`;
}

function line(kind: string, value: object): string {
  return JSON.stringify({ kind, ...value });
}

function timeOrNull(ms: number | null): string | null {
  return ms === null ? null : rfc3339(ms);
}
