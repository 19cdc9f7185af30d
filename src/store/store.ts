// The operations of the store: the only way in and out of what is on disk. A second engine would implement this
// list. Surprise: reads on this interface are synchronous and cheap (one index walk, bounded); every write is
// plain data, handed to the writer thread, and its promise settles after the commit is on disk.
//
// The state machine of a delivery (one row per event and endpoint):
//
//   waiting ----- 2xx ----------------------------> delivered
//   waiting ----- failure, schedule has a next try -> waiting (attempts + 1, a later due time)
//   waiting ----- failure, schedule exhausted -----> dead_letter
//   waiting ----- ack, or its endpoint is deleted -> cancelled
//   cancelled --- 2xx of an attempt in flight -----> delivered   (a late failure changes nothing)
//   any --------- retry, or a replay --------------> waiting (a new round: the schedule from its start)
//
// "In flight" is not a state on disk: a crash between send and settle finds the row waiting and sends again, with
// the same webhook-id. To people a waiting delivery is `failed` once an attempt of its round failed, else `pending`.
// The status of an event follows from its rows: acknowledged, or all delivered -> delivered; one failed -> failed;
// one pending -> pending; one dead_letter -> dead_letter; none -> pending.

import type { ActorKind, AuditAction } from "../wire/audit.ts";
import type { DeliveryStatus, DisabledReason, EventStatus, Scope, Tier } from "../wire/tiers.ts";

/** `org` is the row's integer key, used inside; `id` is the UUIDv7 that the outside sees. Times: ms since 1970. */
export type Organization = {
  readonly org: number;
  readonly id: string;
  readonly name: string;
  readonly tier: Tier;
  /** The tier's, or what an administrator set for this organization. */
  readonly rateLimitPerMinute: number;
  readonly disabled: boolean;
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
};

export type ApiKey = {
  readonly keyId: string;
  readonly org: number;
  readonly name: string | null;
  readonly scopes: readonly Scope[];
  readonly createdAtMs: number;
  readonly expiresAtMs: number | null;
  readonly lastUsedAtMs: number | null;
};

/** Who asks for a write that the audit record keeps. `keyId`: of a key; the rest null where it is not known. */
export type Actor = {
  readonly kind: ActorKind;
  readonly keyId: string | null;
  readonly address: string | null;
  readonly requestId: string | null;
};

/** One entry of the audit record; what changed, never a secret, a URL or a name. */
export type AuditEntry = {
  readonly entry: number;
  readonly atMs: number;
  readonly action: AuditAction;
  readonly by: Actor;
  readonly organizationId: string;
  /** The key or the endpoint that it was done to; null: the organization itself. */
  readonly subjectId: string | null;
  readonly details: Readonly<Record<string, unknown>>;
};

export type AuditQuery = {
  readonly organizationId: string | null;
  readonly sinceMs: number | null;
  readonly untilMs: number | null;
  /** Older than this one; null: from the newest on. */
  readonly beforeEntry: number | null;
  readonly limit: number;
};

/** What authentication needs of one key, in one read. `secretHash` is argon2id, as `Bun.password` writes it. */
export type KeyRecord = ApiKey & { readonly secretHash: string; readonly organization: Organization };

/** A key as it is stored: its secret only as a hash. */
export type NewKey = {
  readonly keyId: string;
  readonly secretHash: string;
  readonly name: string | null;
  readonly scopes: readonly Scope[];
  readonly expiresAtMs: number | null;
};

/** What the owner of an endpoint decides. Null: the default of the service. */
export type EndpointSettings = {
  readonly url: string;
  readonly description: string | null;
  /** Patterns: exact, a prefix that ends in `*`, or `*`. */
  readonly eventTypes: readonly string[];
  /** Sent along with each attempt. Kept like secrets: they often are. */
  readonly headers: Readonly<Record<string, string>>;
  readonly maxInFlight: number | null;
  readonly rateLimitPerSecond: number | null;
  readonly ordered: boolean;
  readonly timeoutMs: number | null;
};

