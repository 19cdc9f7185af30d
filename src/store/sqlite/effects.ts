// What a group will have changed once it is committed: memory and messages follow the disk, never lead it.

import type { CommitNotice } from "./op.ts";

export class Effects {
  due: number[] = [];
  cancelled: number[] = [];
  endpoints: number[] = [];
  /** Events inserted: how far the tail grew. */
  inserted = 0;
  lastSeq = 0;

  /** Worth telling the delivery thread. */
  get any(): boolean {
    return this.due.length > 0 || this.cancelled.length > 0 || this.endpoints.length > 0;
  }

  notice(sealed: number): CommitNotice {
    return { due: this.due, cancelled: this.cancelled, endpoints: this.endpoints, sealed };
  }
}
