// The client of a Triggers server: send events, read the inbox, lease, follow. It needs fetch and streams and nothing
// else, so it runs in Bun, Node 20 and browsers. What a receiver of webhooks needs is in verify.ts.
//
//   const triggers = new Triggers<{ "order.created": { order: number } }>({ url, key });
//   await triggers.send({ type: "order.created", payload: { order: 1 }, dedupId: "order-1" });
//   await triggers.work(async (event) => ship(event.payload.order), { signal });

import { type SendAllOptions, type Sent, type SentResult, sendAll } from "./batch.ts";
import { Connection, type ConnectionOptions } from "./connection.ts";
import { TriggersError } from "./error.ts";
import { type AnyTypes, eventText, type InboxEvent, type NewEvent } from "./event.ts";
import { type InboxOptions, walkInbox } from "./inbox.ts";
import { ackLease, extendLease, type Lease, type LeaseOptions, releaseLease, takeLease } from "./lease.ts";
import {
  type EventMessage,
  eventMessages,
  type StreamedEvent,
  type StreamOptions,
  streamEvents,
} from "./stream.ts";
import { type Handler, type WorkOptions, type WorkSummary, work } from "./worker.ts";

export interface SentEvent {
  readonly id: string;
  /** `duplicate`: it was accepted before, under this id. That is a success. */
  readonly status: "accepted" | "duplicate";
  /** RFC 3339; null for a duplicate. */
  readonly createdAt: string | null;
}

export interface SentBatch {
  readonly accepted: number;
  readonly duplicates: number;
  readonly rejected: number;
  /** In the order of the events. */
  readonly results: readonly SentResult[];
}

export interface Acknowledged {
  readonly acknowledged: number;
  readonly notFound: readonly string[];
}

const ACK_IDS_MAX = 1_000;

/** `Types` are event types and their payloads; every call rejects with a TriggersError, or its signal's reason. */
export class Triggers<Types extends object = AnyTypes> {
  readonly #connection: Connection;

  constructor(options: ConnectionOptions) {
    this.#connection = new Connection(options);
  }

  /** When it resolves, the event is on disk. Repeated after a lost answer only if it has a `dedupId`. */
  async send(event: NewEvent<Types>, { signal }: { signal?: AbortSignal } = {}): Promise<SentEvent> {
    const ask = { method: "POST", path: "/api/events", body: eventText<Types>(event), signal } as const;
    try {
      const { body } = await this.#connection.ask({ ...ask, isIdempotent: event.dedupId !== undefined });
      return { id: String(body.id), status: "accepted", createdAt: String(body.created_at) };
    } catch (error) {
      if (!(error instanceof TriggersError) || error.code !== "duplicate_event") throw error;
      return { id: String(error.problem.event_id), status: "duplicate", createdAt: null };
    }
  }

  /**
   * Any number of events, in calls of at most 1000 and 8 MiB. A rejected event spoils no other: see `rejected`. When a
   * call fails, it rejects, and what became of the calls before is not told: `sendAll` tells after each.
   */
  async sendBatch(
    events: Iterable<NewEvent<Types>>,
    options: { signal?: AbortSignal } = {},
  ): Promise<SentBatch> {
    const results: SentResult[] = [];
    for await (const sent of this.sendAll(events, options)) results.push(...sent.results);
    const count = (status: string) => results.filter((result) => result.status === status).length;
    const [accepted, duplicates, rejected] = [count("accepted"), count("duplicate"), count("rejected")];
    return { accepted, duplicates, rejected, results };
  }

  /** A source of any length, as batches: tells after each call, and reads on when it is asked for the next. */
  sendAll<E extends NewEvent<Types>>(
    source: Iterable<E> | AsyncIterable<E>,
    options: SendAllOptions = {},
  ): AsyncGenerator<Sent<E>> {
    return sendAll<E, Types>(this.#connection, source, options);
  }

  /** The events of the inbox, page by page. */
  inbox(options: InboxOptions = {}): AsyncGenerator<InboxEvent<Types>> {
    return walkInbox<Types>(this.#connection, options);
  }

  /** Marks events as dealt with. Idempotent. */
  async ack(...eventIds: readonly string[]): Promise<Acknowledged> {
    let acknowledged = 0;
    const notFound: string[] = [];
    for (let at = 0; at < eventIds.length; at += ACK_IDS_MAX) {
      const body = JSON.stringify({ event_ids: eventIds.slice(at, at + ACK_IDS_MAX) });
      const ask = { method: "POST", path: "/api/ack", body, isIdempotent: true } as const;
      const told = (await this.#connection.ask(ask)).body;
      acknowledged += Number(told.acknowledged);
      if (Array.isArray(told.not_found)) notFound.push(...told.not_found.map(String));
    }
    return { acknowledged, notFound };
  }

  /** Events that nobody else gets for a while. `work` does all of this. */
  lease(options: LeaseOptions = {}): Promise<Lease<Types>> {
    return takeLease<Types>(this.#connection, options);
  }

  /** These events of a lease, or all of it, are done. Resolves with how many became so. */
  ackLease(leaseId: string, eventIds?: readonly string[]): Promise<number> {
    return ackLease(this.#connection, leaseId, eventIds);
  }

  /** These events of a lease, or all of it, are for the next who asks, after `delaySeconds`. Resolves with how many. */
  releaseLease(leaseId: string, eventIds?: readonly string[], delaySeconds = 0): Promise<number> {
    return releaseLease(this.#connection, leaseId, eventIds, delaySeconds);
  }

  /** The lease runs out `leaseSeconds` from now. Resolves with how many events it still holds. */
  extendLease(leaseId: string, leaseSeconds: number): Promise<number> {
    return extendLease(this.#connection, leaseId, leaseSeconds);
  }

  /** Leases, handles, acknowledges, until the signal is aborted. */
  work(handler: Handler<Types>, options: WorkOptions<Types> = {}): Promise<WorkSummary> {
    return work<Types>(this.#connection, handler, options);
  }

  /** Events as they are committed; connects again by itself. Ends when its signal is aborted. */
  stream(options: StreamOptions = {}): AsyncGenerator<StreamedEvent<Types>> {
    return streamEvents<Types>(this.#connection, options);
  }

  /** The same as JSON texts, to hand on unchanged. */
  streamTexts(options: StreamOptions = {}): AsyncGenerator<EventMessage> {
    return eventMessages(this.#connection, options);
  }
}