/** One webhook endpoint, without its secrets. `name` is "default" for the one that `/api/webhook/config` sets. */
export type Endpoint = Omit<EndpointSettings, "headers"> & {
  readonly endpoint: number;
  readonly id: string;
  readonly org: number;
  readonly name: string | null;
  readonly headerNames: readonly string[];
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
  readonly disabledAtMs: number | null;
  readonly disabledReason: DisabledReason | null;
  /** Only old deliveries tell of a deleted one. */
  readonly deletedAtMs: number | null;
  /** Failed attempts in a row, over all deliveries. */
  readonly failures: number;
  /** The first of them; null after a success. */
  readonly failingSinceMs: number | null;
  /** Nothing is sent before: the next probe of an open breaker, a Retry-After, an ordered endpoint's retry. */
  readonly pausedUntilMs: number | null;
};

/** An event on its way in. `payload` is the JSON text exactly as it came. */
export type NewEvent = {
  readonly org: number;
  readonly type: string;
  readonly dedupId: string | null;
  readonly payload: string;
  /** Hidden from the inbox, and not delivered, before this time. */
  readonly deliverAtMs: number | null;
};

export type Ingested = Judged | Gone | Refused;

/** It is stored, or its dedup id is another event's. */
export type Judged =
  | { readonly kind: "accepted"; readonly id: string; readonly createdAtMs: number }
  | { readonly kind: "duplicate"; readonly eventId: string };

/** Nothing was stored: the organization's erasure began while the call was on its way. */
export type Gone = { readonly kind: "gone" };

/** Nothing was stored. `overloaded`: the queue is full. `unavailable`: the disk is full or not writable. */
export type Refused =
  | { readonly kind: "overloaded" }
  | { readonly kind: "unavailable"; readonly reason: string };

/** The answer of every other write: the value, or nothing was stored. */
export type Written<T> = { readonly kind: "done"; readonly value: T } | Refused;

/** An event as the inbox tells it. `payload` is JSON text, to be spliced into the answer and never parsed. */
export type InboxEvent = {
  readonly id: string;
  readonly type: string;
  readonly dedupId: string | null;
  readonly payload: string;
  readonly status: EventStatus;
  /** Over all endpoints. */
  readonly attempts: number;
  /** Of the latest attempt; null before the first one, or when it got no answer. */
  readonly responseStatus: number | null;
  readonly lastError: string | null;
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
  /** The earliest of the waiting deliveries; null when none waits. */
  readonly nextAttemptAtMs: number | null;
  readonly acknowledgedAtMs: number | null;
};

export type Delivery = {
  /** Derived from event and endpoint. */
  readonly id: string;
  readonly eventId: string;
  readonly eventType: string;
  /** The endpoint, also a deleted one. */
  readonly endpointId: string;
  readonly url: string;
  readonly status: DeliveryStatus;
  readonly attempts: number;
  /** Of the latest attempt. */
  readonly responseStatus: number | null;
  readonly lastError: string | null;
  readonly nextAttemptAtMs: number | null;
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
};

export type Attempt = {
  /** From 1. */
  readonly attempt: number;
  readonly startedAtMs: number;
  readonly durationMs: number;
  readonly responseStatus: number | null;
  /** Stable words, src/webhook/verdict.ts; both null for a success. */
  readonly errorKind: string | null;
  readonly error: string | null;
  /** The first 1 KB of the answer's body. */
  readonly responseExcerpt: string | null;
};

export type DeliveryWithAttempts = Delivery & { readonly attemptsMade: readonly Attempt[] };

export type EventWithDeliveries = InboxEvent & { readonly deliveries: readonly Delivery[] };

export type InboxQuery = {
  readonly org: number;
  /** Empty means all four. */
  readonly statuses: readonly EventStatus[];
  /** Exact, or a prefix when it ends in `*`; null means all. */
  readonly type: string | null;
  readonly sinceMs: number | null;
  readonly untilMs: number | null;
  readonly order: "asc" | "desc";
  readonly limit: number;
  /** The seq of the last event of the page before, or null. */
  readonly afterSeq: number | null;
};

