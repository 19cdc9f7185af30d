// A write for its own sake: whether the disk takes one again. It changes a page, so it goes the whole way to the disk.

import type { Context } from "./context.ts";

/** The mark that it changes. */
export const TRIED_MARK = "write_tried";

export function prepareTryWrite(ctx: Context): () => null {
  const change = ctx.db.prepare<void, [string]>("UPDATE marks SET value = value + 1 WHERE name = +?");
  return () => {
    change.run(TRIED_MARK);
    return null;
  };
}
