// Finds the first event of a dedup id without a random b-tree insert in the commit that the caller waits for.
// Three places hold a hash: this group (not committed yet), the tail (committed, not sealed), and sealed runs on
// disk, which a directory in memory names. A hash only nominates: the event's own row has the last word.

import type { Database } from "bun:sqlite";
import { msOfSeq } from "../../base/id.ts";
import { RunDirectory } from "./run_directory.ts";

/** A repeat within this time of the first acceptance is a duplicate. */
export const DEDUP_WINDOW_MS = 24 * 60 * 60 * 1000;

type Row = { id: string; org: number; dedup_id: string | null };

export class Dedup {
  readonly #seed: number;
  readonly #group = new Map<number, number[]>();
  readonly #tail = new Map<number, number[]>();
  readonly #runs = new RunDirectory();
  readonly #eventsOfHash;
  readonly #event;
  readonly #insert;

  /** @param seed random per database, so that nobody can prepare ids of one hash */
  constructor(db: Database, seed: number) {
    this.#seed = seed;
    this.#eventsOfHash = db.prepare<{ event: number }, [number, number]>(
      "SELECT event FROM dedup WHERE run = +? AND hash = +?",
    );
    this.#event = db.prepare<Row, [number]>("SELECT id, org, dedup_id FROM events WHERE seq = +?");
    this.#insert = db.prepare<void, [number, number, number]>(
      "INSERT INTO dedup (run, hash, event) VALUES (?, ?, ?)",
    );
  }

  /** Reads back what a restart forgot. Cost grows with the live dedup ids: about 0.4 us each. */
  load(db: Database, sealedSeq: number, nowMs: number): void {
    const runs = db.query<{ run: number; hash: number }, []>("SELECT run, hash FROM dedup ORDER BY run");
    for (const { run, hash } of runs.iterate()) {
      if (msOfSeq(run) > nowMs - DEDUP_WINDOW_MS) this.#runs.add(hash, run);
    }
    const tail = db.query<{ seq: number; org: number; dedup_id: string }, [number]>(
      "SELECT seq, org, dedup_id FROM events WHERE seq > ? AND dedup_id IS NOT NULL",
    );
    for (const row of tail.iterate(sealedSeq)) push(this.#tail, this.#hash(row.org, row.dedup_id), row.seq);
  }

  /** The id of the live first event of this dedup id, or null: then the caller's event is the first, noted here. */
  claim(org: number, dedupId: string, seq: number, nowMs: number): string | null {
    const hash = this.#hash(org, dedupId);
    const first =
      this.#live(this.#group.get(hash), org, dedupId, nowMs) ??
      this.#live(this.#tail.get(hash), org, dedupId, nowMs) ??
      this.#liveInRuns(hash, org, dedupId, nowMs);
    if (first === null) push(this.#group, hash, seq);
    return first;
  }

  /** The group was committed. */
  commit(): void {
    for (const [hash, seqs] of this.#group) for (const seq of seqs) push(this.#tail, hash, seq);
    this.#group.clear();
  }

  /** The group was rolled back. */
  rollback(): void {
    this.#group.clear();
  }

  /** Writes the tail as the run `run`, sorted by hash, inside the caller's transaction. */
  writeRun(run: number): void {
    for (const hash of [...this.#tail.keys()].sort((a, b) => a - b)) {
      for (const seq of this.#tail.get(hash) ?? []) this.#insert.run(run, hash, seq);
    }
  }

  /** The transaction of `writeRun` was committed. */
  sealed(run: number): void {
    for (const hash of this.#tail.keys()) this.#runs.add(hash, run);
    this.#tail.clear();
  }

  /** Runs up to this one were deleted. */
  dropRunsUpTo(run: number): void {
    this.#runs.dropUpTo(run);
  }

  #liveInRuns(hash: number, org: number, dedupId: string, nowMs: number): string | null {
    for (const run of this.#runs.find(hash)) {
      const seqs = this.#eventsOfHash.all(run, hash).map((row) => row.event);
      const first = this.#live(seqs, org, dedupId, nowMs);
      if (first !== null) return first;
    }
    return null;
  }

  #live(seqs: readonly number[] | undefined, org: number, dedupId: string, nowMs: number): string | null {
    for (const seq of seqs ?? []) {
      if (msOfSeq(seq) <= nowMs - DEDUP_WINDOW_MS) continue;
      const row = this.#event.get(seq);
      if (row && row.org === org && row.dedup_id === dedupId) return row.id;
    }
    return null;
  }

  /** 53 bits. Two 32-bit xxHash with different seeds: 0.06 us; a BigInt hash would allocate. */
  #hash(org: number, dedupId: string): number {
    const high = Bun.hash.xxHash32(dedupId, (this.#seed ^ org) >>> 0) & 0x1fffff;
    const low = Bun.hash.xxHash32(dedupId, (this.#seed + Math.imul(org + 1, 0x9e3779b1)) >>> 0);
    return high * 0x1_0000_0000 + low;
  }
}

function push(map: Map<number, number[]>, hash: number, seq: number): void {
  const seqs = map.get(hash);
  if (seqs) seqs.push(seq);
  else map.set(hash, [seq]);
}