/**
 * A part of a page: about a millisecond of reading, one snapshot. It may be empty. `next` continues the walk behind it,
 * null at the walk's end; `isLast`: the page ends with it, which may be before `limit` and before the walk's end.
 */
export type Bite<Row, Key> = {
  readonly rows: readonly Row[];
  readonly next: Key | null;
  readonly isLast: boolean;
};

/** `next` is the seq of the last event that was looked at. */
export type InboxBite = Bite<InboxEvent, number>;

/** Where a walk over deliveries stands: newest event first, and of one event by endpoint. */
export type DeliveryKey = { readonly event: number; readonly endpoint: number };

export type DeliveryQuery = {
  readonly org: number;
  /** Ids; one that is not there gives an empty page. */
  readonly endpointId: string | null;
  readonly eventId: string | null;
  readonly status: DeliveryStatus | null;
  /** By the time when the event was accepted. */
  readonly sinceMs: number | null;
  readonly untilMs: number | null;
  readonly limit: number;
  readonly after: DeliveryKey | null;
};

/** An event of a lease, and how often it was leased by now. */
export type LeasedEvent = InboxEvent & { readonly leaseCount: number };

/** `id` is null when nothing was leased; `nextFreeAtMs`: when a leased event may come back next, null when none will. */
export type Lease = {
  readonly id: string | null;
  readonly untilMs: number;
  readonly count: number;
  /** Read on the way, the oldest first; at least one bite. What was deleted meanwhile is left out. */
  readonly events: Iterable<Bite<LeasedEvent, null>>;
  readonly nextFreeAtMs: number | null;
};

export type LeaseOutcome = {
  /** Events that were acknowledged, released or extended. */
  readonly count: number;
  /** Ids that another consumer has by now: the lease had run out. */
  readonly lost: readonly string[];
  /** Ids that are not of this lease, or were deleted. */
  readonly notFound: readonly string[];
  /** Of an extended lease. */
  readonly untilMs: number;
};

/** Where a stream stands: the last event in the order of acceptance, and the last of those that appeared later. */
export type StreamPosition = { readonly seq: number; readonly appeared: number };

export type StreamedEvent = { readonly event: InboxEvent; readonly position: StreamPosition };

export type DeliveryBite = Bite<DeliveryWithAttempts, DeliveryKey>;

export type ReplayInput = {
  /** By the time when the event was accepted. Null: up to now. */
  readonly sinceMs: number;
  readonly untilMs: number | null;
  /** Of the deliveries to this endpoint. Not looked at for `missingOnly`. */
  readonly statuses: readonly DeliveryStatus[];
  /** Null: all; with `missingOnly`, those of the endpoint. */
  readonly eventTypes: readonly string[] | null;
  /** Events that were never meant for this endpoint: they get a delivery now. */
  readonly missingOnly: boolean;
};

export type Replay = {
  readonly id: string;
  readonly endpointId: string;
  readonly sinceMs: number;
  readonly untilMs: number;
  readonly statuses: readonly DeliveryStatus[];
  readonly eventTypes: readonly string[];
  readonly missingOnly: boolean;
  /** Deliveries put back into the queue so far. */
  readonly queued: number;
  /** Of the time range, 0..1. */
  readonly progress: number;
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
  /** Null while it runs. */
  readonly completedAtMs: number | null;
};

/** How one endpoint stands to one event. `delivery` is null when the event was not meant for it. */
export type EventEndpoint = {
  readonly endpoint: Endpoint;
  readonly delivery: Delivery | null;
  /** Of an ordered endpoint: the event that is to be delivered before; null when this one is next. */
  readonly waitsForEventId: string | null;
};

/**
 * Synchronous reads on the caller's own read-only connection: they see every commit that was answered. What may be much
 * is iterated: a step reads one bite, and what is committed between two is seen as between two pages.
 */
