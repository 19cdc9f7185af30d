// Reads of events: one by its id, or a page of the inbox. Each is one snapshot.

import type { Database } from "bun:sqlite";
import { firstSeqOfMs, isId, msOfSeq, seqOfId } from "../../base/id.ts";
import { typeMatcher } from "../../webhook/event_types.ts";
import { eventStatuses } from "../../wire/tiers.ts";
import type { EventWithDeliveries, InboxEvent, InboxPage, InboxQuery } from "../store.ts";
import { DELIVERY_SQL, type DeliveryRow, deliveryOfRow } from "./delivery_rows.ts";
import { dueMsSql } from "./due.ts";
import { type EventRange, EventWalk } from "./event_walk.ts";
import { status, statusNames, statusNumbers, statusSql } from "./status.ts";

/** A page ends before its payloads pass this, so that an answer fits in memory many times over. */
const PAGE_BYTES_MAX = 8 * 1024 * 1024;
/** What an event adds to a page beside its payload, at most: ids, times, a dedup id, an error sentence. */
const EVENT_OVERHEAD_BYTES = 2_048;
/** A rare type in a long inbox: after looking at this many, the page ends and the cursor goes on. */
const EXAMINED_MAX = 20_000;

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

export class InboxReads {
  readonly #db: Database;
  readonly #walk: EventWalk;
  readonly #event;
  readonly #typeOf;
  readonly #lastAttempt;
  readonly #givenUp;
  readonly #deliveries;
  readonly #attempts;

  constructor(db: Database) {
    this.#db = db;
    this.#walk = new EventWalk(db);
    this.#typeOf = db.prepare<{ type: string }, [number]>("SELECT type FROM events WHERE seq = +?");
    this.#event = db.prepare<EventRow, [number]>(
      `SELECT seq, org, id, type, dedup_id, payload, ${statusSql("events.seq")} AS status,
         (SELECT acked_at FROM acks WHERE event = seq) AS acked_at, d.*
       FROM events, (SELECT sum(attempts) AS attempts, max(q.updated_at) AS changed_at,
                       min(max(${dueMsSql("due_at")}, coalesce(paused_until, 0))) AS next_at
                     FROM deliveries q JOIN endpoints USING (endpoint) WHERE event = +?1) d
       WHERE seq = +?1 AND type <> ''`,
    );
    this.#lastAttempt = db.prepare<Last, [number]>(
      "SELECT response_status, error FROM attempts WHERE event = +? ORDER BY started_at DESC, attempt DESC LIMIT 1",
    );
    this.#givenUp = db.prepare<{ reason: string }, [number]>("SELECT reason FROM given_up WHERE event = +?");
    this.#attempts = db.prepare<AttemptRow, [number]>(
      `SELECT p.id AS endpoint_id, a.attempt, a.started_at, a.duration_ms, a.response_status, a.error,
         a.response_excerpt
       FROM attempts a LEFT JOIN endpoints p ON p.endpoint = a.endpoint
       WHERE a.event = +? ORDER BY a.endpoint, a.attempt`,
    );
    this.#deliveries = db.prepare<DeliveryRow, [number]>(
      `${DELIVERY_SQL} WHERE d.event = +? ORDER BY d.endpoint`,
    );
  }

  event(org: number, id: string): EventWithDeliveries | null {
    const seq = isId(id) ? seqOfId(id) : null;
    if (seq === null) return null;
    return this.#snapshot(() => {
      const row = this.#event.get(seq);
      if (!row || row.org !== org || row.id !== id) return null;
      const deliveries = this.#deliveries.all(seq).map(deliveryOfRow);
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

  /** These events in the order of their keys; one that is gone is left out. */
  bySeq(seqs: readonly number[]): readonly { readonly seq: number; readonly event: InboxEvent }[] {
    return this.#snapshot(() =>
      [...seqs]
        .sort((a, b) => a - b)
        .flatMap((seq) => {
          const row = this.#event.get(seq);
          return row ? [{ seq, event: this.#inboxEvent(row) }] : [];
        }),
    );
  }

  #page(query: InboxQuery): InboxPage {
    const events: InboxEvent[] = [];
    let bytes = 0;
    let examined = 0;
    let last: number | null = null;
    const matches = query.type === null || query.type === "*" ? null : typeMatcher([query.type]);
    for (const seq of this.#walk.all(rangeOf(query))) {
      if (examined++ === EXAMINED_MAX) return { events, nextSeq: last };
      if (matches !== null && !matches(this.#typeOf.get(seq)?.type ?? "")) {
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

  #inboxEvent(row: EventRow): InboxEvent {
    const last = row.attempts ? this.#lastAttempt.get(row.seq) : null;
    const reason = row.status === status.deadLetter ? this.#givenUp.get(row.seq)?.reason : undefined;
    const createdAtMs = msOfSeq(row.seq);
    return {
      id: row.id,
      type: row.type,
      dedupId: row.dedup_id,
      payload: row.payload,
      status: statusNames[row.status] ?? "pending",
      attempts: row.attempts ?? 0,
      responseStatus: last?.response_status ?? null,
      lastError: reason ?? last?.error ?? null,
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

function rangeOf(query: InboxQuery): EventRange {
  let low = query.sinceMs === null ? -1 : firstSeqOfMs(query.sinceMs) - 1;
  let high = query.untilMs === null ? Number.MAX_SAFE_INTEGER : firstSeqOfMs(query.untilMs);
  if (query.afterSeq !== null) {
    if (query.order === "asc") low = Math.max(low, query.afterSeq);
    else high = Math.min(high, query.afterSeq);
  }
  const wanted = query.statuses.length === 0 ? eventStatuses : query.statuses;
  const statuses = wanted.flatMap(statusNumbers);
  return { org: query.org, low, high, order: query.order === "asc" ? "ASC" : "DESC", statuses };
}
