// Reads of events: one by its id, or a page of the inbox, bite by bite. One event, and one bite, is one snapshot.

import type { Database } from "bun:sqlite";
import { firstSeqOfMs, idOfSeq, isId, msOfSeq, seqOfId, tailOfId } from "../../base/id.ts";
import { typeMatcher } from "../../webhook/event_types.ts";
import { eventStatuses } from "../../wire/tiers.ts";
import type { Bite, EventWithDeliveries, InboxBite, InboxEvent, InboxQuery } from "../store.ts";
import { BiteBudget } from "./bite.ts";
import { DELIVERY_SQL, type DeliveryRow, deliveryOfRow } from "./delivery_rows.ts";
import { dueMsSql } from "./due.ts";
import { type EventRange, EventWalk } from "./event_walk.ts";
import { PAUSED_UNTIL_SQL } from "./hold.ts";
import { status, statusNames, statusNumbers, statusSql } from "./status.ts";

/** A page ends before its payloads pass this, so that an answer fits in memory many times over. */
const PAGE_BYTES_MAX = 8 * 1024 * 1024;
/** What an event adds to a page beside its payload, at most: ids, times, a dedup id, an error sentence. */
const EVENT_OVERHEAD_BYTES = 2_048;
/** Reading an event takes as long as so much of a payload, besides its payload. */
const EVENT_COST_BYTES = 512;
/** A rare type in a long inbox: after looking at this many, the page ends and the cursor goes on. */
const EXAMINED_MAX = 20_000;

type EventRow = {
  seq: number;
  org: number;
  tail: string;
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

/** How far a page has got. `last`: the event that was looked at last. */
type Page = { told: number; bytes: number; examined: number; last: number | null };

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
      `SELECT seq, org, tail, type, dedup_id, payload, ${statusSql("events.seq")} AS status,
         (SELECT acked_at FROM acks WHERE event = seq) AS acked_at, d.*
       FROM events, (SELECT sum(attempts) AS attempts, max(q.updated_at) AS changed_at,
                       min(max(${dueMsSql("due_at")}, ${PAUSED_UNTIL_SQL})) AS next_at
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
      return row && row.org === org && row.tail === tailOfId(id) ? this.#withDeliveries(row) : null;
    });
  }

  /** Null when it is gone. Also every attempt, by endpoint and number. */
  whole(seq: number): { event: EventWithDeliveries; attempts: readonly AttemptRow[] } | null {
    return this.#snapshot(() => {
      const row = this.#event.get(seq);
      return row && { event: this.#withDeliveries(row), attempts: this.#attempts.all(seq) };
    });
  }

  /** The keys of all that an organization has behind this one, also of what is hidden still, the oldest first. */
  seqsAfter(org: number, seq: number, limit: number): readonly number[] {
    const statuses = Object.values(status);
    const range = { org, low: seq, high: Number.MAX_SAFE_INTEGER, order: "ASC", statuses } as const;
    return this.#snapshot(() => this.#walk.seqs(range, limit));
  }

  /** See `Reads.inbox`. */
  *inbox(query: InboxQuery): Generator<InboxBite> {
    const page: Page = { told: 0, bytes: 0, examined: 0, last: query.afterSeq };
    let bite: InboxBite;
    do {
      bite = this.#snapshot(() => this.#bite(query, page));
      yield bite;
    } while (!bite.isLast);
  }

  /** These events in the order of their keys; one that is gone is left out. */
  *bySeq(seqs: readonly number[]): Generator<Bite<{ seq: number; event: InboxEvent }, null>> {
    const sorted = [...seqs].sort((a, b) => a - b);
    let at = 0;
    do {
      const rows = this.#snapshot(() => {
        const found: { seq: number; event: InboxEvent }[] = [];
        const budget = new BiteBudget();
        for (const from = at; at < sorted.length && (at === from || !budget.isSpent); at++) {
          const seq = sorted[at] ?? 0;
          const event = this.one(seq);
          if (event === null) continue;
          found.push({ seq, event });
          budget.take(Buffer.byteLength(event.payload) + EVENT_COST_BYTES);
        }
        return found;
      });
      yield { rows, next: null, isLast: at >= sorted.length };
    } while (at < sorted.length);
  }

  /** Within the caller's snapshot. Null when it is gone. */
  one(seq: number): InboxEvent | null {
    const row = this.#event.get(seq);
    return row && this.#inboxEvent(row);
  }

  /** Within the caller's snapshot. Empty when it is gone. */
  typeOf(seq: number): string {
    return this.#typeOf.get(seq)?.type ?? "";
  }

  #bite(query: InboxQuery, page: Page): InboxBite {
    const events: InboxEvent[] = [];
    const budget = new BiteBudget();
    const from = page.examined;
    const end = (isLast: boolean): InboxBite => ({ rows: events, next: page.last, isLast });
    const matches = query.type === null || query.type === "*" ? null : typeMatcher([query.type]);
    // A page that takes more than one bite has large payloads: each of the others would find far more than it tells.
    const wanted = matches === null && page.told === 0 ? query.limit + 1 : undefined;
    for (const seq of this.#walk.all(rangeOf(query, page.last), wanted)) {
      if (page.examined === EXAMINED_MAX) return end(true);
      // That another event follows a full page is seen at once, unless it must have the type.
      const isFull = page.told === query.limit && matches === null;
      if (page.examined > from && !isFull && budget.isSpent) return end(false);
      page.examined++;
      const isWanted = matches === null || matches(this.typeOf(seq));
      if (isWanted && page.told === query.limit) return end(true);
      const row = isWanted ? this.#event.get(seq) : null;
      if (row) {
        const bytes = Buffer.byteLength(row.payload) + EVENT_OVERHEAD_BYTES;
        if (page.told > 0 && page.bytes + bytes > PAGE_BYTES_MAX) return end(true);
        budget.take(bytes - EVENT_OVERHEAD_BYTES + EVENT_COST_BYTES);
        page.bytes += bytes;
        page.told++;
        events.push(this.#inboxEvent(row));
      }
      page.last = seq;
    }
    return { rows: events, next: null, isLast: true };
  }

  #withDeliveries(row: EventRow): EventWithDeliveries {
    return { ...this.#inboxEvent(row), deliveries: this.#deliveries.all(row.seq).map(deliveryOfRow) };
  }

  #inboxEvent(row: EventRow): InboxEvent {
    const last = row.attempts ? this.#lastAttempt.get(row.seq) : null;
    const reason = row.status === status.deadLetter ? this.#givenUp.get(row.seq)?.reason : undefined;
    const createdAtMs = msOfSeq(row.seq);
    return {
      id: idOfSeq(row.seq, row.tail),
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

function rangeOf(query: Omit<InboxQuery, "afterSeq">, afterSeq: number | null): EventRange {
  let low = query.sinceMs === null ? -1 : firstSeqOfMs(query.sinceMs) - 1;
  let high = query.untilMs === null ? Number.MAX_SAFE_INTEGER : firstSeqOfMs(query.untilMs);
  if (afterSeq !== null) {
    if (query.order === "asc") low = Math.max(low, afterSeq);
    else high = Math.min(high, afterSeq);
  }
  const wanted = query.statuses.length === 0 ? eventStatuses : query.statuses;
  const statuses = wanted.flatMap(statusNumbers);
  return { org: query.org, low, high, order: query.order === "asc" ? "ASC" : "DESC", statuses };
}