export interface Reads {
  keyRecord(keyId: string): KeyRecord | null;
  keysOf(org: number): readonly ApiKey[];
  organization(org: number): Organization | null;
  organizationById(id: string): Organization | null;
  /** Ordered by creation; `afterOrg` continues. */
  organizations(afterOrg: number, limit: number): readonly Organization[];
  defaultEndpoint(org: number): Endpoint | null;
  /** Null also for a deleted one. */
  endpoint(org: number, id: string): Endpoint | null;
  /** Ordered by creation; `afterEndpoint` continues. Without the deleted ones. */
  endpoints(org: number, afterEndpoint: number, limit: number): readonly Endpoint[];
  event(org: number, id: string): EventWithDeliveries | null;
  /** A page; at most 8 MiB of payloads, and 20 000 events looked at. */
  inbox(query: InboxQuery): Iterable<InboxBite>;
  /** The position behind the newest event. */
  streamEnd(org: number): StreamPosition;
  /** Events behind a position, at most `limit` and one bite; `position` is where the next look begins. */
  streamAfter(
    org: number,
    after: StreamPosition,
    type: string | null,
    limit: number,
  ): { readonly events: readonly StreamedEvent[]; readonly position: StreamPosition; readonly more: boolean };
  /** A page; at most 8 MiB, and the deliveries of 1 000 events looked at. */
  deliveries(query: DeliveryQuery): Iterable<DeliveryBite>;
  delivery(org: number, id: string): DeliveryWithAttempts | null;
  /** Every endpoint of the organization, and the deleted ones that have a delivery; null: no such event. */
  eventEndpoints(org: number, eventId: string): readonly EventEndpoint[] | null;
  replay(org: number, id: string): Replay | null;
  /** The newest first. */
  audit(query: AuditQuery): readonly AuditEntry[];
}

export type AckResult = {
  /** In the order asked, without the ones not found. An event acknowledged before keeps its first time. */
  readonly acknowledged: readonly { readonly id: string; readonly acknowledgedAtMs: number }[];
  readonly notFound: readonly string[];
};

/** When a key was last used. */
export type UsedKey = { readonly keyId: string; readonly lastUsedAtMs: number };

