// Work by leases: events in hand, handled so many at a time, acknowledged or given back. What may surprise: a lease is
// extended for as long as one of its events is in hand, so a slow handler is not raced by another consumer; an event
// that was lost all the same has its handler's signal aborted. Everything is at least once; an event that was leased 20
// times and never acknowledged becomes a dead letter in the server.

import type { Connection } from "./connection.ts";
import { mayPass } from "./error.ts";
import type { AnyTypes, InboxEvent } from "./event.ts";
import { HeldLease } from "./held_lease.ts";
import { takeLease } from "./lease.ts";
import { backoffMs, pause, withResolvers } from "./pause.ts";

export interface WorkOptions<Types extends object = AnyTypes> {
  /** A type, or the beginning of one with `*` at its end. */
  readonly type?: string;
  /** Events in one lease, 1 to 1000; 10 unless told. */
  readonly max?: number;
  /** 1 to 3600; 300 unless told. It is extended at half its time: it is what a crash of this process costs. */
  readonly leaseSeconds?: number;
  /** Handlers at one time; 1 unless told, which keeps the order of the events. */
  readonly concurrency?: number;
  /** How long a failed event is left alone, whole seconds up to 86400; 10 doubled with each lease, to 3600, unless told. */
  readonly releaseDelaySeconds?: (event: InboxEvent<Types>, error: unknown) => number;
  /** Aborted: no new lease; handlers that run go on to their end, what they have not begun is released. */
  readonly signal?: AbortSignal;
  /** Hears what failed: a handler (with its event) or a call (null). Onto the console unless told. It must not throw. */
  readonly onError?: (error: unknown, event: InboxEvent<Types> | null) => void;
}

/** `signal` is aborted when the event is not this worker's any more: stop, its outcome will not count. */
export type Handler<Types extends object = AnyTypes> = (
  event: InboxEvent<Types>,
  context: { readonly signal: AbortSignal },
) => unknown;

export interface WorkSummary {
  /** Handled without an error. */
  readonly done: number;
  readonly failed: number;
  /** Lost to another consumer, or given back because of the stop. */
  readonly returned: number;
}

type Entry<Types extends object> = { readonly lease: HeldLease; readonly event: InboxEvent<Types> };

const MAX = 10;
const LEASE_SECONDS = 300;
const WAIT_SECONDS = 20;
const RETRY_FIRST_MS = 500;
const RETRY_MAX_MS = 30_000;
/** An empty answer sooner than this is no long poll, and must not become a hot loop. */
const EMPTY_MS_MIN = 1_000;
/** Leases whose acknowledgements do not get through; then no more is taken. */
const UNTOLD_LEASES_MAX = 8;

/**
 * Handles events until the signal is aborted, and resolves when nothing is in hand any more. Rejects, likewise with
 * nothing in hand, when the server refuses for good (key, scope, or options), or when a callback of the options throws.
 */
export async function work<Types extends object = AnyTypes>(
  connection: Connection,
  handler: Handler<Types>,
  options: WorkOptions<Types> = {},
): Promise<WorkSummary> {
  return await new LeaseWorker<Types>(connection, handler, options).run();
}

class LeaseWorker<Types extends object> {
  readonly #connection: Connection;
  readonly #handler: Handler<Types>;
  readonly #options: WorkOptions<Types>;
  readonly #onError: NonNullable<WorkOptions<Types>["onError"]>;
  readonly #concurrency: number;
  readonly #leases = new Set<HeldLease>();
  #queue: Entry<Types>[] = [];
  #running = 0;
  /** Aborted by the signal of the options, and when a callback of them throws. */
  readonly #stop = new AbortController();
  /** What it threw: nobody would hear of it where it was called. */
  #broken: { readonly error: unknown } | null = null;
  #changed = withResolvers<void>();
  readonly #summary = { done: 0, failed: 0, returned: 0 };

