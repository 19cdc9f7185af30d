// What every part of the writer works on.

import type { Database } from "bun:sqlite";
import type { SecretBox } from "../../base/secret_box.ts";
import type { Dedup } from "./dedup.ts";
import type { Effects } from "./effects.ts";
import type { FanOut } from "./fan_out.ts";
import type { Frontiers } from "./frontiers.ts";

/** The indexes that are written later than the commit that a caller waits for (seal.ts). */
export const indexNames = ["inbox", "due", "dedup"] as const;
export type IndexName = (typeof indexNames)[number];

export type Context = {
  readonly db: Database;
  readonly dedup: Dedup;
  readonly fanOut: FanOut;
  readonly frontiers: Frontiers;
  readonly box: SecretBox;
  /** Of the group in hand. */
  effects: Effects;
  /** Of the group in hand, milliseconds since 1970. */
  nowMs: number;
  /** False: the write-ahead log, or free space, may still hold what was erased. */
  scrubbed: boolean;
  /** Up to which seq each index is written; the marks on disk. */
  readonly sealed: Record<IndexName, number>;
  /** Events up to this one may stand in the inbox index: its mark, or the end of the run that was begun last. */
  sealing: number;
};
