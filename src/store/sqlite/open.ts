// Opens a store: takes the data directory, hands the file to the writer thread, then reads on this thread.

import path from "node:path";
import { IdSource } from "../../base/id.ts";
import { listen } from "../../base/thread.ts";
import { type Lock, lockDataDir } from "./lock.ts";
import { LogCopier } from "./log_copier.ts";
import { type Durability, openReader } from "./pragma.ts";
import type { SqliteStore } from "./sqlite_store.ts";
import { Writer } from "./writer.ts";
import type { WriterInit, WriterReady } from "./writer.worker.ts";

export type StoreOptions = {
  readonly dataDir: string;
  readonly durability: Durability;
  readonly encryptionKeys: readonly string[];
  readonly queuedMax: number;
  /** Starts the writer thread; called once the data directory is ours. */
  readonly startWriterThread: () => Worker;
  /** Starts a thread for a write-ahead log that has grown long. */
  readonly startCheckpointThread: () => Worker;
  /** One end of the channel between the writer and the delivery thread; null when nothing is delivered. */
  readonly deliveryPort: MessagePort | null;
};

export type OpenedStore =
  | { readonly kind: "opened"; readonly store: SqliteStore; readonly lock: Lock; readonly file: string }
  | { readonly kind: "refused"; readonly detail: string };

/** Refused: another process has the directory, or the file is of a newer version. `detail` is a whole sentence. */
export async function openStore(options: StoreOptions): Promise<OpenedStore> {
  const locked = lockDataDir(options.dataDir);
  if (locked.kind === "refused") return locked;
  const file = path.join(options.dataDir, "triggers.db");
  const thread = options.startWriterThread();
  // The reading side's code is loaded while the writer opens the file.
  const code = import("./sqlite_store.ts");
  const ready = await startWriter(thread, options, file);
  if (ready.kind === "refused") {
    locked.lock.release();
    return ready;
  }
  const writer = new Writer(thread, options.queuedMax, new LogCopier(file, options.startCheckpointThread));
  const ids = new IdSource(ready.lastSeq);
  const { SqliteStore } = await code;
  const store = new SqliteStore(file, openReader(file), writer, options.queuedMax, ids);
  return { kind: "opened", store, lock: locked.lock, file };
}

function startWriter(
  thread: Worker,
  { durability, encryptionKeys, deliveryPort }: StoreOptions,
  file: string,
): Promise<WriterReady> {
  return new Promise((resolve) => {
    listen(thread, (text: string) => resolve(JSON.parse(text) as WriterReady));
    const init: WriterInit = { file, durability, encryptionKeys, delivery: deliveryPort };
    thread.postMessage(init, deliveryPort ? [deliveryPort] : []);
  });
}
