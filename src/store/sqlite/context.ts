// What every part of the writer works on.

import type { Database } from "bun:sqlite";
import type { Dedup } from "./dedup.ts";
import type { Effects } from "./effects.ts";
import type { FanOut } from "./fan_out.ts";

export type Context = {
  readonly db: Database;
  readonly dedup: Dedup;
  readonly fanOut: FanOut;
  /** Of the group in hand. */
  effects: Effects;
  /** Of the group in hand, milliseconds since 1970. */
  nowMs: number;
  /** Events up to this seq are in the inbox index; the mark of the same name on disk. */
  sealed: number;
};