  constructor(connection: Connection, handler: Handler<Types>, options: WorkOptions<Types>) {
    this.#connection = connection;
    this.#handler = handler;
    this.#options = options;
    const onError = options.onError ?? ((error) => console.error("zapier-triggers:", error));
    this.#onError = (error, event) => this.#guarded(() => onError(error, event), undefined);
    this.#concurrency = options.concurrency ?? 1;
    // With none, or NaN, it would wait for ever and take nothing.
    if (!(this.#concurrency >= 1)) throw new RangeError("concurrency must be 1 or more");
  }

  async run(): Promise<WorkSummary> {
    const { signal } = this.#options;
    const end = () => this.#end();
    if (signal?.aborted) end();
    else signal?.addEventListener("abort", end, { once: true });
    try {
      for (let failures = 0; !this.#isOver(); ) {
        if (this.#hasRoom()) failures = await this.#takeMore(failures);
        else await this.#changed.promise;
      }
    } finally {
      this.#giveBackQueue();
      while (this.#running > 0 || this.#leases.size > 0) await this.#changed.promise;
      signal?.removeEventListener("abort", end);
    }
    if (this.#broken !== null) throw this.#broken.error;
    return this.#summary;
  }

  #isOver(): boolean {
    return this.#stop.signal.aborted;
  }

  #end(): void {
    this.#stop.abort();
    this.#wake();
  }

  #hasRoom(): boolean {
    const untold = [...this.#leases].filter((lease) => lease.isSettled).length;
    return this.#queue.length + this.#running < this.#concurrency && untold < UNTOLD_LEASES_MAX;
  }

  /** One lease. Returns how many calls in a row brought nothing in no time; throws what will not pass. */
  async #takeMore(failures: number): Promise<number> {
    const { max = MAX, leaseSeconds = LEASE_SECONDS, type } = this.#options;
    const { signal } = this.#stop;
    const asked = { max, leaseSeconds, waitSeconds: WAIT_SECONDS, ...(type === undefined ? {} : { type }) };
    const startedMs = performance.now();
    let retryAfterMs = 0;
    try {
      const { id, events } = await takeLease<Types>(this.#connection, { ...asked, signal });
      if (id !== null && events.length > 0) {
        this.#begin(id, leaseSeconds, startedMs, events);
        return 0;
      }
      if (performance.now() - startedMs >= EMPTY_MS_MIN) return 0;
    } catch (error) {
      if (signal.aborted) return 0;
      if (!mayPass(error)) throw error;
      this.#onError(error, null);
      retryAfterMs = (error.retryAfterSeconds ?? 0) * 1_000;
    }
    const waitMs = Math.max(retryAfterMs, backoffMs(failures, RETRY_FIRST_MS, RETRY_MAX_MS));
    await pause(waitMs, signal).catch(() => {});
    return failures + 1;
  }

  #begin(id: string, leaseSeconds: number, startedMs: number, events: readonly InboxEvent<Types>[]): void {
    const lease = new HeldLease(this.#connection, {
      id,
      leaseSeconds,
      startedMs,
      eventIds: events.map((event) => event.id),
      onError: (error) => this.#onError(error, null),
    });
    this.#leases.add(lease);
    void lease.ended.then(() => {
      this.#leases.delete(lease);
      this.#wake();
    });
    this.#queue.push(...events.map((event) => ({ lease, event })));
    this.#fill();
  }

  #fill(): void {
    while (this.#running < this.#concurrency && !this.#isOver()) {
      const entry = this.#queue.shift();
      if (entry === undefined) break;
      this.#running++;
      void this.#handle(entry).finally(() => {
        this.#running--;
        this.#fill();
        this.#wake();
      });
    }
  }

  async #handle({ lease, event }: Entry<Types>): Promise<void> {
    const signal = lease.signalOf(event.id);
    if (signal === null) {
      this.#summary.returned++;
      return;
    }
    try {
      await this.#handler(event, { signal });
      this.#summary[lease.acknowledge(event.id) ? "done" : "returned"]++;
    } catch (error) {
      this.#summary.failed++;
      this.#onError(error, event);
      lease.release(event.id, this.#delaySeconds(event, error));
    }
  }

  #delaySeconds(event: InboxEvent<Types>, error: unknown): number {
    const own = this.#options.releaseDelaySeconds;
    if (own !== undefined) return this.#guarded(() => own(event, error), 0);
    return Math.min(3_600, 10 * 2 ** Math.min(20, (event.leaseCount ?? 1) - 1));
  }

  /** What the callback says; if it throws instead, `otherwise`, and the worker ends. */
  #guarded<T>(callback: () => T, otherwise: T): T {
    try {
      return callback();
    } catch (error) {
      this.#broken ??= { error };
      this.#end();
      return otherwise;
    }
  }

  #giveBackQueue(): void {
    const queue = this.#queue;
    this.#queue = [];
    for (const { lease, event } of queue) {
      this.#summary.returned++;
      lease.release(event.id, 0);
    }
  }

  #wake(): void {
    this.#changed.resolve();
    this.#changed = withResolvers<void>();
  }
}
