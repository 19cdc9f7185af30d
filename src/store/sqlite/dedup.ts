// Finds the first event of a dedup id without a random b-tree insert in the commit that the caller waits for.
// Three places hold a hash: this group (not committed yet), the tail (committed, not sealed), and sealed blocks on
// disk, which tables of fingerprints name. A hash only nominates: the event's own row has the last word.

import type { Database } from "bun:sqlite";
import { firstSeqOfMs, idOfSeq, msOfSeq } from "../../base/id.ts";
import { DedupBlocks } from "./dedup_blocks.ts";
import { DEDUP_SIZES, type DedupSizes, DedupSlices } from "./dedup_slices.ts";

/** A repeat within this time of the first acceptance is a duplicate. */
export const DEDUP_WINDOW_MS = 24 * 60 * 60 * 1000;

type Row = { tail: string; org: number; dedup_id: string | null };
type Unsealed = { seq: number; org: number; dedup_id: string };

export type DedupOptions = {
  /** What tests make small. */
  readonly sizes?: DedupSizes;
  /** 53 bits. What tests make weak. */
  readonly hash?: (seed: number, org: number, dedupId: string) => number;
};

export class Dedup {
  readonly #seed: number;
  readonly #hashOf;
  readonly #group = new Map<number, number[]>();
  readonly #tail = new Map<number, number[]>();
  readonly #blocks;
  readonly #slices;
  readonly #event;
  readonly #unsealed;
  /** The oldest block that is left, when this group deleted some. */
  #oldestBlock: number | null = null;

  /** @param seed random per database, so that nobody can prepare ids of one hash */
  constructor(db: Database, seed: number, { sizes = DEDUP_SIZES, hash = hash53 }: DedupOptions = {}) {
    this.#seed = seed;
    this.#hashOf = hash;
    this.#blocks = new DedupBlocks(db, sizes.blockRecords);
    this.#slices = new DedupSlices(db, sizes);
    this.#event = db.prepare<Row, [number]>("SELECT tail, org, dedup_id FROM events WHERE seq = +?");
    this.#unsealed = db.prepare<Unsealed, [number]>(
      "SELECT seq, org, dedup_id FROM events WHERE seq > ? AND dedup_id IS NOT NULL",
    );
  }

  /** Reads back what a restart forgot: at most two slices and the tail, however many ids are live. */
  load(sealedSeq: number): void {
    this.#blocks.load();
    const block = this.#slices.load(this.#blocks.oldest);
    this.#blocks.each(block, (at, hashes) => this.#slices.add(at, hashes));
    for (const { seq, org, dedup_id } of this.#unsealed.iterate(sealedSeq)) {
      push(this.#tail, this.#hashOf(this.#seed, org, dedup_id), seq);
    }
  }

  /** Reads on disk what claims will ask for, one small step. True when there is more. */
  readAhead(): boolean {
    return this.#slices.readAhead();
  }

  /** The id of the live first event of this dedup id, or null: then the caller's event is the first, noted here. */
  claim(org: number, dedupId: string, seq: number, nowMs: number): string | null {
    const hash = this.#hashOf(this.#seed, org, dedupId);
    const first =
      this.#live(this.#group.get(hash), org, dedupId, nowMs) ??
      this.#live(this.#tail.get(hash), org, dedupId, nowMs) ??
      this.#liveInBlocks(hash, org, dedupId, nowMs);
    if (first === null) push(this.#group, hash, seq);
    return first;
  }

  /** The group was committed. */
  commit(): void {
    for (const [hash, seqs] of this.#group) for (const seq of seqs) push(this.#tail, hash, seq);
    this.#group.clear();
    if (this.#oldestBlock !== null) this.#slices.forgetBefore(this.#oldestBlock);
    this.#oldestBlock = null;
  }

  /** The group was rolled back. */
  rollback(): void {
    this.#group.clear();
    this.#oldestBlock = null;
  }

  /** Writes the tail, and some of what is to be written of full slices, inside the caller's transaction. */
  writeTail(): void {
    const pairs: [number, number][] = [];
    for (const [hash, seqs] of this.#tail) for (const seq of seqs) pairs.push([hash, seq]);
    this.#blocks.write(pairs);
    this.#slices.write();
  }

  /** The transaction of `writeTail` was committed. */
  tailWritten(): void {
    this.#slices.written();
    this.#blocks.written((block, hashes) => this.#slices.add(block, hashes));
    this.#tail.clear();
  }

  /** One small step of deleting what is out of the window, in the caller's transaction. True when there may be more. */
  deleteExpired(nowMs: number): boolean {
    const moreBlocks = this.#blocks.deleteExpired(firstSeqOfMs(nowMs - DEDUP_WINDOW_MS));
    this.#oldestBlock = this.#blocks.oldest;
    const moreParts = this.#slices.deleteBefore(this.#oldestBlock);
    return moreBlocks || moreParts;
  }

  #liveInBlocks(hash: number, org: number, dedupId: string, nowMs: number): string | null {
    for (const block of this.#slices.find(hash)) {
      const first = this.#live(this.#blocks.events(block, hash), org, dedupId, nowMs);
      if (first !== null) return first;
    }
    return null;
  }

  #live(seqs: readonly number[] | undefined, org: number, dedupId: string, nowMs: number): string | null {
    for (const seq of seqs ?? []) {
      if (msOfSeq(seq) <= nowMs - DEDUP_WINDOW_MS) continue;
      const row = this.#event.get(seq);
      if (row && row.org === org && row.dedup_id === dedupId) return idOfSeq(seq, row.tail);
    }
    return null;
  }
}

/** 53 bits. Two 32-bit xxHash with different seeds: 0.06 us; a BigInt hash would allocate. */
function hash53(seed: number, org: number, dedupId: string): number {
  const high = Bun.hash.xxHash32(dedupId, (seed ^ org) >>> 0) & 0x1fffff;
  const low = Bun.hash.xxHash32(dedupId, (seed + Math.imul(org + 1, 0x9e3779b1)) >>> 0);
  return high * 0x1_0000_0000 + low;
}

function push(map: Map<number, number[]>, hash: number, seq: number): void {
  const seqs = map.get(hash);
  if (seqs) seqs.push(seq);
  else map.set(hash, [seq]);
}
