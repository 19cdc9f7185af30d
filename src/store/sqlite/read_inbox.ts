// Reads of events. A page of the inbox is an index walk over sealed events, and a scan of the tail for those not
// sealed yet (at most some thousands, their payloads untouched); both in one snapshot.

import type { Database } from "bun:sqlite";
import { firstSeqOfMs, idOfSeq, isId, msOfSeq, seqOfId, withVariant } from "../../base/id.ts";
import type { Delivery, EventWithDeliveries, InboxEvent, InboxPage, InboxQuery } from "../store.ts";
import { stateNames, statusNames, statusSql } from "./status.ts";

/** A page ends before its payloads pass this, so that an answer fits in memory many times over. */
const PAGE_BYTES_MAX = 8 * 1024 * 1024;
/** What an event adds to a page beside its payload, at most: ids, times, a dedup id, an error sentence. */
const EVENT_OVERHEAD_BYTES = 2_048;
/** A rare type in a long inbox: after looking at this many, the page ends and the cursor goes on. */
const EXAMINED_MAX = 20_000;
const BATCH = 256;

type EventRow = {
  seq: number;
  org: number;
  id: string;
  type: string;
  dedup_id: string | null;
  payload: string;
  status: number;
  acked_at: number | null;
  attempts: number | null;
  changed_at: number | null;
  next_at: number | null;
};

type DeliveryRow = {
  endpoint: number;
  endpoint_id: string | null;
  url: string | null;
  state: number;
  attempts: number;
  due_at: number | null;
  updated_at: number;
  response_status: number | null;
  error: string | null;
};

export type AttemptRow = {
  endpoint_id: string | null;
  attempt: number;
  started_at: number;
  duration_ms: number;
  response_status: number | null;
  error: string | null;
  response_excerpt: string | null;
};

type Last = { response_status: number | null; error: string | null };
type Range = { org: number; low: number; high: number; order: "ASC" | "DESC"; statuses: readonly number[] };

export class InboxReads {
  readonly #db: Database;
  readonly #sealed;
  readonly #event;
  readonly #typeOf;
  readonly #lastAttempt;
  readonly #deliveries;
  readonly #attempts;

