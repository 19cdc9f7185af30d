// The events of one organization in their order: an index walk over sealed events, and a scan of the tail for those
// not sealed yet (at most some thousands, their payloads untouched). Both must be read in one snapshot or in the
// writer's transaction, or an event that is sealed in between would be missed.

import type { Database } from "bun:sqlite";
import { statusSql } from "./status.ts";

/** Where it is not known how many are wanted, the first batch is small, and each later one twice as large. */
const FIRST_BATCH = 32;
const BATCH_MAX = 256;

/** Seqs above `low` and below `high`, of these status numbers. */
export type EventRange = {
  readonly org: number;
  readonly low: number;
  readonly high: number;
  readonly order: "ASC" | "DESC";
  readonly statuses: readonly number[];
};

export class EventWalk {
  readonly #db: Database;
  readonly #sealed;

  constructor(db: Database) {
    this.#db = db;
    this.#sealed = db.prepare<{ value: number }, []>("SELECT value FROM marks WHERE name = 'inbox_sealed'");
  }

  /** The first `limit` of the range. */
  seqs(range: EventRange, limit: number): readonly number[] {
    return this.#batch(range, this.#sealed.get()?.value ?? 0, limit);
  }

  /** All of the range, read bit by bit. `wanted`: the caller will go as far as this, and hardly further. */
  *all(range: EventRange, wanted = FIRST_BATCH): Iterable<number> {
    const sealed = this.#sealed.get()?.value ?? 0;
    let rest = range;
    for (let limit = Math.min(BATCH_MAX, wanted); ; limit = Math.min(BATCH_MAX, limit * 2)) {
      const batch = this.#batch(rest, sealed, limit);
      yield* batch;
      const last = batch.at(-1);
      if (last === undefined || batch.length < limit) return;
      rest = rest.order === "ASC" ? { ...rest, low: last } : { ...rest, high: last };
    }
  }

  #batch(range: EventRange, sealed: number, limit: number): readonly number[] {
    const parts = [
      () => this.#sealedBatch(range, sealed, limit),
      () => this.#tailBatch(range, sealed, limit),
    ];
    if (range.order === "DESC") parts.reverse();
    const seqs: number[] = [];
    for (const part of parts) if (seqs.length < limit) seqs.push(...part().slice(0, limit - seqs.length));
    return seqs;
  }

  /** A deleted event has no type; its status says nothing. */
  #tailBatch(
    { org, low, high, order, statuses }: EventRange,
    sealed: number,
    limit: number,
  ): readonly number[] {
    const rows = this.#db.query<{ seq: number }, [number, number, number, number]>(
      `SELECT seq FROM events WHERE seq > ? AND seq < ? AND org = +? AND type <> ''
       AND ${statusSql("events.seq")} IN (${statuses.join(",")}) ORDER BY seq ${order} LIMIT +?`,
    );
    return rows.all(Math.max(low, sealed), high, org, limit).map((row) => row.seq);
  }

  /** What stands above the mark belongs to a run that is being written: the tail tells it. */
  #sealedBatch(
    { org, low, high, order, statuses }: EventRange,
    sealed: number,
    limit: number,
  ): readonly number[] {
    // Each status is a range in the order of events, and SQLite merges them: five reads of `limit` took twice as long.
    const ranges = statuses.map(
      (status) =>
        `SELECT event FROM inbox WHERE org = +?1 AND status = ${status} AND event > ?2 AND event < ?3`,
    );
    const rows = this.#db.query<{ event: number }, [number, number, number, number]>(
      `${ranges.join(" UNION ALL ")} ORDER BY event ${order} LIMIT +?4`,
    );
    return rows.all(org, low, Math.min(high, sealed + 1), limit).map((row) => row.event);
  }
}
