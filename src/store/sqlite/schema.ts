// The tables as drizzle sees them: types and the administration's reads. The truth is db/*.sql; a test compares
// the two column by column. Drizzle has no word for STRICT, WITHOUT ROWID and partial indexes: those stand there.

import { blob, integer, primaryKey, sqliteTable, text } from "drizzle-orm/sqlite-core";

export const marks = sqliteTable("marks", {
  name: text().primaryKey(),
  value: integer().notNull(),
});

export const organizations = sqliteTable("organizations", {
  org: integer().primaryKey({ autoIncrement: true }),
  id: text().notNull().unique(),
  name: text().notNull(),
  tier: text().notNull(),
  rate_limit_per_minute: integer(),
  disabled: integer().notNull().default(0),
  erasing: integer().notNull().default(0),
  created_at: integer().notNull(),
  updated_at: integer().notNull(),
});

export const apiKeys = sqliteTable("api_keys", {
  key_id: text().primaryKey(),
  org: integer().notNull(),
  secret_hash: text().notNull(),
  name: text(),
  scopes: text().notNull(),
  created_at: integer().notNull(),
  expires_at: integer(),
  last_used_at: integer(),
});

export const endpoints = sqliteTable("endpoints", {
  endpoint: integer().primaryKey({ autoIncrement: true }),
  id: text().notNull().unique(),
  org: integer().notNull(),
  name: text(),
  url: text().notNull(),
  description: text(),
  event_types: text().notNull(),
  secrets: text().notNull(),
  header_names: text().notNull(),
  max_in_flight: integer(),
  rate_limit_per_second: integer(),
  ordered: integer().notNull(),
  timeout_ms: integer(),
  created_at: integer().notNull(),
  updated_at: integer().notNull(),
  disabled_at: integer(),
  disabled_reason: text(),
  deleted_at: integer(),
  aging: integer().notNull().default(0),
  failures: integer().notNull().default(0),
  failing_since: integer(),
  paused_until: integer(),
  held_until: integer(),
  held_for: integer(),
});

export const audit = sqliteTable("audit", {
  entry: integer().primaryKey({ autoIncrement: true }),
  at: integer().notNull(),
  action: text().notNull(),
  actor: text().notNull(),
  key_id: text(),
  address: text(),
  request_id: text(),
  organization_id: text().notNull(),
  subject_id: text(),
  details: text().notNull(),
});

export const events = sqliteTable("events", {
  seq: integer().primaryKey(),
  org: integer().notNull(),
  tail: text().notNull(),
  type: text().notNull(),
  dedup_id: text(),
  payload: text().notNull(),
});

export const deliveries = sqliteTable(
  "deliveries",
  {
    event: integer().notNull(),
    endpoint: integer().notNull(),
    state: integer().notNull(),
    attempts: integer().notNull(),
    attempts_before: integer().notNull(),
    due_at: integer(),
    queued: integer().notNull(),
    updated_at: integer().notNull(),
  },
  (table) => [primaryKey({ columns: [table.event, table.endpoint] })],
);

export const attempts = sqliteTable(
  "attempts",
  {
    event: integer().notNull(),
    endpoint: integer().notNull(),
    attempt: integer().notNull(),
    started_at: integer().notNull(),
    duration_ms: integer().notNull(),
    response_status: integer(),
    error: text(),
    response_excerpt: text(),
  },
  (table) => [primaryKey({ columns: [table.event, table.endpoint, table.attempt] })],
);

export const acks = sqliteTable("acks", {
  event: integer().primaryKey(),
  acked_at: integer().notNull(),
});

export const leases = sqliteTable("leases", {
  lease: integer().primaryKey({ autoIncrement: true }),
  id: text().notNull().unique(),
  org: integer().notNull(),
  until: integer().notNull(),
  over: integer().notNull(),
  events: text().notNull(),
});

export const leased = sqliteTable("leased", {
  event: integer().primaryKey(),
  org: integer().notNull(),
  lease: integer().notNull(),
  free: integer().notNull(),
  times: integer().notNull(),
});

export const givenUp = sqliteTable("given_up", {
  event: integer().primaryKey(),
  given_up_at: integer().notNull(),
  reason: text().notNull(),
});

export const scheduled = sqliteTable("scheduled", {
  event: integer().primaryKey(),
  org: integer().notNull(),
  appear_at: integer().notNull(),
  nth: integer(),
});

export const tombstones = sqliteTable(
  "tombstones",
  { org: integer().notNull(), event: integer().notNull() },
  (table) => [primaryKey({ columns: [table.org, table.event] })],
);

export const replays = sqliteTable("replays", {
  replay: integer().primaryKey({ autoIncrement: true }),
  id: text().notNull().unique(),
  org: integer().notNull(),
  endpoint: integer().notNull(),
  statuses: text().notNull(),
  event_types: text().notNull(),
  missing_only: integer().notNull(),
  until_at: integer().notNull(),
  first_event: integer().notNull(),
  last_event: integer().notNull(),
  done_to: integer().notNull(),
  queued: integer().notNull(),
  created_at: integer().notNull(),
  updated_at: integer().notNull(),
  completed_at: integer(),
});

export const inbox = sqliteTable(
  "inbox",
  { org: integer().notNull(), status: integer().notNull(), event: integer().notNull() },
  (table) => [primaryKey({ columns: [table.org, table.status, table.event] })],
);

export const dedup = sqliteTable("dedup", {
  block: integer().primaryKey(),
  last_event: integer().notNull(),
  hashes: blob().notNull(),
  events: blob().notNull(),
});

export const dedupParts = sqliteTable("dedup_parts", {
  part: integer().primaryKey(),
  slots: blob().notNull(),
});
