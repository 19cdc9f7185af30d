// Names the blocks that may hold a hash, so that an ingest does not look into every block of the last 24 hours: tables
// of fingerprints in memory, 4 bytes a slot, 5.6 bytes an id. A slice is the table of a fixed number of blocks; nothing
// is ever deleted or rehashed in it. A full slice is written to disk in parts, which after a start are read when they
// are first touched, or by and by. Only what is not on disk yet is made again from its blocks: two slices at most.

import type { Database } from "bun:sqlite";
import type { Hashes } from "./dedup_blocks.ts";

/** All but the last are part of the format of the file: a change needs a migration that empties `dedup_parts`. */
export type DedupSizes = {
  readonly blockRecords: number;
  /** At most 65 535. */
  readonly sliceBlocks: number;
  readonly partSlots: number;
  /** Times `partSlots` they are more than the records of a slice. */
  readonly sliceParts: number;
  /** Parts written together with a run of blocks: a slice must be written before the next one is full. */
  readonly partsWritten: number;
};

/**
 * 360 000 ids in 500 000 slots: made again in 16-25 ms. Twice as large took 45-60 ms, and half the time for an id that is
 * new: with 10 000 000 live ids 1.6 us in place of 2.6. Parts of one page took three times as long to read, all in all.
 */
export const DEDUP_SIZES: DedupSizes = {
  blockRecords: 500,
  sliceBlocks: 720,
  partSlots: 2_000,
  sliceParts: 250,
  partsWritten: 20,
};

/** Parts of expired slices that one step deletes: 128 KB. */
const DELETE_PARTS = 16;
/** How long one step reads ahead, or one part when a disk takes longer: 10 000 000 ids are 7 000 parts and 130 ms. */
const READ_AHEAD_MS = 0.5;

type Slice = {
  /** Its blocks are from `number * sliceBlocks` on. */
  readonly number: number;
  /** 0 is empty; else a 16-bit fingerprint above a 16-bit place among the slice's blocks, from 1. */
  readonly slots: Int32Array;
  /** Which parts are not in `slots` yet, 1 each, and how many. */
  readonly unread: Uint8Array;
  unreadParts: number;
  /** How many parts are on disk. */
  written: number;
};

export class DedupSlices {
  readonly #sizes: DedupSizes;
  readonly #parts: number;
  readonly #slots: number;
  readonly #scale: number;
  readonly #newest;
  readonly #oldest;
  readonly #read;
  readonly #put;
  readonly #delete;
  /** Means nothing; it keeps the reads of #fetch from being optimized away. */
  protected fetched = 0;
  /** By number, rising. */
  #slices: Slice[] = [];
  #staged: { readonly slice: Slice; readonly parts: number } | null = null;

