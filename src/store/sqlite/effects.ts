// What a group will have changed once it is committed: memory and messages follow the disk, never lead it.

import type { CommitNotice } from "./op.ts";

export class Effects {
  due: number[] = [];
  waiting: number[] = [];
  endpoints: number[] = [];
  healed: number[] = [];
  unpaused: number[] = [];
  /** Events inserted: how far the tail grew. */
  inserted = 0;
  lastSeq = 0;

  /** Worth telling the delivery thread. */
  get any(): boolean {
    const { due, waiting, endpoints, healed, unpaused } = this;
    return due.length + waiting.length + endpoints.length + healed.length + unpaused.length > 0;
  }

  notice(sealed: number): CommitNotice {
    const { due, waiting, endpoints, healed, unpaused } = this;
    return { due, waiting, endpoints, healed, unpaused, sealed };
  }
}
