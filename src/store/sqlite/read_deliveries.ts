// Reads of deliveries, of attempts and of how endpoints stand to an event. Deliveries have no order of their own on
// disk but that of their events: a list is a walk over the organization's events, or over an index where one fits.

import type { Database } from "bun:sqlite";
import { firstSeqOfMs, idOfSeq, isId, seqOfId, tailOfId } from "../../base/id.ts";
import type { DeliveryStatus } from "../../wire/tiers.ts";
import type {
  Attempt,
  Delivery,
  DeliveryBite,
  DeliveryKey,
  DeliveryQuery,
  DeliveryWithAttempts,
  EventEndpoint,
} from "../store.ts";
import { BiteBudget } from "./bite.ts";
import { DELIVERY_SQL, type DeliveryRow, deliveryId, deliveryOfRow, errorOf } from "./delivery_rows.ts";
import { EventWalk } from "./event_walk.ts";
import { type EndpointRow, endpointOfRow } from "./rows.ts";
import { deliveryStatus, status } from "./status.ts";

/** A rare endpoint or status in a long list: after looking at this many events the page ends, and the cursor goes on. */
const EXAMINED_MAX = 1_000;
/** A page ends before it passes this; what a delivery takes beside the answers' excerpts is less than the second. */
const PAGE_BYTES_MAX = 8 * 1024 * 1024 - 4_096;
const DELIVERY_BYTES = 6_144;
const ATTEMPT_BYTES = 1_024;

/** Found at once: a thousand endpoints may have a delivery of one event. */
const ROWS_AT_ONCE = 64;
/** Asking one endpoint takes 5 us; with more of them the events themselves are gone through. */
const ENDPOINTS_ASKED_MAX = 100;
/** Behind the last delivery of an event. */
const ALL_ENDPOINTS = Number.MAX_SAFE_INTEGER;

/** How far a page has got. `last`: what was looked at last. */
type Page = { told: number; bytes: number; examined: number; last: DeliveryKey | null };

type AttemptRow = {
  attempt: number;
  started_at: number;
  duration_ms: number;
  response_status: number | null;
  error: string | null;
  response_excerpt: string | null;
};

export class DeliveryReads {
  readonly #db: Database;
  readonly #walk: EventWalk;
  readonly #ofEvent;
  readonly #ofEventAfter;
  readonly #one;
  readonly #dead;
  readonly #attempts;
  readonly #owner;
  readonly #endpoints;
  readonly #endpointKey;
  readonly #ownEndpoints;
  readonly #firstQueued;
  readonly #firstUnsealed;