export interface Store extends Reads {
  /** One event with its dedup record and its deliveries, in one commit with what else waits. */
  ingest(event: NewEvent): Promise<Ingested>;
  /** All in one commit, in their order; one that is a duplicate spoils no other. Refused as a whole or not at all. */
  ingestBatch(events: readonly NewEvent[]): Promise<readonly Judged[] | Gone | Refused>;
  /** The oldest events that nobody has, at most `max`. `type`: exact, or a prefix that ends in `*`; null: all. */
  lease(org: number, input: { max: number; leaseMs: number; type: string | null }): Promise<Written<Lease>>;
  /** `ids: null`: all of the lease. What another consumer has by now is left to him, and told as lost. */
  ackLease(
    org: number,
    leaseId: string,
    ids: readonly string[] | null,
  ): Promise<Written<LeaseOutcome | "not_found">>;
  releaseLease(
    org: number,
    leaseId: string,
    ids: readonly string[] | null,
    delayMs: number,
  ): Promise<Written<LeaseOutcome | "not_found">>;
  /** The lease runs out `leaseMs` from now; one that has run out gets back what nobody took. */
  extendLease(org: number, leaseId: string, leaseMs: number): Promise<Written<LeaseOutcome | "not_found">>;
  /** Calls back after each commit that gives consumers of this organization something to read. Returns how to stop. */
  onReadable(org: number, listener: () => void): () => void;
  createOrganization(
    input: { name: string; tier: Tier; key: NewKey },
    by: Actor,
  ): Promise<Written<Organization>>;
  createKey(org: number, key: NewKey, by: Actor): Promise<Written<ApiKey | "too_many">>;
  /** The new key takes the old one's name, scopes and expiry; the old one expires at `oldExpiresAtMs`. */
  rotateKey(
    org: number,
    oldKeyId: string,
    oldExpiresAtMs: number,
    key: Pick<NewKey, "keyId" | "secretHash">,
    by: Actor,
  ): Promise<Written<ApiKey | "not_found" | "too_many">>;
  deleteKey(
    org: number,
    keyId: string,
    by: Actor,
  ): Promise<Written<"deleted" | "not_found" | "last_manage_key">>;
  /** Remembers when keys were last used; called rarely, with many keys at once. */
  touchKeys(used: readonly UsedKey[]): Promise<Written<null>>;
  /** `rateLimitPerMinute: null` goes back to the tier's. */
  updateOrganization(
    org: number,
    change: { tier?: Tier; rateLimitPerMinute?: number | null; disabled?: boolean },
    by: Actor,
  ): Promise<Written<Organization | "not_found">>;
  /** Everything of one organization, in small steps; goes on after a restart. Done: no byte of it is in the files. */
  eraseOrganization(org: number, by: Actor): Promise<Written<"erased" | "not_found">>;
  /** The default endpoint: made, or given this URL (and enabled). One that is there keeps its secret, which is told. */
  putDefaultEndpoint(
    org: number,
    input: { url: string; signingSecret: string },
    by: Actor,
  ): Promise<Written<{ readonly endpoint: Endpoint; readonly signingSecret: string }>>;
  createEndpoint(
    org: number,
    input: EndpointSettings & { signingSecret: string },
    by: Actor,
  ): Promise<Written<Endpoint | "too_many">>;
  updateEndpoint(
    org: number,
    id: string,
    change: Partial<EndpointSettings>,
    by: Actor,
  ): Promise<Written<Endpoint | "not_found">>;
  /** Its waiting deliveries are cancelled; what was delivered stays told. */
  deleteEndpoint(org: number, id: string, by: Actor): Promise<Written<"deleted" | "not_found">>;
  /** What waits goes out, the oldest event first; a clean bill of health for the breaker. Idempotent. */
  enableEndpoint(org: number, id: string, by: Actor): Promise<Written<Endpoint | "not_found">>;
  /** What waits, and what comes, is held. Idempotent. */
  disableEndpoint(org: number, id: string, by: Actor): Promise<Written<Endpoint | "not_found">>;
  /** From now on the new secret signs, and until `oldExpiresAtMs` the old ones besides. */
  rotateSecret(
    org: number,
    id: string,
    input: { signingSecret: string; oldExpiresAtMs: number },
    by: Actor,
  ): Promise<Written<Endpoint | "not_found">>;
  /** A new round, due now, whatever the delivery's status. */
  retryDelivery(org: number, id: string): Promise<Written<Delivery | "not_found" | "endpoint_deleted">>;
  /** A durable job; resolves when it is on disk and has begun. */
  createReplay(org: number, endpointId: string, input: ReplayInput): Promise<Written<Replay | "not_found">>;
  /** Gone for all reads; a dedup id holds until its window ends. */
  deleteEvent(org: number, id: string): Promise<Written<"deleted" | "not_found">>;
  deleteEvents(
    org: number,
    ids: readonly string[],
  ): Promise<Written<{ readonly deleted: number; readonly notFound: readonly string[] }>>;
  /** Outstanding deliveries of these events are cancelled. Idempotent. */
  ack(org: number, ids: readonly string[]): Promise<Written<AckResult>>;
  /** NDJSON lines (without line ends): the organization, its keys without secrets, endpoints, events, attempts. */
  exportOrganization(org: number): Iterable<string>;
  /** Writes into the audit record that everything of an organization was read. */
  noteExport(org: number, by: Actor): Promise<Written<null>>;
  /** Writes a few bytes, to learn whether the disk takes them: `StoreStats.writeFailure` tells. */
  tryWrite(): Promise<Written<null>>;
  /** Whether an event that came now would be refused as overloaded: asked before its body is read. */
  isOverloaded(): boolean;
  stats(): StoreStats;
}

/** Gauges; cheap enough for every scrape and readiness probe. */
export type StoreStats = {
  readonly queuedEvents: number;
  readonly maxQueuedEvents: number;
  readonly deliveriesDue: number;
  /** 0 when nothing is due. */
  readonly oldestDueSeconds: number;
  readonly databaseBytes: number;
  /** Of these, what holds nothing and is used again before the file grows. */
  readonly databaseFreeBytes: number;
  readonly walBytes: number;
  /** Null while writes work; else why the last one failed. */
  readonly writeFailure: string | null;
  readonly freeDiskBytes: number;
};
