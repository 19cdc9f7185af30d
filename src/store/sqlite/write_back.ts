// Hands a file that is being written to the disk bit by bit. SQLite writes a copy without a sync; gigabytes that pile up
// in memory and go out at the end make the server's own fsyncs wait for them.

import { type FileHandle, open } from "node:fs/promises";

const PAUSE_MS = 200;

/** Begins with `file`, which must be there; ends when the returned function is called. Never fails: it only helps. */
export function keepWritingBack(file: string): () => Promise<void> {
  let isOver = false;
  const turns = (async () => {
    const handle = await open(file, "r").catch(() => null);
    while (handle !== null && !isOver) await turn(handle);
    await handle?.close();
  })();
  return () => {
    isOver = true;
    return turns;
  };
}

async function turn(handle: FileHandle): Promise<void> {
  await handle.datasync().catch(() => {});
  await Bun.sleep(PAUSE_MS);
}
