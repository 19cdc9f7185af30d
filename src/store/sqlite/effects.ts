// What a group will have changed once it is committed: memory and messages follow the disk, never lead it.

import type { CommitNotice } from "./op.ts";

export class Effects {
  due: number[] = [];
  waiting: number[] = [];
  endpoints: number[] = [];
  aged: number[] = [];
  healed: number[] = [];
  unheld: number[] = [];
  /** Waiting deliveries with a time: event, endpoint, due_at, event, endpoint, due_at, ... */
  later: number[] = [];
  /** Organizations whose consumers have something to read besides new events. */
  readable: number[] = [];
  /** Events inserted: how far the tail grew. */
  inserted = 0;
  lastSeq = 0;
  /** The last rows of an organization were erased. */
  erased = false;

  /** Worth telling the delivery thread. */
  get any(): boolean {
    const { due, waiting, later, endpoints, aged, healed, unheld } = this;
    return [due, waiting, later, endpoints, aged, healed, unheld].some((list) => list.length > 0);
  }

  notice(sealed: number): CommitNotice {
    const { due, waiting, later, endpoints, aged, healed, unheld } = this;
    return { due, waiting, later, endpoints, aged, healed, unheld, sealed };
  }
}