  constructor(db: Database) {
    this.#db = db;
    this.#sealed = db.prepare<{ value: number }, []>("SELECT value FROM marks WHERE name = 'inbox_sealed'");
    this.#typeOf = db.prepare<{ type: string }, [number]>("SELECT type FROM events WHERE seq = ?");
    this.#event = db.prepare<EventRow, [number]>(
      `SELECT seq, org, id, type, dedup_id, payload, ${statusSql("events.seq")} AS status,
         (SELECT acked_at FROM acks WHERE event = seq) AS acked_at, d.*
       FROM events, (SELECT sum(attempts) AS attempts, max(updated_at) AS changed_at, min(due_at) AS next_at
                     FROM deliveries WHERE event = ?1) d
       WHERE seq = ?1`,
    );
    this.#lastAttempt = db.prepare<Last, [number]>(
      "SELECT response_status, error FROM attempts WHERE event = ? ORDER BY started_at DESC, attempt DESC LIMIT 1",
    );
    this.#attempts = db.prepare<AttemptRow, [number]>(
      `SELECT p.id AS endpoint_id, a.attempt, a.started_at, a.duration_ms, a.response_status, a.error,
         a.response_excerpt
       FROM attempts a LEFT JOIN endpoints p ON p.endpoint = a.endpoint
       WHERE a.event = ? ORDER BY a.endpoint, a.attempt`,
    );
    this.#deliveries = db.prepare<DeliveryRow, [number]>(
      `SELECT d.endpoint, p.id AS endpoint_id, p.url, d.state, d.attempts, d.due_at, d.updated_at,
         a.response_status, a.error
       FROM deliveries d LEFT JOIN endpoints p ON p.endpoint = d.endpoint
       LEFT JOIN attempts a ON a.event = d.event AND a.endpoint = d.endpoint AND a.attempt = d.attempts
       WHERE d.event = ? ORDER BY d.endpoint`,
    );
  }

  event(org: number, id: string): EventWithDeliveries | null {
    const seq = isId(id) ? seqOfId(id) : null;
    if (seq === null) return null;
    return this.#snapshot(() => {
      const row = this.#event.get(seq);
      if (!row || row.org !== org || row.id !== id) return null;
      const deliveries = this.#deliveries.all(seq).map((delivery) => deliveryOfRow(seq, delivery));
      return { ...this.#inboxEvent(row), deliveries };
    });
  }

  /** Every attempt of an event, by endpoint and number. */
  attempts(id: string): readonly AttemptRow[] {
    const seq = seqOfId(id);
    return seq === null ? [] : this.#attempts.all(seq);
  }

  inbox(query: InboxQuery): InboxPage {
    return this.#snapshot(() => this.#page(query));
  }

  #page(query: InboxQuery): InboxPage {
    const events: InboxEvent[] = [];
    let bytes = 0;
    let examined = 0;
    let last: number | null = null;
    for (const seq of this.#candidates(query)) {
      if (examined++ === EXAMINED_MAX) return { events, nextSeq: last };
      if (!typeMatches(query.type, () => this.#typeOf.get(seq)?.type)) {
        last = seq;
        continue;
      }
      if (events.length === query.limit) return { events, nextSeq: last };
      const row = this.#event.get(seq);
      if (!row) continue;
      bytes += Buffer.byteLength(row.payload) + EVENT_OVERHEAD_BYTES;
      if (events.length > 0 && bytes > PAGE_BYTES_MAX) return { events, nextSeq: last };
      events.push(this.#inboxEvent(row));
      last = seq;
    }
    return { events, nextSeq: null };
  }

  /** The seqs of the query in order, but for its type. */
  *#candidates(query: InboxQuery): Iterable<number> {
    const sealed = this.#sealed.get()?.value ?? 0;
    const range = rangeOf(query);
    for (;;) {
      const batch = this.#batch(range, sealed);
      yield* batch;
      const last = batch.at(-1);
      if (last === undefined || batch.length < BATCH) return;
      if (range.order === "ASC") range.low = last;
      else range.high = last;
    }
  }

  #batch(range: Range, sealed: number): readonly number[] {
    const parts = [() => this.#sealedBatch(range), () => this.#tailBatch(range, sealed)];
    if (range.order === "DESC") parts.reverse();
    const seqs: number[] = [];
    for (const part of parts) if (seqs.length < BATCH) seqs.push(...part().slice(0, BATCH - seqs.length));
    return seqs;
  }

  #tailBatch({ org, low, high, order, statuses }: Range, sealed: number): readonly number[] {
    const rows = this.#db.query<{ seq: number }, [number, number, number, number]>(
      `SELECT seq FROM events WHERE seq > ? AND seq < ? AND org = ?
       AND ${statusSql("events.seq")} IN (${statuses.join(",")}) ORDER BY seq ${order} LIMIT ?`,
    );
    return rows.all(Math.max(low, sealed), high, org, BATCH).map((row) => row.seq);
  }

  #sealedBatch({ org, low, high, order, statuses }: Range): readonly number[] {
    const rows = this.#db.query<{ event: number }, [number, number, number, number, number]>(
      `SELECT event FROM inbox WHERE org = ? AND status = ? AND event > ? AND event < ? ORDER BY event ${order} LIMIT ?`,
    );
    const merged = statuses.flatMap((status) =>
      rows.all(org, status, low, high, BATCH).map((row) => row.event),
    );
    return merged.sort((a, b) => (order === "ASC" ? a - b : b - a));
  }

  #inboxEvent(row: EventRow): InboxEvent {
    const last = row.attempts ? this.#lastAttempt.get(row.seq) : null;
    const createdAtMs = msOfSeq(row.seq);
    return {
      id: row.id,
      type: row.type,
      dedupId: row.dedup_id,
      payload: row.payload,
      status: statusNames[row.status] ?? "pending",
      attempts: row.attempts ?? 0,
      responseStatus: last?.response_status ?? null,
      lastError: last?.error ?? null,
      createdAtMs,
      updatedAtMs: Math.max(createdAtMs, row.changed_at ?? 0, row.acked_at ?? 0),
      nextAttemptAtMs: row.next_at,
      acknowledgedAtMs: row.acked_at,
    };
  }

  #snapshot<T>(read: () => T): T {
    return this.#db.transaction(read)();
  }
}

function typeMatches(wanted: string | null, type: () => string | undefined): boolean {
  if (wanted === null || wanted === "*") return true;
  const found = type();
  if (found === undefined) return false;
  return wanted.endsWith("*") ? found.startsWith(wanted.slice(0, -1)) : found === wanted;
}

function rangeOf(query: InboxQuery): Range {
  let low = query.sinceMs === null ? -1 : firstSeqOfMs(query.sinceMs) - 1;
  let high = query.untilMs === null ? Number.MAX_SAFE_INTEGER : firstSeqOfMs(query.untilMs);
  if (query.afterSeq !== null) {
    if (query.order === "asc") low = Math.max(low, query.afterSeq);
    else high = Math.min(high, query.afterSeq);
  }
  const wanted = query.statuses.length === 0 ? statusNames : query.statuses;
  const statuses = wanted.map((name) => statusNames.indexOf(name));
  return { org: query.org, low, high, order: query.order === "asc" ? "ASC" : "DESC", statuses };
}

function deliveryOfRow(event: number, row: DeliveryRow): Delivery {
  return {
    id: deliveryId(event, row.endpoint),
    endpointId: row.endpoint_id,
    url: row.url,
    state: stateNames[row.state] ?? "waiting",
    attempts: row.attempts,
    responseStatus: row.response_status,
    lastError: row.error,
    nextAttemptAtMs: row.due_at,
    updatedAtMs: row.updated_at,
  };
}

/**
 * A delivery's UUIDv7 is derived, not stored: the event's time and counter, then a hash of event and endpoint. It
 * names the row without an index, since its first 60 bits are the event's key.
 */
export function deliveryId(event: number, endpoint: number): string {
  const hash = new Bun.CryptoHasher("sha256").update(`${event}:${endpoint}`).digest("hex");
  return idOfSeq(event, withVariant(hash.slice(0, 16)));
}
