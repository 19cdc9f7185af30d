// Rows as SQLite gives them, and the values that the store speaks. Each translation stands here once.

import { msOfSeq } from "../../base/id.ts";
import type { ActorKind, AuditAction } from "../../wire/audit.ts";
import {
  type DeliveryStatus,
  type DisabledReason,
  type Tier,
  tierEventsPerMinute,
} from "../../wire/tiers.ts";
import type { ApiKey, AuditEntry, Endpoint, KeyRecord, Organization, Replay } from "../store.ts";
import { parseScopes } from "./op.ts";

export type OrganizationRow = {
  org: number;
  id: string;
  name: string;
  tier: string;
  rate_limit_per_minute: number | null;
  disabled: number;
  created_at: number;
  updated_at: number;
};

export function organizationOfRow(row: OrganizationRow): Organization {
  const tier = row.tier as Tier;
  return {
    org: row.org,
    id: row.id,
    name: row.name,
    tier,
    rateLimitPerMinute: row.rate_limit_per_minute ?? tierEventsPerMinute[tier],
    disabled: row.disabled !== 0,
    createdAtMs: row.created_at,
    updatedAtMs: row.updated_at,
  };
}

export type AuditRow = {
  entry: number;
  at: number;
  action: string;
  actor: string;
  key_id: string | null;
  address: string | null;
  request_id: string | null;
  organization_id: string;
  subject_id: string | null;
  details: string;
};

export function auditEntryOfRow(row: AuditRow): AuditEntry {
  return {
    entry: row.entry,
    atMs: row.at,
    action: row.action as AuditAction,
    by: {
      kind: row.actor as ActorKind,
      keyId: row.key_id,
      address: row.address,
      requestId: row.request_id,
    },
    organizationId: row.organization_id,
    subjectId: row.subject_id,
    details: JSON.parse(row.details) as Record<string, unknown>,
  };
}

export type KeyRow = {
  key_id: string;
  org: number;
  secret_hash: string;
  name: string | null;
  scopes: string;
  created_at: number;
  expires_at: number | null;
  last_used_at: number | null;
};

export function keyOfRow(row: KeyRow): ApiKey {
  return {
    keyId: row.key_id,
    org: row.org,
    name: row.name,
    scopes: parseScopes(row.scopes),
    createdAtMs: row.created_at,
    expiresAtMs: row.expires_at,
    lastUsedAtMs: row.last_used_at,
  };
}

export function keyRecordOfRows(key: KeyRow, organization: OrganizationRow): KeyRecord {
  return { ...keyOfRow(key), secretHash: key.secret_hash, organization: organizationOfRow(organization) };
}

export type EndpointRow = {
  endpoint: number;
  id: string;
  org: number;
  name: string | null;
  url: string;
  description: string | null;
  event_types: string;
  header_names: string;
  max_in_flight: number | null;
  rate_limit_per_second: number | null;
  ordered: number;
  timeout_ms: number | null;
  created_at: number;
  updated_at: number;
  disabled_at: number | null;
  disabled_reason: string | null;
  deleted_at: number | null;
  failures: number;
  failing_since: number | null;
  paused_until: number | null;
  held_until: number | null;
  held_for: number | null;
};

export function endpointOfRow(row: EndpointRow): Endpoint {
  const pausedUntilMs = Math.max(row.paused_until ?? 0, row.held_until ?? 0);
  return {
    endpoint: row.endpoint,
    id: row.id,
    org: row.org,
    name: row.name,
    url: row.url,
    description: row.description,
    eventTypes: JSON.parse(row.event_types) as string[],
    headerNames: JSON.parse(row.header_names) as string[],
    maxInFlight: row.max_in_flight,
    rateLimitPerSecond: row.rate_limit_per_second,
    ordered: row.ordered !== 0,
    timeoutMs: row.timeout_ms,
    createdAtMs: row.created_at,
    updatedAtMs: row.updated_at,
    disabledAtMs: row.disabled_at,
    disabledReason: row.disabled_reason as DisabledReason | null,
    deletedAtMs: row.deleted_at,
    failures: row.failures,
    failingSinceMs: row.failing_since,
    pausedUntilMs: pausedUntilMs === 0 ? null : pausedUntilMs,
  };
}

/** What the column `secrets` holds, as JSON and sealed: the newest signing secret is first and has no end. */
export type EndpointSecrets = {
  readonly signing: readonly { readonly secret: string; readonly expires_at: number | null }[];
  readonly headers: Readonly<Record<string, string>>;
};

export type ReplayRow = {
  replay: number;
  id: string;
  org: number;
  endpoint: number;
  endpoint_id: string;
  statuses: string;
  event_types: string;
  missing_only: number;
  until_at: number;
  first_event: number;
  last_event: number;
  done_to: number;
  queued: number;
  created_at: number;
  updated_at: number;
  completed_at: number | null;
};

export function replayOfRow(row: ReplayRow): Replay {
  const range = row.last_event - row.first_event + 1;
  const done = row.done_to - row.first_event + 1;
  return {
    id: row.id,
    endpointId: row.endpoint_id,
    sinceMs: msOfSeq(row.first_event),
    untilMs: row.until_at,
    statuses: JSON.parse(row.statuses) as DeliveryStatus[],
    eventTypes: JSON.parse(row.event_types) as string[],
    missingOnly: row.missing_only !== 0,
    queued: row.queued,
    progress: row.completed_at !== null || range <= 0 ? 1 : Math.min(1, Math.max(0, done / range)),
    createdAtMs: row.created_at,
    updatedAtMs: row.updated_at,
    completedAtMs: row.completed_at,
  };
}
