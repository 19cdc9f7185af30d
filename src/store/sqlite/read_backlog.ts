// What waits to be sent, counted: for metrics and readiness.

import type { Database } from "bun:sqlite";
import { dueMs, dueMsSql } from "./due.ts";

/** A scrape of the metrics must stay cheap: counting a million due rows would take tens of milliseconds. */
const COUNTED_MAX = 100_000;

type First = { due_at: number };

/** Deliveries of disabled endpoints are held, not due. */
const OPEN = "disabled_at IS NULL AND deleted_at IS NULL";

export class BacklogReads {
  readonly #endpoints;
  readonly #unsealed;
  readonly #first;
  readonly #count;

  constructor(db: Database) {
    this.#endpoints = db.prepare<{ endpoint: number }, []>(`SELECT endpoint FROM endpoints WHERE ${OPEN}`);
    this.#unsealed = db.prepare<{ due: number; oldest: number | null }, [number]>(
      `SELECT count(*) AS due, min(${dueMsSql("due_at")}) AS oldest FROM deliveries d
       WHERE event > (SELECT value FROM marks WHERE name = 'due_sealed') AND state = 0 AND due_at <= ?
         AND EXISTS (SELECT 1 FROM endpoints p WHERE p.endpoint = d.endpoint AND ${OPEN})`,
    );
    this.#first = db.prepare<First, [number, number]>(
      `SELECT due_at FROM deliveries WHERE endpoint = +? AND queued = 1 AND due_at > ? ORDER BY due_at LIMIT 1`,
    );
    this.#count = db.prepare<{ n: number }, [number, number, number]>(
      `SELECT count(*) AS n FROM (SELECT 1 FROM deliveries WHERE endpoint = +? AND queued = 1 AND due_at <= ? LIMIT +?)`,
    );
  }

  /** How many deliveries are due, counted up to `COUNTED_MAX`, and since when the oldest is; null when none is. */
  read(nowMs: number): { due: number; oldestDueMs: number | null } {
    const unsealed = this.#unsealed.get(nowMs);
    let due = unsealed?.due ?? 0;
    let oldestMs = unsealed?.oldest ?? Number.POSITIVE_INFINITY;
    for (const { endpoint } of this.#endpoints.all()) {
      // Those in the order of age come before those with a time, and may be due since later.
      for (const after of [-Number.MAX_SAFE_INTEGER, 0]) {
        const first = this.#first.get(endpoint, after);
        if (first) oldestMs = Math.min(oldestMs, dueMs(first.due_at));
      }
      if (due < COUNTED_MAX) due += this.#count.get(endpoint, nowMs, COUNTED_MAX - due)?.n ?? 0;
    }
    return { due, oldestDueMs: oldestMs <= nowMs ? oldestMs : null };
  }
}
