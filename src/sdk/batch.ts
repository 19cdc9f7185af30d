// Many events: cut into calls of at most 1000 events and 8 MiB, one call at a time, so that order is kept and memory
// holds one call's worth of an endless source. Surprise: a batch that is larger than what the rate limit leaves is
// refused as a whole; it goes on in parts, of what fits now or in a minute.

import type { Connection } from "./connection.ts";
import { notThisService, type TriggersError } from "./error.ts";
import { type AnyTypes, eventText, type NewEvent } from "./event.ts";
import { withResolvers } from "./pause.ts";

export type SentResult =
  | { readonly status: "accepted"; readonly id: string }
  /** The event was accepted before, under this id. */
  | { readonly status: "duplicate"; readonly id: string }
  | { readonly status: "rejected"; readonly code: string; readonly detail: string };

/** Events and, in the same order, what became of each. */
export interface Sent<E> {
  readonly events: readonly E[];
  readonly results: readonly SentResult[];
}

export interface SendAllOptions {
  readonly signal?: AbortSignal | undefined;
  /** How long an event waits for others at most, when the source is slow; 200 ms unless told. */
  readonly lingerMs?: number;
}

/** `text: null`: it cannot be sent, and `result` says why. */
type Packed<E> = { readonly event: E } & (
  | { readonly text: string; readonly result: null }
  | { readonly text: null; readonly result: SentResult }
);
type Source<E> = Iterable<E> | AsyncIterable<E>;

const EVENTS_MAX = 1_000;
const BYTES_MAX = 8 * 1_024 * 1_024;
const ENVELOPE_BYTES = '{"events":[]}'.length;
const LINGER_MS = 200;
/** Fewer than these are not sent ahead when the rate limit has room: near the limit that would be a call for each. */
const PART_EVENTS_MIN = 100;

/**
 * Sends what the source gives, in order, and tells after each call. An event that is rejected spoils no other. A
 * source that is not read on is not read ahead either: at most one batch is in memory.
 */
export async function* sendAll<E extends NewEvent<Types>, Types extends object = AnyTypes>(
  connection: Connection,
  source: Source<E>,
  { signal, lingerMs = LINGER_MS }: SendAllOptions = {},
): AsyncGenerator<Sent<E>> {
  for await (const batch of batches<E, Types>(source, lingerMs, signal)) {
    const texts = batch.flatMap(({ text }) => (text === null ? [] : [text]));
    const isIdempotent = batch.every(({ event, text }) => text === null || event.dedupId !== undefined);
    let told = 0;
    for await (const results of sendTexts(connection, texts, isIdempotent, signal)) {
      const sent = withResults(batch.slice(told), results);
      told += sent.events.length;
      yield sent;
    }
    if (told < batch.length) yield withResults(batch.slice(told), []);
  }
}

/** The events that these results are of, and with them those that were not sent at all. */
function withResults<E>(batch: readonly Packed<E>[], told: readonly SentResult[]): Sent<E> {
  const events: E[] = [];
  const results: SentResult[] = [];
  let next = 0;
  for (const { event, text, result } of batch) {
    const own = text === null ? result : told[next++];
    if (own === undefined) break;
    events.push(event);
    results.push(own);
  }
  return { events, results };
}

/** The source in groups that fit into one call each. */
async function* batches<E extends NewEvent<Types>, Types extends object>(
  source: Source<E>,
  lingerMs: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<Packed<E>[]> {
  const iterator =
    Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]();
  let batch: Packed<E>[] = [];
  let bytes = ENVELOPE_BYTES;
  let patience = new Patience(lingerMs, signal);
  try {
    for (let pending = take(iterator); ; ) {
      const next = await patience.orSooner(pending, batch.length > 0);
      const one = next?.done === false ? packed<E, Types>(next.value) : null;
      if (
        batch.length > 0 &&
        (one === null || bytes + one.bytes > BYTES_MAX || batch.length === EVENTS_MAX)
      ) {
        patience.end();
        yield batch;
        batch = [];
        bytes = ENVELOPE_BYTES;
        patience = new Patience(lingerMs, signal);
      }
      if (next?.done) return;
      if (one === null) continue;
      batch.push(one.packed);
      bytes += one.bytes;
      pending = take(iterator);
    }
  } finally {
    patience.end();
    // Not waited for: a source that hangs in its next() would hold up whoever wants to be rid of it.
    void Promise.resolve(iterator.return?.()).catch(() => {});
  }
}