  constructor(db: Database, sizes: DedupSizes) {
    this.#sizes = sizes;
    this.#parts = sizes.sliceParts;
    this.#slots = sizes.sliceParts * sizes.partSlots;
    this.#scale = this.#slots / 0x1_0000_0000;
    this.#newest = db.prepare<{ part: number | null }, []>("SELECT max(part) AS part FROM dedup_parts");
    this.#oldest = db.prepare<{ part: number | null }, []>("SELECT min(part) AS part FROM dedup_parts");
    this.#read = db.prepare<{ slots: Uint8Array }, [number]>("SELECT slots FROM dedup_parts WHERE part = +?");
    this.#put = db.prepare<void, [number, Uint8Array]>(
      "INSERT OR REPLACE INTO dedup_parts (part, slots) VALUES (?, ?)",
    );
    this.#delete = db.prepare<void, [number]>("DELETE FROM dedup_parts WHERE part < ?");
  }

  /**
   * After a restart, with the first block that is not deleted: takes up the slices that are on disk as a whole, and
   * returns the block from which on all records are to be added again. A slice that was being written is among them,
   * and is written anew.
   */
  load(oldestBlock: number): number {
    const whole = Math.floor(((this.#newest.get()?.part ?? -1) + 1) / this.#parts);
    const oldest = this.#sliceOf(oldestBlock);
    for (let number = oldest; number < whole; number++) this.#slices.push(this.#onDisk(number));
    return Math.max(oldest, whole) * this.#sizes.sliceBlocks;
  }

  /** Remembers that these hashes stand in `block`. Blocks come in rising order. */
  add(block: number, hashes: Hashes): void {
    const { number, slots } = this.#sliceFor(block);
    const place = block - number * this.#sizes.sliceBlocks + 1;
    for (let i = 0; i < hashes.length; i += 2) {
      let at = this.#home(hashes[i] ?? 0);
      while (slots[at] !== 0) at = at + 1 === slots.length ? 0 : at + 1;
      slots[at] = ((hashes[i + 1] ?? 0) << 16) | place;
    }
  }

  /** The blocks that may hold `hash`, newest slice first; a false one costs 15 us, once in 400 claims at 10 000 000 ids. */
  find(hash: number): readonly number[] {
    let found: number[] | null = null;
    const print = Math.floor(hash / 0x1_0000_0000) & 0xffff;
    const home = this.#home(hash | 0);
    this.#fetch(home);
    for (let i = this.#slices.length - 1; i >= 0; i--) {
      const slice = this.#slices[i];
      if (!slice) continue;
      const { slots } = slice;
      if (slice.unreadParts > 0) this.#touch(slice, home);
      for (let at = home; slots[at] !== 0; ) {
        const slot = slots[at] ?? 0;
        if (slot >>> 16 === print) {
          const block = slice.number * this.#sizes.sliceBlocks + (slot & 0xffff) - 1;
          found ??= [];
          if (!found.includes(block)) found.push(block);
        }
        at = at + 1 === slots.length ? 0 : at + 1;
        if (slice.unreadParts > 0) this.#touch(slice, at);
      }
    }
    return found ?? none;
  }

  /** The slot where a hash with these low 32 bits belongs. */
  #home(low: number): number {
    return ((low + 0x8000_0000) * this.#scale) | 0;
  }

  /**
   * Asks memory for the slot in every slice at once. Looked at one after the other, each slice is a cache miss that
   * waits for the one before it: 25 slices took 5.4 us, and 28 take 2.6.
   */
  #fetch(home: number): void {
    let all = 0;
    for (const { slots } of this.#slices) all ^= slots[home] ?? 0;
    this.fetched = all;
  }

  /** Reads some parts ahead of their first touch, the newest slices first. True when there are more. */
  readAhead(): boolean {
    const untilMs = performance.now() + READ_AHEAD_MS;
    for (const slice of this.#slices.toReversed()) {
      for (let part = 0; part < this.#parts && slice.unreadParts > 0; part++) {
        if (slice.unread[part] !== 1) continue;
        this.#touch(slice, part * this.#sizes.partSlots);
        if (performance.now() >= untilMs) return true;
      }
    }
    return false;
  }

  /** Writes some parts of the oldest full slice that is not on disk, if any, in the caller's transaction. */
  write(): void {
    this.#staged = null;
    const slice = this.#slices.find(({ written }) => written < this.#parts);
    if (!slice || slice === this.#slices.at(-1)) return;
    const { partSlots, partsWritten } = this.#sizes;
    const parts = Math.min(partsWritten, this.#parts - slice.written);
    for (let part = slice.written; part < slice.written + parts; part++) {
      const slots = slice.slots.subarray(part * partSlots, (part + 1) * partSlots);
      this.#put.run(slice.number * this.#parts + part, new Uint8Array(slots.slice().buffer));
    }
    this.#staged = { slice, parts };
  }

  /** That transaction was committed. */
  written(): void {
    if (this.#staged) this.#staged.slice.written += this.#staged.parts;
    this.#staged = null;
  }

  /** Forgets the slices before that of this block: it is the oldest that is left on disk, for good. */
  forgetBefore(block: number): void {
    const oldest = this.#sliceOf(block);
    this.#slices = this.#slices.filter(({ number }) => number >= oldest);
  }

  /**
   * Deletes some parts of the slices before that of this block, in the caller's transaction; of none that is not
   * forgotten yet, since that may still be read. True when there is more to delete.
   */
  deleteBefore(block: number): boolean {
    const first = this.#oldest.get()?.part ?? null;
    if (first === null) return false;
    const oldest = this.#sliceOf(block);
    const end = Math.min(oldest, this.#slices[0]?.number ?? oldest) * this.#parts;
    const until = Math.min(end, first + DELETE_PARTS);
    if (until > first) this.#delete.run(until);
    return Math.max(first, until) < oldest * this.#parts;
  }

  #sliceOf(block: number): number {
    return Math.floor(block / this.#sizes.sliceBlocks);
  }

  #sliceFor(block: number): Slice {
    const last = this.#slices.at(-1);
    const number = this.#sliceOf(block);
    if (last?.number === number) return last;
    const slice: Slice = {
      ...{ number, slots: new Int32Array(this.#slots) },
      ...{ unread: nothing, unreadParts: 0, written: 0 },
    };
    this.#slices.push(slice);
    return slice;
  }

  #onDisk(number: number): Slice {
    return {
      ...{ number, slots: new Int32Array(this.#slots) },
      ...{ unread: new Uint8Array(this.#parts).fill(1), unreadParts: this.#parts, written: this.#parts },
    };
  }

  /** Reads the part of this slot, unless that was done. */
  #touch(slice: Slice, at: number): void {
    const { partSlots } = this.#sizes;
    const part = Math.floor(at / partSlots);
    if (slice.unread[part] !== 1) return;
    const row = this.#read.get(slice.number * this.#parts + part);
    if (!row) throw new Error(`part ${part} of dedup slice ${slice.number} is missing in the database`);
    new Uint8Array(slice.slots.buffer).set(row.slots, part * partSlots * Int32Array.BYTES_PER_ELEMENT);
    slice.unread[part] = 0;
    slice.unreadParts--;
  }
}

const none: readonly number[] = [];
const nothing = new Uint8Array(0);
