-- The first schema. Times are milliseconds since 1970. `seq`, `event`: the integer inside an event's UUIDv7
-- (src/base/id.ts), which rises with acceptance. `org`, `endpoint`: small integer keys; the UUIDs are for outside. They
-- are never given again (AUTOINCREMENT): a late result of an erased endpoint must not meet the next one's row.
--
-- What the caller of an ingest waits for touches right edges only: events, deliveries. A random page costs
-- 2 KB of WAL each time. What needs another order (inbox, deliveries_due) is written later, in sorted
-- runs; up to where is a mark of each, and events above it are found by scanning the tail of `events`.

PRAGMA application_id = 1515475527; -- "ZTRG": what a backup is known by

CREATE TABLE marks (
  name TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE organizations (
  org INTEGER PRIMARY KEY AUTOINCREMENT,
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
CREATE INDEX api_keys_expiring ON api_keys (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE endpoints (
  endpoint INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  org INTEGER NOT NULL REFERENCES organizations (org),
  name TEXT, -- 'default' for the one of /api/webhook/config
  url TEXT NOT NULL,
  description TEXT,
  event_types TEXT NOT NULL, -- a JSON list of patterns
  secrets TEXT NOT NULL, -- JSON of the signing secrets and the own headers, sealed when ENCRYPTION_KEY is set
  header_names TEXT NOT NULL, -- a JSON list, for people to see
  max_in_flight INTEGER,
  rate_limit_per_second INTEGER,
  ordered INTEGER NOT NULL,
  timeout_ms INTEGER,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  disabled_at INTEGER, -- its deliveries are held
  disabled_reason TEXT, -- manual, gone, failing
  deleted_at INTEGER, -- kept while deliveries tell of it
  aging INTEGER NOT NULL DEFAULT 0, -- 1: what waits is being put in the order of age, and nothing is sent
  failures INTEGER NOT NULL DEFAULT 0, -- in a row
  failing_since INTEGER, -- the first of them
  paused_until INTEGER, -- nothing is sent before: an open breaker's next probe, a Retry-After
  held_until INTEGER, -- nothing is sent to an ordered one before: the retry of held_for, which keeps its place in line
  held_for INTEGER
) STRICT;

CREATE UNIQUE INDEX endpoints_name ON endpoints (org, name) WHERE deleted_at IS NULL AND name IS NOT NULL;
CREATE INDEX endpoints_org ON endpoints (org, endpoint) WHERE deleted_at IS NULL;
CREATE INDEX endpoints_deleted ON endpoints (org, endpoint) WHERE deleted_at IS NOT NULL;

-- Who changed keys, endpoints and organizations. It outlives what it tells of, so it has ids and no names or URLs.
CREATE TABLE audit (
  entry INTEGER PRIMARY KEY AUTOINCREMENT,
  at INTEGER NOT NULL,
  action TEXT NOT NULL,
  actor TEXT NOT NULL, -- key, admin, open_mode, command_line, server
  key_id TEXT, -- of an actor that is a key
  address TEXT, -- forgotten with the organization, like request_id
  request_id TEXT,
  organization_id TEXT NOT NULL,
  subject_id TEXT, -- the key or the endpoint; null: the organization itself
  details TEXT NOT NULL -- a JSON object
) STRICT;

CREATE INDEX audit_organization ON audit (organization_id, entry);

-- Append-only. The payload is last, so that the columns before it are read without its overflow pages.
CREATE TABLE events (
  seq INTEGER PRIMARY KEY,
  org INTEGER NOT NULL,
  tail TEXT NOT NULL, -- the last 16 hexadecimal digits of its id: the others are seq
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
  attempts_before INTEGER NOT NULL, -- those of rounds before the last retry or replay, which starts the schedule anew
  due_at INTEGER, -- of a waiting one; negative: due now, in the order of age (src/store/sqlite/due.ts)
  queued INTEGER NOT NULL, -- 1: waiting and sealed, so it stands in deliveries_due
  updated_at INTEGER NOT NULL, -- 0: as its event was accepted, which takes no byte
  PRIMARY KEY (event, endpoint)
) STRICT, WITHOUT ROWID;

CREATE INDEX deliveries_due ON deliveries (endpoint, due_at, event) WHERE queued = 1;
CREATE INDEX deliveries_dead ON deliveries (endpoint, event) WHERE state = 2;

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

-- What a consumer leased: at most 1 000 events a row.
CREATE TABLE leases (
  lease INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  org INTEGER NOT NULL,
  until INTEGER NOT NULL, -- when it runs out
  over INTEGER NOT NULL, -- 1: ran out, or all of it was acknowledged or released
  events TEXT NOT NULL -- a JSON list
) STRICT;

CREATE INDEX leases_org ON leases (org, over, until);
CREATE INDEX leases_over ON leases (until) WHERE over = 1;

-- Events that were leased and not acknowledged yet.
CREATE TABLE leased (
  event INTEGER PRIMARY KEY,
  org INTEGER NOT NULL,
  lease INTEGER NOT NULL, -- the last one
  free INTEGER NOT NULL, -- 1: released, or it ran out
  times INTEGER NOT NULL -- how often it was leased
) STRICT;

CREATE INDEX leased_free ON leased (org, event) WHERE free = 1;

-- Dead letters of the inbox: leased too often and never acknowledged.
CREATE TABLE given_up (
  event INTEGER PRIMARY KEY,
  given_up_at INTEGER NOT NULL,
  reason TEXT NOT NULL
) STRICT;

-- Events with a deliver_at. Hidden until they appear; then `nth` is their place among all that appeared, by which a
-- stream finds those that appear behind its position.
CREATE TABLE scheduled (
  event INTEGER PRIMARY KEY,
  org INTEGER NOT NULL,
  appear_at INTEGER NOT NULL,
  nth INTEGER -- null: still hidden
) STRICT;

CREATE INDEX scheduled_hidden ON scheduled (appear_at, event) WHERE nth IS NULL;
CREATE INDEX scheduled_appeared ON scheduled (org, nth) WHERE nth IS NOT NULL;

-- Deleted events whose dedup id still holds: their rows stay, empty, until it runs out.
CREATE TABLE tombstones (
  org INTEGER NOT NULL,
  event INTEGER NOT NULL,
  PRIMARY KEY (org, event)
) STRICT, WITHOUT ROWID;

-- Jobs that put deliveries of one endpoint back into the queue. They go on after a restart.
CREATE TABLE replays (
  replay INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  org INTEGER NOT NULL,
  endpoint INTEGER NOT NULL,
  statuses TEXT NOT NULL, -- a JSON list
  event_types TEXT NOT NULL, -- a JSON list of patterns
  missing_only INTEGER NOT NULL,
  until_at INTEGER NOT NULL, -- as asked, or the time of the call
  first_event INTEGER NOT NULL,
  last_event INTEGER NOT NULL,
  done_to INTEGER NOT NULL, -- events up to this one were looked at
  queued INTEGER NOT NULL, -- deliveries put back so far
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  completed_at INTEGER
) STRICT;

CREATE INDEX replays_running ON replays (replay) WHERE completed_at IS NULL;
CREATE INDEX replays_org ON replays (org);

-- Every sealed event under its organization and status.
CREATE TABLE inbox (
  org INTEGER NOT NULL,
  status INTEGER NOT NULL, -- 0 pending, 1 failed, 2 dead_letter, 3 delivered, 4 delivered and yet a delivery waits, 5 hidden
  event INTEGER NOT NULL,
  PRIMARY KEY (org, status, event)
) STRICT, WITHOUT ROWID;

-- Sealed dedup records in the order of acceptance, in blocks of 500, numbered in a row. All but the newest are full.
CREATE TABLE dedup (
  block INTEGER PRIMARY KEY,
  last_event INTEGER NOT NULL, -- tells the block's age
  hashes BLOB NOT NULL, -- each two 32-bit integers, the low one first, little-endian
  events BLOB NOT NULL -- 64-bit floats, little-endian
) STRICT;

-- The tables of fingerprints that name the block of a hash, of full slices only (src/store/sqlite/dedup_slices.ts).
CREATE TABLE dedup_parts (
  part INTEGER PRIMARY KEY,
  slots BLOB NOT NULL -- 32-bit integers, little-endian
) STRICT;
