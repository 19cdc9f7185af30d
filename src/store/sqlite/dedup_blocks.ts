// The sealed dedup records on disk, hash and event of each, in blocks in the order of acceptance. Blocks are numbered in
// a row, and all but the newest are full, so that a block's number tells its slice and its place there
// (dedup_slices.ts). Surprise: nothing is sorted. Once a block is named, its 500 hashes are looked through in 1 us.

import type { Database } from "bun:sqlite";

/** Expired blocks that one step deletes: 128 KB, 0.4 ms. */
const DELETE_BLOCKS = 16;
const WORDS_OF_HASH = 2;
const HIGH = 0x1_0000_0000;

/** Of each record the low 32 bits of the hash, then the high 21. */
export type Hashes = Int32Array;
type Records = { readonly hashes: Hashes; readonly events: Float64Array };
type Row = { block: number; hashes: Uint8Array; events: Uint8Array };
type Staged = Records & { readonly block: number; readonly before: number };

const empty: Records = { hashes: new Int32Array(0), events: new Float64Array(0) };

export class DedupBlocks {
  readonly #recordsMax: number;
  readonly #newest;
  readonly #oldest;
  readonly #from;
  readonly #block;
  readonly #put;
  readonly #expiring;
  readonly #delete;
  /** The block that is not full yet, and what is in it. */
  #open = 0;
  #rest = empty;
  #staged: readonly Staged[] = [];

  /** @param recordsMax part of the format of the file: a change needs a migration */
  constructor(db: Database, recordsMax: number) {
    this.#recordsMax = recordsMax;
    this.#newest = db.prepare<Row, []>("SELECT block, hashes, events FROM dedup ORDER BY block DESC LIMIT 1");
    this.#oldest = db.prepare<{ block: number | null }, []>("SELECT min(block) AS block FROM dedup");
    this.#from = db.prepare<Omit<Row, "events">, [number]>(
      "SELECT block, hashes FROM dedup WHERE block >= ? ORDER BY block",
    );
    this.#block = db.prepare<Row, [number]>("SELECT block, hashes, events FROM dedup WHERE block = +?");
    this.#put = db.prepare<void, [number, number, Uint8Array, Uint8Array]>(
      "INSERT OR REPLACE INTO dedup (block, last_event, hashes, events) VALUES (?, ?, ?, ?)",
    );
    this.#expiring = db.prepare<{ block: number; last_event: number }, [number, number]>(
      "SELECT block, last_event FROM dedup WHERE block >= ? ORDER BY block LIMIT +?",
    );
    this.#delete = db.prepare<void, [number]>("DELETE FROM dedup WHERE block < ?");
  }

  /** Finds the end again after a restart. */
  load(): void {
    const newest = this.#newest.get();
    if (newest) this.#setEnd(newest.block, recordsOf(newest));
  }

  /** The first block that is not deleted yet; where the first one will be, when there is none. */
  get oldest(): number {
    return this.#oldest.get()?.block ?? this.#open;
  }

  /** Calls back for each block from `block` on, in their order. */
  each(from: number, visit: (block: number, hashes: Hashes) => void): void {
    for (const { block, hashes } of this.#from.iterate(from)) visit(block, wordsOf(hashes));
  }

  /** The events with this hash in this block; none, when it was deleted. */
  events(block: number, hash: number): readonly number[] {
    const row = this.#block.get(block);
    if (!row) return [];
    const { hashes, events } = recordsOf(row);
    const low = hash | 0;
    const high = Math.floor(hash / HIGH);
    const found: number[] = [];
    for (let i = 0; i < events.length; i++) {
      const at = i * WORDS_OF_HASH;
      if (hashes[at] === low && hashes[at + 1] === high) found.push(events[i] ?? 0);
    }
    return found;
  }

  /** Writes records behind the newest, in the caller's transaction: pairs of a hash (53 bits) and an event. */
  write(pairs: readonly (readonly [hash: number, event: number])[]): void {
    const staged: Staged[] = [];
    let [block, rest] = [this.#open, this.#rest];
    for (let at = 0; at < pairs.length; ) {
      const before = rest.events.length;
      const added = pairs.slice(at, at + this.#recordsMax - before);
      const { hashes, events } = joined(rest, added);
      // Its latest, which is not always its last: events of one hash stand together in the tail.
      this.#put.run(
        block,
        events.reduce((a, b) => Math.max(a, b)),
        bytesOf(hashes),
        bytesOf(events),
      );
      staged.push({ block, before, hashes, events });
      at += added.length;
      block++;
      rest = empty;
    }
    this.#staged = staged;
  }

  /** That transaction was committed: calls back for each block that it wrote, with the hashes that are new there. */
  written(visit: (block: number, hashes: Hashes) => void): void {
    for (const { block, before, ...records } of this.#staged) {
      visit(block, records.hashes.subarray(before * WORDS_OF_HASH));
      this.#setEnd(block, records);
    }
    this.#staged = [];
  }

  /**
   * Deletes some of the blocks whose events are all before `beforeSeq`, but never the newest: the count goes on from it.
   * Returns true when there may be more.
   */
  deleteExpired(beforeSeq: number): boolean {
    const oldest = this.#oldest.get()?.block ?? null;
    if (oldest === null) return false;
    const rows = this.#expiring.all(oldest, DELETE_BLOCKS + 1);
    const kept = rows.findIndex((row, i) => i === rows.length - 1 || row.last_event >= beforeSeq);
    const until = rows[kept]?.block ?? oldest;
    if (until > oldest) this.#delete.run(until);
    return kept === DELETE_BLOCKS;
  }

  #setEnd(newest: number, records: Records): void {
    const isFull = records.events.length >= this.#recordsMax;
    this.#open = isFull ? newest + 1 : newest;
    this.#rest = isFull ? empty : records;
  }
}

function joined({ hashes, events }: Records, added: readonly (readonly [number, number])[]): Records {
  const before = events.length;
  const all = {
    hashes: new Int32Array((before + added.length) * WORDS_OF_HASH),
    events: new Float64Array(before + added.length),
  };
  all.hashes.set(hashes);
  all.events.set(events);
  added.forEach(([hash, event], i) => {
    all.hashes[(before + i) * WORDS_OF_HASH] = hash; // its low 32 bits
    all.hashes[(before + i) * WORDS_OF_HASH + 1] = Math.floor(hash / HIGH);
    all.events[before + i] = event;
  });
  return all;
}

function recordsOf({ hashes, events }: Row): Records {
  const length = events.byteLength / Float64Array.BYTES_PER_ELEMENT;
  return { hashes: wordsOf(hashes), events: new Float64Array(events.buffer, events.byteOffset, length) };
}

/** Little-endian, as every processor that this runs on. */
function wordsOf({ buffer, byteOffset, byteLength }: Uint8Array): Int32Array {
  return new Int32Array(buffer, byteOffset, byteLength / Int32Array.BYTES_PER_ELEMENT);
}

function bytesOf({ buffer, byteOffset, byteLength }: Int32Array | Float64Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}
