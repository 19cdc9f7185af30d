// Rules of order, looked at in the trace call by call. Two that SQLite's recovery stands on: the database file is
// written only when the WAL is synced, and the WAL starts over only when the database file is. And two of ours: what a
// killed process left unsynced in the WAL is synced before the next one says where it listens; and nothing is answered
// to be stored while the names of the files and directories that it is in are not on disk.

import path from "node:path";
import type { Call } from "./calls.ts";
import type { Disk } from "./disk.ts";
import { promisesOf } from "./lives.ts";

export class Order {
  readonly #disk: Disk;
  readonly #database: string;
  readonly #wal: string;
  readonly #holder: string;
  readonly #isFull: boolean;
  /** Of the life in hand: it tells who it is, and then where it listens. */
  #holderWrites = 0;
  /** The WAL had unsynced writes when the last life ended, and they are not synced yet. */
  #isCarried = false;
  /** Lives that began so. */
  carried = 0;
  /** How often the database file was synced: once in each checkpoint. */
  checkpoints = 0;

  constructor(disk: Disk, dataDir: string, isFull: boolean) {
    this.#disk = disk;
    this.#database = path.join(dataDir, "triggers.db");
    this.#wal = `${this.#database}-wal`;
    this.#holder = path.join(dataDir, "server.json");
    this.#isFull = isFull;
  }

  /** The process is dead. */
  endLife(): void {
    this.#holderWrites = 0;
    this.#isCarried = this.#disk.isUnsynced(this.#wal);
    if (this.#isCarried) this.carried++;
  }

  /** Before it is applied to the disk. */
  faultsOf(call: Call): readonly string[] {
    if (call.kind === "answer") return this.#namesMissing(call);
    if (call.kind === "sync" && call.path === this.#database) this.checkpoints++;
    if (call.kind === "sync" && call.path === this.#wal) this.#isCarried = false;
    if (call.kind === "write" && call.path === this.#holder && ++this.#holderWrites > 1) {
      if (this.#isCarried && this.#isFull) return ["it listens before the WAL that it found is synced"];
    }
    const changes = call.kind === "write" || call.kind === "truncate" || call.kind === "unlink";
    if (changes && call.path === this.#database && this.#disk.isUnsynced(this.#wal)) {
      return ["the database file is written while the WAL is not synced"];
    }
    const startsOver = call.kind === "write" ? call.offset === 0 : changes;
    if (startsOver && call.path === this.#wal && this.#disk.isUnsynced(this.#database)) {
      return ["the WAL starts over while the database file is not synced"];
    }
    return [];
  }

  #namesMissing(call: Call): readonly string[] {
    if (promisesOf(call).events.length === 0) return [];
    return [this.#database, this.#wal]
      .filter((file) => !this.#disk.isNamed(file))
      .map(
        (file) => `an event is answered, and the name of ${file} or of a directory above it is not synced`,
      );
  }
}