/** A rejection is met when it is waited for, which may be after a batch has been sent. */
function take<E>(iterator: Iterator<E> | AsyncIterator<E>): Promise<IteratorResult<E>> {
  const taken = Promise.resolve().then(() => iterator.next());
  taken.catch(() => {});
  return taken;
}

function packed<E extends NewEvent<Types>, Types extends object>(
  event: E,
): { packed: Packed<E>; bytes: number } {
  const refused = (code: string, detail: string) => ({
    packed: { event, text: null, result: { status: "rejected", code, detail } } as const,
    bytes: 0,
  });
  try {
    const text = eventText<Types>(event);
    const bytes = byteLength(text) + 1;
    if (bytes + ENVELOPE_BYTES > BYTES_MAX)
      return refused("payload_too_large", "it is larger than a whole batch");
    return { packed: { event, text, result: null }, bytes };
  } catch (error) {
    return refused("malformed_json", error instanceof Error ? error.message : String(error));
  }
}

/** The results of one call after the other. */
async function* sendTexts(
  connection: Connection,
  texts: readonly string[],
  isIdempotent: boolean,
  signal: AbortSignal | undefined,
): AsyncGenerator<readonly SentResult[]> {
  let done = 0;
  let limitMax = texts.length;
  let partMax = limitMax;
  const part = () => texts.slice(done, done + partMax);
  /** Makes the part as large as the limit allows; true when that many fit at once. */
  const adapt = ({ problem: { limit, fits_now } }: TriggersError): boolean => {
    if (typeof limit === "number" && limit > 0) limitMax = Math.min(limitMax, limit);
    const fitsNow = typeof fits_now === "number" && fits_now < part().length ? fits_now : 0;
    partMax = fitsNow >= PART_EVENTS_MIN ? fitsNow : limitMax;
    return partMax === fitsNow;
  };
  while (done < texts.length) {
    const body = () => `{"events":[${part().join(",")}]}`;
    const ask = { method: "POST", path: "/api/events/batch", body, isIdempotent, signal, adapt } as const;
    const told = (await connection.ask(ask)).body.results;
    if (!Array.isArray(told) || told.length !== part().length) throw notThisService(202);
    done += told.length;
    partMax = limitMax;
    yield told as SentResult[];
  }
}

const encoder = new TextEncoder();

/** UTF-8 has one to three bytes for each UTF-16 unit: most texts need no counting. */
function byteLength(text: string): number {
  return text.length < 256 ? text.length * 3 : encoder.encode(text).length;
}

/**
 * How long a batch waits for its next event. One for each batch: a promise that lives as long as an endless source
 * would remember every event that was awaited beside it.
 */
class Patience {
  readonly #ms: number;
  readonly #signal: AbortSignal | undefined;
  readonly #over = withResolvers<null>();
  readonly #onAbort = () => this.#over.reject(this.#signal?.reason);
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(ms: number, signal: AbortSignal | undefined) {
    this.#ms = ms;
    this.#signal = signal;
    this.#over.promise.catch(() => {});
    if (signal?.aborted) this.#onAbort();
    else signal?.addEventListener("abort", this.#onAbort, { once: true });
  }

  /** What comes first: the value, or null when the time of a batch that has begun is over. */
  orSooner<T>(value: Promise<T>, hasBegun: boolean): Promise<T | null> {
    if (hasBegun) this.#timer ??= setTimeout(() => this.#over.resolve(null), this.#ms);
    return Promise.race([this.#over.promise, value]);
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#signal?.removeEventListener("abort", this.#onAbort);
  }
}
