// What the delivery thread reads, on its own connection: which deliveries are due, and what to send where.

import type { Database } from "bun:sqlite";

/** An endpoint as the sender needs it. `open`: neither disabled nor deleted. */
export type Target = {
  readonly endpoint: number;
  readonly url: string;
  readonly signingSecret: string;
  readonly open: boolean;
};

/** An event as the sender needs it, with where its delivery stands. */
export type Parcel = {
  readonly id: string;
  readonly type: string;
  readonly payload: string;
  readonly attempts: number;
};

/** A scrape of the metrics must stay cheap: counting a million due rows would take tens of milliseconds. */
const BACKLOG_COUNTED_MAX = 100_000;

type TargetRow = { endpoint: number; url: string; signing_secret: string; closed: number };

export class DueReads {
  readonly #target;
  readonly #parcel;
  readonly #due;
  readonly #nextDue;
  readonly #nextDueAfter;
  readonly #endpoints;
  readonly #unsealed;
  readonly #sealed;
  readonly #openEndpoints;
  readonly #countDue;
  readonly #unsealedDue;

  constructor(db: Database) {
    this.#target = db.prepare<TargetRow, [number]>(
      `SELECT endpoint, url, signing_secret, disabled_at IS NOT NULL OR deleted_at IS NOT NULL AS closed
       FROM endpoints WHERE endpoint = ?`,
    );
    this.#parcel = db.prepare<Parcel, [number, number]>(
      `SELECT e.id, e.type, e.payload, d.attempts FROM deliveries d JOIN events e ON e.seq = d.event
       WHERE d.event = ? AND d.endpoint = ? AND d.state = 0`,
    );
    this.#due = db.prepare<{ event: number; due_at: number }, [number, number, number]>(
      `SELECT event, due_at FROM deliveries WHERE endpoint = ? AND queued = 1 AND due_at <= ?
       ORDER BY due_at, event LIMIT ?`,
    );
    this.#nextDue = db.prepare<{ due_at: number | null }, [number]>(
      "SELECT min(due_at) AS due_at FROM deliveries WHERE endpoint = ? AND queued = 1",
    );
    this.#nextDueAfter = db.prepare<{ due_at: number | null }, [number, number]>(
      "SELECT min(due_at) AS due_at FROM deliveries WHERE endpoint = ? AND queued = 1 AND due_at > ?",
    );
    this.#endpoints = db.prepare<{ endpoint: number }, []>("SELECT endpoint FROM endpoints");
    this.#unsealed = db.prepare<{ event: number; endpoint: number; due_at: number }, [number]>(
      "SELECT event, endpoint, due_at FROM deliveries WHERE event > ? AND state = 0",
    );
    this.#openEndpoints = db.prepare<{ endpoint: number }, []>(
      "SELECT endpoint FROM endpoints WHERE disabled_at IS NULL AND deleted_at IS NULL",
    );
    this.#countDue = db.prepare<{ n: number }, [number, number, number]>(
      `SELECT count(*) AS n FROM (SELECT 1 FROM deliveries WHERE endpoint = ? AND queued = 1 AND due_at <= ? LIMIT ?)`,
    );
    this.#unsealedDue = db.prepare<{ due: number; oldest: number | null }, [number, number]>(
      `SELECT count(*) AS due, min(due_at) AS oldest FROM deliveries d
       WHERE event > ? AND state = 0 AND due_at <= ? AND EXISTS (
         SELECT 1 FROM endpoints p WHERE p.endpoint = d.endpoint AND disabled_at IS NULL AND deleted_at IS NULL)`,
    );
    this.#sealed = db.prepare<{ value: number }, []>("SELECT value FROM marks WHERE name = 'due_sealed'");
  }

  target(endpoint: number): Target | null {
    const row = this.#target.get(endpoint);
    if (!row) return null;
    return { endpoint, url: row.url, signingSecret: row.signing_secret, open: row.closed === 0 };
  }

  /** Null when the delivery does not wait any more. */
  parcel(event: number, endpoint: number): Parcel | null {
    return this.#parcel.get(event, endpoint);
  }

  /** Sealed deliveries of an endpoint that are due, the longest due first. */
  due(endpoint: number, nowMs: number, limit: number): readonly { event: number; due_at: number }[] {
    return this.#due.all(endpoint, nowMs, limit);
  }

  /** When the next sealed delivery of an endpoint is due; null when none waits. */
  nextDueMs(endpoint: number): number | null {
    return this.#nextDue.get(endpoint)?.due_at ?? null;
  }

  /** The same, of those that are not due yet. */
  nextDueAfterMs(endpoint: number, nowMs: number): number | null {
    return this.#nextDueAfter.get(endpoint, nowMs)?.due_at ?? null;
  }

  endpoints(): readonly number[] {
    return this.#endpoints.all().map((row) => row.endpoint);
  }

  sealed(): number {
    return this.#sealed.get()?.value ?? 0;
  }

  /**
   * How many deliveries are due now, counted up to `BACKLOG_COUNTED_MAX`, and since when the oldest is. Those of
   * disabled endpoints are held, not due.
   */
  backlog(nowMs: number): { due: number; oldestDueMs: number | null } {
    const row = this.#unsealedDue.get(this.sealed(), nowMs);
    let due = row?.due ?? 0;
    let oldestDueMs = row?.oldest ?? Number.POSITIVE_INFINITY;
    for (const { endpoint } of this.#openEndpoints.all()) {
      oldestDueMs = Math.min(oldestDueMs, this.nextDueMs(endpoint) ?? Number.POSITIVE_INFINITY);
      if (due < BACKLOG_COUNTED_MAX) {
        due += this.#countDue.get(endpoint, nowMs, BACKLOG_COUNTED_MAX - due)?.n ?? 0;
      }
    }
    return { due, oldestDueMs: oldestDueMs <= nowMs ? oldestDueMs : null };
  }

  /** Waiting deliveries above the sealed mark: the tail, at most some thousands. */
  unsealed(sealed: number): readonly { event: number; endpoint: number; due_at: number }[] {
    return this.#unsealed.all(sealed);
  }
}
