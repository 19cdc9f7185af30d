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
//
// "In flight" is not a state on disk: a crash between send and settle finds the row waiting and sends again, with
// the same webhook-id. The status of an event follows from its rows: acknowledged, or all delivered -> delivered;
// one waiting after a failure -> failed; one waiting -> pending; one dead_letter -> dead_letter; none -> pending.

import type { DeliveryState, EventStatus, Scope, Tier } from "../wire/tiers.ts";

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

/** One webhook endpoint. `name` is "default" for the one that `/api/webhook/config` sets, else null. */
export type Endpoint = {
  readonly endpoint: number;
  readonly id: string;
  readonly org: number;
  readonly name: string | null;
  readonly url: string;
  readonly signingSecret: string;
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
};

/** An event on its way in. `payload` is the JSON text exactly as it came. */
export type NewEvent = {
  readonly org: number;
  readonly type: string;
  readonly dedupId: string | null;
  readonly payload: string;
};

export type Ingested =
  | { readonly kind: "accepted"; readonly id: string; readonly createdAtMs: number }
  | { readonly kind: "duplicate"; readonly eventId: string }
  | Refused;

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
  readonly id: string;
  readonly endpointId: string | null;
  readonly url: string | null;
  readonly state: DeliveryState;
  readonly attempts: number;
  readonly responseStatus: number | null;
  readonly lastError: string | null;
  readonly nextAttemptAtMs: number | null;
  readonly updatedAtMs: number;
};

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

/** `nextSeq` continues the walk, null at its end. A page may be short, or empty, before the end. */
export type InboxPage = { readonly events: readonly InboxEvent[]; readonly nextSeq: number | null };

/** Synchronous reads on the caller's own read-only connection: they see every commit that was answered. */
export interface Reads {
  keyRecord(keyId: string): KeyRecord | null;
  keysOf(org: number): readonly ApiKey[];
  organization(org: number): Organization | null;
  organizationById(id: string): Organization | null;
  /** Ordered by creation; `afterOrg` continues. */
  organizations(afterOrg: number, limit: number): readonly Organization[];
  defaultEndpoint(org: number): Endpoint | null;
  event(org: number, id: string): EventWithDeliveries | null;
  inbox(query: InboxQuery): InboxPage;
}

export type AckResult = {
  /** In the order asked, without the ones not found. An event acknowledged before keeps its first time. */
  readonly acknowledged: readonly { readonly id: string; readonly acknowledgedAtMs: number }[];
  readonly notFound: readonly string[];
};

export interface Store extends Reads {
  /** One event with its dedup record and its deliveries, in one commit with what else waits. */
  ingest(event: NewEvent): Promise<Ingested>;
  createOrganization(input: { name: string; tier: Tier; key: NewKey }): Promise<Written<Organization>>;
  createKey(org: number, key: NewKey): Promise<Written<ApiKey>>;
  /** The new key takes the old one's name, scopes and expiry; the old one expires at `oldExpiresAtMs`. */
  rotateKey(
    org: number,
    oldKeyId: string,
    oldExpiresAtMs: number,
    key: Pick<NewKey, "keyId" | "secretHash">,
  ): Promise<Written<ApiKey | "not_found">>;
  deleteKey(org: number, keyId: string): Promise<Written<"deleted" | "not_found" | "last_manage_key">>;
  /** Remembers when keys were last used; called rarely, with many keys at once. */
  touchKeys(used: readonly { keyId: string; lastUsedAtMs: number }[]): Promise<Written<null>>;
  /** `rateLimitPerMinute: null` goes back to the tier's. */
  updateOrganization(
    org: number,
    change: { tier?: Tier; rateLimitPerMinute?: number | null; disabled?: boolean },
  ): Promise<Written<Organization | "not_found">>;
  /** Everything of one organization, in small steps; goes on after a restart. */
  eraseOrganization(org: number): Promise<Written<"erased" | "not_found">>;
  putDefaultEndpoint(org: number, input: { url: string; signingSecret: string }): Promise<Written<Endpoint>>;
  /** Its waiting deliveries are cancelled; what was delivered stays told. */
  deleteDefaultEndpoint(org: number): Promise<Written<"deleted" | "not_found">>;
  /** Outstanding deliveries of these events are cancelled. Idempotent. */
  ack(org: number, ids: readonly string[]): Promise<Written<AckResult>>;
  /** NDJSON lines (without line ends): the organization, its keys without secrets, endpoints, events, attempts. */
  exportOrganization(org: number): Iterable<string>;
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
  readonly walBytes: number;
  /** Null while writes work; else why the last one failed. */
  readonly writeFailure: string | null;
  readonly freeDiskBytes: number;
};