  constructor(db: Database) {
    this.#db = db;
    this.#walk = new EventWalk(db);
    this.#ofEvent = db.prepare<DeliveryRow, [number]>(
      `${DELIVERY_SQL} WHERE d.event = +? ORDER BY d.endpoint`,
    );
    this.#ofEventAfter = db.prepare<DeliveryRow, [number, number, number]>(
      `${DELIVERY_SQL} WHERE d.event = +? AND d.endpoint > ? ORDER BY d.endpoint LIMIT +?`,
    );
    this.#one = db.prepare<DeliveryRow, [number, number]>(
      `${DELIVERY_SQL} WHERE d.event = +? AND d.endpoint = +?`,
    );
    this.#dead = db.prepare<{ event: number }, [number, number, number, number]>(
      `SELECT event FROM deliveries WHERE endpoint = +? AND state = 2 AND event > ? AND event < ?
       ORDER BY event DESC LIMIT +?`,
    );
    this.#attempts = db.prepare<AttemptRow, [number, number]>(
      `SELECT attempt, started_at, duration_ms, response_status, error, response_excerpt
       FROM attempts WHERE event = +? AND endpoint = +? ORDER BY attempt`,
    );
    this.#owner = db.prepare<{ org: number; tail: string }, [number]>(
      "SELECT org, tail FROM events WHERE seq = +? AND type <> ''",
    );
    // Two parts, each by an index: the deleted ones of an organization are in none.
    this.#endpoints = db.prepare<EndpointRow, [number, number]>(
      `SELECT * FROM endpoints WHERE org = +?1 AND deleted_at IS NULL
       UNION ALL
       SELECT p.* FROM deliveries d JOIN endpoints p ON p.endpoint = d.endpoint
       WHERE d.event = +?2 AND p.deleted_at IS NOT NULL ORDER BY endpoint`,
    );
    this.#endpointKey = db.prepare<{ endpoint: number }, [number, string]>(
      "SELECT endpoint FROM endpoints WHERE org = +? AND id = +?",
    );
    this.#ownEndpoints = db.prepare<{ endpoint: number }, [number, number]>(
      `SELECT endpoint FROM endpoints WHERE org = +?1 AND deleted_at IS NULL
       UNION ALL
       SELECT endpoint FROM endpoints WHERE org = +?1 AND deleted_at IS NOT NULL LIMIT +?2`,
    );
    this.#firstQueued = db.prepare<{ event: number }, [number]>(
      "SELECT event FROM deliveries WHERE endpoint = +? AND queued = 1 ORDER BY due_at, event LIMIT 1",
    );
    this.#firstUnsealed = db.prepare<{ event: number }, [number]>(
      `SELECT event FROM deliveries WHERE event > (SELECT value FROM marks WHERE name = 'due_sealed')
       AND endpoint = +? AND state = 0 ORDER BY event LIMIT 1`,
    );
  }

  delivery(org: number, id: string): DeliveryWithAttempts | null {
    return this.#snapshot(() => {
      const row = this.#rowOf(org, id);
      if (!row) return null;
      return this.#withAttempts(row);
    });
  }

  #withAttempts(row: DeliveryRow): DeliveryWithAttempts {
    const attemptsMade = this.#attempts.all(row.event, row.endpoint).map(attemptOfRow);
    return { ...deliveryOfRow(row), attemptsMade };
  }

  /** The keys that a delivery's id stands for. */
  keyOf(org: number, id: string): DeliveryKey | null {
    const row = this.#snapshot(() => this.#rowOf(org, id));
    return row && { event: row.event, endpoint: row.endpoint };
  }

  /** See `Reads.deliveries`. */
  *deliveries(query: DeliveryQuery): Generator<DeliveryBite> {
    const page: Page = { told: 0, bytes: 0, examined: 0, last: query.after };
    let bite: DeliveryBite;
    do {
      bite = this.#snapshot(() => this.#bite(query, page));
      yield bite;
    } while (!bite.isLast);
  }

  /** See `Reads.eventEndpoints`. */
  eventEndpoints(org: number, eventId: string): readonly EventEndpoint[] | null {
    return this.#snapshot(() => {
      const event = this.#eventKey(org, eventId);
      if (event === null) return null;
      const rows = new Map(this.#ofEvent.all(event).map((row) => [row.endpoint, deliveryOfRow(row)]));
      return this.#endpoints
        .all(org, event)
        .map((row) => this.#eventEndpoint(row, event, rows.get(row.endpoint) ?? null));
    });
  }

  #eventEndpoint(row: EndpointRow, event: number, delivery: Delivery | null): EventEndpoint {
    const waits = delivery?.status === "pending" || delivery?.status === "failed";
    const first = row.ordered !== 0 && waits ? this.#firstWaiting(row.endpoint) : null;
    const owner = first !== null && first < event ? this.#owner.get(first) : null;
    const waitsForEventId = first !== null && owner ? idOfSeq(first, owner.tail) : null;
    return { endpoint: endpointOfRow(row), delivery, waitsForEventId };
  }

  #firstWaiting(endpoint: number): number | null {
    return (this.#firstQueued.get(endpoint) ?? this.#firstUnsealed.get(endpoint))?.event ?? null;
  }

  #rowOf(org: number, id: string): DeliveryRow | null {
    const event = isId(id) ? seqOfId(id) : null;
    if (event === null || this.#owner.get(event)?.org !== org) return null;
    return this.#ofEvent.all(event).find((row) => deliveryId(event, row.endpoint) === id) ?? null;
  }

  #eventKey(org: number, id: string): number | null {
    const seq = isId(id) ? seqOfId(id) : null;
    const owner = seq === null ? null : this.#owner.get(seq);
    return owner && owner.org === org && owner.tail === tailOfId(id) ? seq : null;
  }

  #bite(query: DeliveryQuery, page: Page): DeliveryBite {
    const deliveries: DeliveryWithAttempts[] = [];
    const end = (isLast: boolean): DeliveryBite => ({ rows: deliveries, next: page.last, isLast });
    const endpoint = query.endpointId === null ? null : this.#endpointKey.get(query.org, query.endpointId);
    if (endpoint === null && query.endpointId !== null) return { ...end(true), next: null };
    const budget = new BiteBudget();
    const from = page.last;
    for (const event of this.#events(query, page.last, endpoint?.endpoint ?? null)) {
      if (page.examined === EXAMINED_MAX) return end(true);
      for (const row of this.#rowsOf(event, page.last, endpoint?.endpoint ?? null)) {
        if (page.last !== from && budget.isSpent) return end(false);
        const key = { event: row.event, endpoint: row.endpoint };
        if (query.status === null || deliveryStatus(row) === query.status) {
          if (page.told === query.limit) return end(true);
          const delivery = this.#withAttempts(row);
          const bytes = bytesOf(delivery);
          if (page.told > 0 && page.bytes + bytes > PAGE_BYTES_MAX) return end(true);
          budget.take(bytes - DELIVERY_BYTES);
          page.bytes += bytes;
          page.told++;
          deliveries.push(delivery);
        }
        page.last = key;
      }
      if (page.last !== from && budget.isSpent) return end(false);
      // Past the event's last endpoint: what follows goes on with the event before.
      page.last = { event, endpoint: ALL_ENDPOINTS };
      page.examined++;
    }
    return { rows: deliveries, next: null, isLast: true };
  }

  /** Of one event, behind what was looked at last. */
  *#rowsOf(event: number, after: DeliveryKey | null, endpoint: number | null): Iterable<DeliveryRow> {
    let low = after !== null && after.event === event ? after.endpoint : -1;
    if (endpoint !== null) {
      const row = endpoint > low ? this.#one.get(event, endpoint) : null;
      if (row) yield row;
      return;
    }
    for (;;) {
      const rows = this.#ofEventAfter.all(event, low, ROWS_AT_ONCE);
      yield* rows;
      if (rows.length < ROWS_AT_ONCE) return;
      low = rows.at(-1)?.endpoint ?? ALL_ENDPOINTS;
    }
  }

  /** Newest first, from the event where the page before ended. */
  *#events(query: DeliveryQuery, after: DeliveryKey | null, endpoint: number | null): Iterable<number> {
    const low = query.sinceMs === null ? -1 : firstSeqOfMs(query.sinceMs) - 1;
    const until = query.untilMs === null ? Number.MAX_SAFE_INTEGER : firstSeqOfMs(query.untilMs);
    const isRest = after !== null && after.endpoint < ALL_ENDPOINTS;
    const high = after === null ? until : Math.min(until, isRest ? after.event + 1 : after.event);
    if (query.eventId !== null) {
      const event = this.#eventKey(query.org, query.eventId);
      if (event !== null && event > low && event < high) yield event;
      return;
    }
    const endpoints = query.status === "dead_letter" ? this.#endpointsToAsk(query.org, endpoint) : null;
    if (endpoints !== null) yield* this.#deadEvents(endpoints, low, high);
    else {
      const statuses = eventStatusesOf(query.status);
      yield* this.#walk.all({ org: query.org, low, high, order: "DESC", statuses });
    }
  }

  /** Whose dead letters are the organization's, the deleted ones too; null: too many to ask each. */
  #endpointsToAsk(org: number, endpoint: number | null): readonly number[] | null {
    if (endpoint !== null) return [endpoint];
    const own = this.#ownEndpoints.all(org, ENDPOINTS_ASKED_MAX + 1).map((row) => row.endpoint);
    return own.length > ENDPOINTS_ASKED_MAX ? null : own;
  }

  /** Events with a dead letter of one of these endpoints, each once, the newest first. */
  *#deadEvents(endpoints: readonly number[], low: number, high: number): Iterable<number> {
    for (let below: number | undefined = high; below !== undefined; ) {
      const top: number = below;
      const found = endpoints.flatMap((one) =>
        this.#dead.all(one, low, top, ROWS_AT_ONCE).map((row) => row.event),
      );
      // The newest 64 of each have the newest 64 of all among them.
      const events = [...new Set(found)].sort((a, b) => b - a).slice(0, ROWS_AT_ONCE);
      yield* events;
      below = events.at(-1);
    }
  }

  #snapshot<T>(read: () => T): T {
    return this.#db.transaction(read)();
  }
}

/** The statuses that an event with such a delivery can have. */
function eventStatusesOf(wanted: DeliveryStatus | null): readonly number[] {
  if (wanted === "failed") return [status.failed, status.deliveredWaiting];
  if (wanted === "pending") return [status.pending, status.failed, status.deliveredWaiting];
  return Object.values(status);
}

/** At most what it takes as JSON; an excerpt of control characters is six times as long there. */
function bytesOf({ attemptsMade }: DeliveryWithAttempts): number {
  return attemptsMade.reduce(
    (bytes, { responseExcerpt }) =>
      bytes + ATTEMPT_BYTES + Buffer.byteLength(JSON.stringify(responseExcerpt)),
    DELIVERY_BYTES,
  );
}

function attemptOfRow(row: AttemptRow): Attempt {
  return {
    attempt: row.attempt,
    startedAtMs: row.started_at,
    durationMs: row.duration_ms,
    responseStatus: row.response_status,
    ...errorOf(row.error),
    responseExcerpt: row.response_excerpt,
  };
}
