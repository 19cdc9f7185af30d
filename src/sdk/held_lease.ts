// One lease in hand: which of its events are not settled, until when it holds, and the calls that settle them. While
// one call is on its way, the outcomes that come meanwhile wait and go together in the next.

import type { Connection } from "./connection.ts";
import { TriggersError } from "./error.ts";
import { ackLease, extendLease, releaseLease } from "./lease.ts";
import { pause, withResolvers } from "./pause.ts";

interface Held {
  readonly id: string;
  readonly leaseSeconds: number;
  /** By `performance.now()`, before the call that took it: it never runs out later than this says. */
  readonly startedMs: number;
  readonly eventIds: readonly string[];
  readonly onError: (error: unknown) => void;
}

/** An extension that failed is tried again after a tenth of the lease, at most after this. */
const EXTEND_AGAIN_MS_MAX = 5_000;

export class HeldLease {
  readonly #connection: Connection;
  readonly #held: Held;
  readonly #open: Map<string, AbortController>;
  readonly #settled = new AbortController();
  readonly #ended = withResolvers<void>();
  #acknowledged: string[] = [];
  #released = new Map<number, string[]>();
  #endsMs: number;
  #isFlushing = false;

  constructor(connection: Connection, held: Held) {
    this.#connection = connection;
    this.#held = held;
    this.#open = new Map(held.eventIds.map((id) => [id, new AbortController()]));
    this.#endsMs = held.startedMs + held.leaseSeconds * 1_000;
    void this.#extendWhileOpen();
  }

  /** Resolves when every event is settled or lost, and the server has been told. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  /** Aborted when the event is lost; null when it is already, and must not be begun. */
  signalOf(eventId: string): AbortSignal | null {
    if (performance.now() >= this.#endsMs) this.#lose([eventId]);
    return this.#open.get(eventId)?.signal ?? null;
  }

  /** Nothing of it is in hand; the server may not have been told. */
  get isSettled(): boolean {
    return this.#open.size === 0;
  }

  /** False when the event was lost: another consumer may have it. */
  acknowledge(eventId: string): boolean {
    if (!this.#settle(eventId)) return false;
    this.#acknowledged.push(eventId);
    void this.#flush();
    return true;
  }

  release(eventId: string, delaySeconds: number): void {
    if (!this.#settle(eventId)) return;
    const ids = this.#released.get(delaySeconds);
    if (ids) ids.push(eventId);
    else this.#released.set(delaySeconds, [eventId]);
    void this.#flush();
  }

  #settle(eventId: string): boolean {
    const wasOpen = this.#open.delete(eventId);
    if (this.#open.size === 0) this.#settled.abort();
    return wasOpen;
  }

  async #flush(): Promise<void> {
    if (this.#isFlushing) return;
    this.#isFlushing = true;
    // Outcomes of the same turn go together: a stop releases a whole queue.
    await Promise.resolve();
    const { id } = this.#held;
    while (this.#acknowledged.length > 0 || this.#released.size > 0) {
      const [acknowledged, released] = [this.#acknowledged, this.#released];
      this.#acknowledged = [];
      this.#released = new Map();
      if (acknowledged.length > 0) await this.#tell(ackLease(this.#connection, id, acknowledged));
      for (const [seconds, ids] of released)
        await this.#tell(releaseLease(this.#connection, id, ids, seconds));
    }
    this.#isFlushing = false;
    this.#endIfDone();
  }

  /** What does not get through comes back when the lease runs out. */
  async #tell(call: Promise<unknown>): Promise<void> {
    try {
      await call;
    } catch (error) {
      this.#held.onError(error);
    }
  }

  async #extendWhileOpen(): Promise<void> {
    const leaseMs = this.#held.leaseSeconds * 1_000;
    const againMs = Math.min(EXTEND_AGAIN_MS_MAX, leaseMs / 10);
    for (let nextMs = leaseMs / 2; this.#open.size > 0; ) {
      await pause(nextMs, this.#settled.signal).catch(() => {});
      if (this.#open.size === 0) return;
      nextMs = (await this.#extend(leaseMs)) ? leaseMs / 2 : againMs;
    }
  }

  async #extend(leaseMs: number): Promise<boolean> {
    const askedMs = performance.now();
    try {
      await extendLease(this.#connection, this.#held.id, this.#held.leaseSeconds);
    } catch (error) {
      // The last event was settled meanwhile: nothing is left to extend.
      if (this.#open.size === 0) return false;
      const lost = lostOf(error, this.#open);
      const isOurs = lost?.some((id) => this.#open.has(id)) ?? true;
      // What was released before counts as lost to the server, and is no news here.
      if (isOurs) this.#held.onError(error);
      if (lost === null) return false;
      this.#lose(lost);
      // The rest of a lease of which others took a part goes on.
    }
    this.#endsMs = askedMs + leaseMs;
    return true;
  }

  #lose(eventIds: readonly string[]): void {
    for (const id of eventIds) {
      const controller = this.#open.get(id);
      this.#settle(id);
      controller?.abort(new Error("the lease of this event ran out"));
    }
    this.#endIfDone();
  }

  #endIfDone(): void {
    if (this.#open.size === 0 && !this.#isFlushing) this.#ended.resolve();
  }
}

/** What a refused extension says is gone, all of it when the server knows no such lease; null: it says nothing. */
function lostOf(error: unknown, open: ReadonlyMap<string, unknown>): readonly string[] | null {
  if (!(error instanceof TriggersError)) return null;
  if (error.status === 404) return [...open.keys()];
  if (error.code !== "lease_expired") return null;
  const { lost } = error.problem;
  return Array.isArray(lost) ? lost.map(String) : [...open.keys()];
}
