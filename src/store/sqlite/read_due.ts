// What the delivery thread reads, on its own connection: which deliveries are due, and what to send where.

import type { Database } from "bun:sqlite";
import { idOfSeq } from "../../base/id.ts";
import type { SecretBox } from "../../base/secret_box.ts";
import type { Health } from "../../webhook/breaker.ts";
import { parseSigningSecret } from "../../webhook/secret.ts";
import type { EndpointSecrets } from "./rows.ts";

/** A key that signs; null: without end. */
export type SigningKey = { readonly key: Uint8Array; readonly expiresAtMs: number | null };

/** An endpoint as the sender needs it. `open`: not disabled, deleted, or being put in order. */
export type Target = {
  readonly endpoint: number;
  readonly id: string;
  readonly url: string;
  readonly signingKeys: readonly SigningKey[];
  readonly headers: Readonly<Record<string, string>>;
  readonly open: boolean;
  readonly maxInFlight: number | null;
  readonly rateLimitPerSecond: number | null;
  readonly ordered: boolean;
  readonly timeoutMs: number | null;
  /** As it is on disk. */
  readonly health: Health;
  /** Of an ordered one (hold.ts). */
  readonly heldUntilMs: number | null;
};

/** An event as the sender needs it, with where its delivery stands. */
export type Parcel = {
  readonly id: string;
  readonly type: string;
  readonly payload: string;
  readonly attempts: number;
  /** Of earlier rounds: the schedule does not count them. */
  readonly attempts_before: number;
};

/** A waiting delivery: its event, and its due_at (due.ts). */
export type Waiting = { readonly event: number; readonly due_at: number };

type TargetRow = {
  endpoint: number;
  id: string;
  url: string;
  secrets: string;
  closed: number;
  max_in_flight: number | null;
  rate_limit_per_second: number | null;
  ordered: number;
  timeout_ms: number | null;
  failures: number;
  failing_since: number | null;
  paused_until: number | null;
  held_until: number | null;
};

export class DueReads {
  readonly #box: SecretBox;
  readonly #target;
  readonly #heldUntil;
  readonly #parcel;
  readonly #dueAt;
  readonly #due;
  readonly #nextDue;
  readonly #unsealed;
  readonly #sealed;
  readonly #openEndpoints;

  constructor(db: Database, box: SecretBox) {
    this.#box = box;
    this.#target = db.prepare<TargetRow, [number]>(
      `SELECT endpoint, id, url, secrets, max_in_flight, rate_limit_per_second, ordered, timeout_ms, failures,
         failing_since, paused_until, held_until, disabled_at IS NOT NULL OR deleted_at IS NOT NULL OR aging = 1 AS closed
       FROM endpoints WHERE endpoint = +?`,
    );
    this.#heldUntil = db.prepare<{ held_until: number | null }, [number]>(
      "SELECT held_until FROM endpoints WHERE endpoint = +?",
    );
    this.#parcel = db.prepare<Omit<Parcel, "id"> & { tail: string }, [number, number]>(
      `SELECT e.tail, e.type, e.payload, d.attempts, d.attempts_before FROM deliveries d JOIN events e ON e.seq = d.event
       WHERE d.event = +? AND d.endpoint = +? AND d.state = 0`,
    );
    this.#dueAt = db.prepare<{ due_at: number }, [number, number]>(
      "SELECT due_at FROM deliveries WHERE event = +? AND endpoint = +? AND state = 0",
    );
    this.#due = db.prepare<Waiting, [number, number, number, number, number]>(
      `SELECT event, due_at FROM deliveries
       WHERE endpoint = +?1 AND queued = 1 AND (due_at, event) >= (?2, ?3) AND due_at <= ?4
       ORDER BY due_at, event LIMIT +?5`,
    );
    this.#nextDue = db.prepare<Waiting, [number, number]>(
      `SELECT event, due_at FROM deliveries WHERE endpoint = +? AND queued = 1 AND due_at > ?
       ORDER BY due_at, event LIMIT 1`,
    );
    this.#unsealed = db.prepare<{ event: number; endpoint: number; due_at: number }, [number]>(
      "SELECT event, endpoint, due_at FROM deliveries WHERE event > ? AND state = 0",
    );
    this.#openEndpoints = db.prepare<{ endpoint: number }, []>(
      "SELECT endpoint FROM endpoints WHERE disabled_at IS NULL AND deleted_at IS NULL",
    );
    this.#sealed = db.prepare<{ value: number }, []>("SELECT value FROM marks WHERE name = 'due_sealed'");
  }

  target(endpoint: number): Target | null {
    const row = this.#target.get(endpoint);
    if (!row) return null;
    const { signing, headers } = this.#secrets(row);
    return {
      endpoint,
      id: row.id,
      url: row.url,
      signingKeys: signing.map(({ secret, expires_at }) => ({ key: keyOf(secret), expiresAtMs: expires_at })),
      headers,
      open: row.closed === 0,
      maxInFlight: row.max_in_flight,
      rateLimitPerSecond: row.rate_limit_per_second,
      ordered: row.ordered !== 0,
      timeoutMs: row.timeout_ms,
      health: { failures: row.failures, failingSinceMs: row.failing_since, pausedUntilMs: row.paused_until },
      heldUntilMs: row.held_until,
    };
  }

  /** Nothing is sent to this ordered endpoint before. */
  heldUntilMs(endpoint: number): number | null {
    return this.#heldUntil.get(endpoint)?.held_until ?? null;
  }

  #secrets(row: TargetRow): EndpointSecrets {
    const text = this.#box.open(row.secrets, row.id);
    if (text === null) throw new Error("an endpoint's secrets do not open");
    return JSON.parse(text) as EndpointSecrets;
  }

  /** Null when the delivery does not wait any more. */
  parcel(event: number, endpoint: number): Parcel | null {
    const row = this.#parcel.get(event, endpoint);
    if (!row) return null;
    const { tail, ...rest } = row;
    return { id: idOfSeq(event, tail), ...rest };
  }

  /** The due_at of a delivery; null when it does not wait. */
  dueAt(event: number, endpoint: number): number | null {
    return this.#dueAt.get(event, endpoint)?.due_at ?? null;
  }

  /** Sealed deliveries of an endpoint that are due, in the order of due_at and event, from `from` on. */
  due(endpoint: number, from: Waiting, nowMs: number, limit: number): readonly Waiting[] {
    return this.#due.all(endpoint, from.due_at, from.event, nowMs, limit);
  }

  /** The first of those with a due_at above this one; null when there is none. */
  firstDueAfter(endpoint: number, dueAt: number): Waiting | null {
    return this.#nextDue.get(endpoint, dueAt);
  }

  /** Those that are neither disabled nor deleted. */
  openEndpoints(): readonly number[] {
    return this.#openEndpoints.all().map((row) => row.endpoint);
  }

  sealed(): number {
    return this.#sealed.get()?.value ?? 0;
  }

  /** Waiting deliveries above the sealed mark: the tail, at most some thousands. */
  unsealed(sealed: number): readonly { event: number; endpoint: number; due_at: number }[] {
    return this.#unsealed.all(sealed);
  }
}

function keyOf(secret: string): Uint8Array {
  const parsed = parseSigningSecret(secret);
  if (!parsed.ok) throw new Error("a stored signing secret cannot be read");
  return parsed.key;
}
