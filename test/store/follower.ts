// What the delivery thread knows of what waits, by the rules of src/delivery/lane.ts and nothing else: the notices of
// commits, its own results, and reads of the disk when a lane opens. Memory holds the unsealed, and two places in the
// due index before which nothing waits: one of what stands by its age, one of what waits for a time.

import { ageKey } from "../../src/store/sqlite/due.ts";
import type { CommitNotice, SettleOp } from "../../src/store/sqlite/op.ts";
import type { DueReads, Waiting } from "../../src/store/sqlite/read_due.ts";

type Line = "aged" | "timed";
type Lane = { open: boolean; readonly held: Map<number, number>; readonly disk: Map<Line, Waiting> };

const lineOf = (due: number): Line => (due < 0 ? "aged" : "timed");

export class Follower {
  readonly #reads: DueReads;
  readonly #lanes = new Map<number, Lane>();
  #sealed: number;

  constructor(reads: DueReads) {
    this.#reads = reads;
    this.#sealed = reads.sealed();
    for (const { endpoint, event, due_at } of reads.unsealed(this.#sealed))
      this.#hold(endpoint, event, due_at);
    for (const endpoint of reads.openEndpoints()) this.#open(endpoint);
  }

  hear({ due, waiting, endpoints, aged, sealed }: CommitNotice): void {
    for (const endpoint of endpoints) this.#refresh(endpoint);
    for (const endpoint of aged) this.#reopen(endpoint);
    for (let i = 0; i < due.length; i += 2) this.#hold(due[i + 1] ?? 0, due[i] ?? 0, ageKey(due[i] ?? 0));
    for (let i = 0; i < waiting.length; i += 2) this.#onDisk(waiting[i + 1] ?? 0, waiting[i] ?? 0);
    this.seal(sealed);
  }

  seal(sealed: number): void {
    this.#sealed = sealed;
    for (const [endpoint, { held }] of this.#lanes) {
      for (const [event, due] of held) {
        if (event > sealed) continue;
        held.delete(event);
        this.#onDisk(endpoint, event, due);
      }
    }
  }

  /** Its own result is on disk. */
  settled({ event, endpoint, outcome, dueAtMs }: SettleOp, ordered: boolean): void {
    if (outcome !== "retry") return;
    const due = ordered ? ageKey(event) : (dueAtMs ?? ageKey(event));
    if (event > this.#sealed) this.#hold(endpoint, event, due);
    else this.#onDisk(endpoint, event, due);
  }

  /** Whether it knows of this delivery, and will look for it in time. */
  finds(endpoint: number, { event, due_at }: Waiting): boolean {
    const { held, disk } = this.#lane(endpoint);
    if (event > this.#sealed) return (held.get(event) ?? Number.POSITIVE_INFINITY) <= due_at;
    const from = disk.get(lineOf(due_at));
    return from !== undefined && !isBefore({ event, due_at }, from);
  }

  isOpen(endpoint: number): boolean {
    return this.#lane(endpoint).open;
  }

  #lane(endpoint: number): Lane {
    let lane = this.#lanes.get(endpoint);
    if (!lane) {
      lane = { open: this.#reads.target(endpoint)?.open ?? false, held: new Map(), disk: new Map() };
      this.#lanes.set(endpoint, lane);
    }
    return lane;
  }

  #hold(endpoint: number, event: number, due: number): void {
    if (this.#lane(endpoint).open) this.#lane(endpoint).held.set(event, due);
  }

  #onDisk(endpoint: number, event: number, due = ageKey(event)): void {
    const lane = this.#lane(endpoint);
    const from = lane.disk.get(lineOf(due));
    const waiting = { event, due_at: due };
    if (lane.open && (from === undefined || isBefore(waiting, from))) lane.disk.set(lineOf(due), waiting);
  }

  #refresh(endpoint: number): void {
    const lane = this.#lane(endpoint);
    lane.open = this.#reads.target(endpoint)?.open ?? false;
    if (!lane.open) {
      lane.held.clear();
      lane.disk.clear();
    } else this.#open(endpoint); // open before too: it may have been closed and opened since it heard
  }

  #reopen(endpoint: number): void {
    const lane = this.#lane(endpoint);
    lane.held.clear();
    lane.disk.clear();
    lane.open = this.#reads.target(endpoint)?.open ?? false;
    this.#open(endpoint);
  }

  #open(endpoint: number): void {
    const lane = this.#lane(endpoint);
    for (const above of lane.open ? [-Number.MAX_SAFE_INTEGER, 0] : []) {
      const first = this.#reads.firstDueAfter(endpoint, above);
      if (first) this.#onDisk(endpoint, first.event, first.due_at);
    }
    for (const row of this.#reads.unsealed(this.#sealed)) {
      if (row.endpoint === endpoint) this.#hold(endpoint, row.event, row.due_at);
    }
  }
}

function isBefore(a: Waiting, b: Waiting): boolean {
  return a.due_at < b.due_at || (a.due_at === b.due_at && a.event < b.event);
}
