// Rows as SQLite gives them, and the values that the store speaks. Each translation stands here once.

import { type Tier, tierEventsPerMinute } from "../../wire/tiers.ts";
import type { ApiKey, Endpoint, KeyRecord, Organization } from "../store.ts";
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
  signing_secret: string;
  created_at: number;
  updated_at: number;
  disabled_at: number | null;
  deleted_at: number | null;
};

export function endpointOfRow(row: EndpointRow): Endpoint {
  return {
    endpoint: row.endpoint,
    id: row.id,
    org: row.org,
    name: row.name,
    url: row.url,
    signingSecret: row.signing_secret,
    createdAtMs: row.created_at,
    updatedAtMs: row.updated_at,
  };
}
