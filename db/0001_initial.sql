-- The first schema. Times are milliseconds since 1970. `seq`, `event`: the integer inside an event's UUIDv7
-- (src/base/id.ts), which rises with acceptance. `org`, `endpoint`: small integer keys; the UUIDs are for outside.
--
-- What the caller of an ingest waits for touches right edges only: events, deliveries. A random page costs
-- 2 KB of WAL each time. What needs another order (inbox, dedup, deliveries_due) is written later, in sorted
-- runs; up to where is a mark of each, and events above it are found by scanning the tail of `events`.

CREATE TABLE marks (
  name TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE organizations (
  org INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL,
  tier TEXT NOT NULL,
  rate_limit_per_minute INTEGER, -- null: the tier's
  disabled INTEGER NOT NULL DEFAULT 0,
  erasing INTEGER NOT NULL DEFAULT 0, -- 1: being erased; goes on after a restart
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE api_keys (
  key_id TEXT PRIMARY KEY,
  org INTEGER NOT NULL REFERENCES organizations (org),
  secret_hash TEXT NOT NULL, -- argon2id, PHC format
  name TEXT,
  scopes TEXT NOT NULL, -- publish,consume,manage
  created_at INTEGER NOT NULL,
  expires_at INTEGER,
  last_used_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX api_keys_org ON api_keys (org, created_at, key_id);

CREATE TABLE endpoints (
  endpoint INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  org INTEGER NOT NULL REFERENCES organizations (org),
  name TEXT, -- 'default' for the one of /api/webhook/config
  url TEXT NOT NULL,
  event_types TEXT NOT NULL DEFAULT '["*"]',
  signing_secret TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  disabled_at INTEGER, -- its deliveries are held
  disabled_reason TEXT,
  deleted_at INTEGER -- kept while deliveries tell of it
) STRICT;

CREATE UNIQUE INDEX endpoints_name ON endpoints (org, name) WHERE deleted_at IS NULL AND name IS NOT NULL;
CREATE INDEX endpoints_org ON endpoints (org, endpoint) WHERE deleted_at IS NULL;

-- Append-only. The payload is last, so that the columns before it are read without its overflow pages.
CREATE TABLE events (
  seq INTEGER PRIMARY KEY,
  org INTEGER NOT NULL,
  id TEXT NOT NULL,
  type TEXT NOT NULL,
  dedup_id TEXT,
  payload TEXT NOT NULL -- the JSON text as it came
) STRICT;

-- One row per event and endpoint: the state machine of src/store/store.ts.
CREATE TABLE deliveries (
  event INTEGER NOT NULL,
  endpoint INTEGER NOT NULL,
  state INTEGER NOT NULL, -- 0 waiting, 1 delivered, 2 dead_letter, 3 cancelled
  attempts INTEGER NOT NULL,
  due_at INTEGER, -- of a waiting one
  queued INTEGER NOT NULL, -- 1: waiting and sealed, so it stands in deliveries_due
  updated_at INTEGER NOT NULL,
  PRIMARY KEY (event, endpoint)
) STRICT, WITHOUT ROWID;

CREATE INDEX deliveries_due ON deliveries (endpoint, due_at, event) WHERE queued = 1;

CREATE TABLE attempts (
  event INTEGER NOT NULL,
  endpoint INTEGER NOT NULL,
  attempt INTEGER NOT NULL, -- from 1
  started_at INTEGER NOT NULL,
  duration_ms INTEGER NOT NULL,
  response_status INTEGER,
  error TEXT, -- kind: sentence
  response_excerpt TEXT,
  PRIMARY KEY (event, endpoint, attempt)
) STRICT, WITHOUT ROWID;

CREATE TABLE acks (
  event INTEGER PRIMARY KEY,
  acked_at INTEGER NOT NULL
) STRICT;

-- Every sealed event under its organization and status.
CREATE TABLE inbox (
  org INTEGER NOT NULL,
  status INTEGER NOT NULL, -- 0 pending, 1 failed, 2 dead_letter, 3 delivered
  event INTEGER NOT NULL,
  PRIMARY KEY (org, status, event)
) STRICT, WITHOUT ROWID;

-- Sealed dedup records: runs sorted by hash. `run` is the seq of the last event of the run, which tells its age.
CREATE TABLE dedup (
  run INTEGER NOT NULL,
  hash INTEGER NOT NULL,
  event INTEGER NOT NULL,
  PRIMARY KEY (run, hash, event)
) STRICT, WITHOUT ROWID;
