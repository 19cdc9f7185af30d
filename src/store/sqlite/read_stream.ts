// Reads of a stream: what follows a position. A position has two parts, because events with a deliver_at appear behind
// events with later ids: the last event in the order of acceptance, and the last in the order of appearing.

import type { Database } from "bun:sqlite";
import { typeMatcher } from "../../webhook/event_types.ts";
import type { StreamedEvent, StreamPosition } from "../store.ts";
import { BiteBudget } from "./bite.ts";
import { EventWalk } from "./event_walk.ts";
import type { InboxReads } from "./read_inbox.ts";
import { statusNames } from "./status.ts";

/** Of those that appeared; of a rare type, a look ends before. */
const APPEARED_MAX = 1_000;
const EVERY_STATUS = statusNames.map((_, number) => number);

export type StreamPage = {
  readonly events: readonly StreamedEvent[];
  readonly position: StreamPosition;
  /** Look again at once. */
  readonly more: boolean;
};

export class StreamReads {
  readonly #db: Database;
  readonly #inbox: InboxReads;
  readonly #walk: EventWalk;
  readonly #newest;
  readonly #appeared;
  readonly #wasHidden;
  readonly #appearedAfter;

  constructor(db: Database, inbox: InboxReads) {
    this.#db = db;
    this.#inbox = inbox;
    this.#walk = new EventWalk(db);
    this.#newest = db.prepare<{ seq: number | null }, []>("SELECT max(seq) AS seq FROM events");
    this.#appeared = db.prepare<{ value: number }, []>("SELECT value FROM marks WHERE name = 'appeared'");
    this.#wasHidden = db.prepare<{ event: number }, [number]>("SELECT event FROM scheduled WHERE event = +?");
    this.#appearedAfter = db.prepare<{ event: number; nth: number }, [number, number, number]>(
      "SELECT event, nth FROM scheduled WHERE org = +? AND nth > ? ORDER BY nth LIMIT +?",
    );
  }

  /** Behind everything that there is. */
  end(): StreamPosition {
    return this.#db.transaction(() => ({
      seq: this.#newest.get()?.seq ?? 0,
      appeared: this.#appeared.get()?.value ?? 0,
    }))();
  }

  after(org: number, after: StreamPosition, type: string | null, limit: number): StreamPage {
    return this.#db.transaction(() => this.#page(org, after, type, limit))();
  }

  #page(org: number, after: StreamPosition, type: string | null, limit: number): StreamPage {
    const matches = type === null ? null : typeMatcher([type]);
    const events: StreamedEvent[] = [];
    const budget = new BiteBudget();
    let position = after;
    for (const { seq, next } of this.#candidates(org, after)) {
      const isFull = events.length === limit || (position !== after && budget.isSpent);
      if (isFull) return { events, position, more: true };
      position = next;
      if (matches !== null && !matches(this.#inbox.typeOf(seq))) continue;
      const event = this.#inbox.one(seq);
      if (event === null) continue;
      events.push({ event, position });
      budget.take(Buffer.byteLength(event.payload));
    }
    return { events, position, more: false };
  }

  /** First those behind the position by their ids, then those that appeared since. */
  *#candidates(
    org: number,
    after: StreamPosition,
  ): Iterable<{ readonly seq: number; readonly next: StreamPosition }> {
    let position = after;
    const range = { org, low: after.seq, high: Number.MAX_SAFE_INTEGER, order: "ASC" as const };
    for (const seq of this.#walk.all({ ...range, statuses: EVERY_STATUS })) {
      position = { ...position, seq };
      if (!this.#wasHidden.get(seq)) yield { seq, next: position };
    }
    for (const { event, nth } of this.#appearedAfter.all(org, after.appeared, APPEARED_MAX + 1)) {
      position = { ...position, appeared: nth };
      yield { seq: event, next: position };
    }
  }
}
