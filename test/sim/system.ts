// The service in one process: the store, the writer's loop, the engine and the dispatcher, all of them the real ones,
// put together as server.ts and the threads do, over a database file; only the clocks, the channels and the sender are
// not. It can be killed at any moment: what was in memory is gone, and the next one opens the file as it is then.

import type { Database } from "bun:sqlite";
import { copyFileSync, existsSync } from "node:fs";
import path from "node:path";
import { IdSource } from "../../src/base/id.ts";
import { createLog } from "../../src/base/log.ts";
import { createSecretBox } from "../../src/base/secret_box.ts";
import { listen } from "../../src/base/thread.ts";
import { Dispatcher } from "../../src/delivery/dispatcher.ts";
import { Post } from "../../src/delivery/post.ts";
import type { Sender } from "../../src/delivery/send.ts";
import type { Committed, Engine } from "../../src/store/sqlite/engine.ts";
import { type Committing, GroupCommit } from "../../src/store/sqlite/group_commit.ts";
import { LogCopier } from "../../src/store/sqlite/log_copier.ts";
import { encodeOps, type Op, type ToDelivery } from "../../src/store/sqlite/op.ts";
import { openReader } from "../../src/store/sqlite/pragma.ts";
import { DueReads } from "../../src/store/sqlite/read_due.ts";
import { SqliteStore } from "../../src/store/sqlite/sqlite_store.ts";
import { Writer } from "../../src/store/sqlite/writer.ts";
import { open } from "../store/writing.ts";
import type { Dice } from "./dice.ts";
import type { VirtualTime } from "./virtual_time.ts";
import { wire } from "./wire.ts";

export type SystemOptions = {
  readonly dir: string;
  readonly retryScheduleMs: readonly number[];
  readonly timeoutMs: number;
  readonly sealEvents: number;
  readonly delayMsMax: number;
  readonly isDeaf: boolean;
  /** After each commit, with what was asked and what came of it. */
  readonly onCommit: (ops: readonly Op[], results: Committed["results"]) => void;
  /** A new process has opened the file; the clock of its delivery thread differs by so much from the last one's. */
  readonly onBoot: (db: Database, setByMs: number) => void;
  readonly onError: (line: string) => void;
};

const QUEUED_MAX = 10_000;
const REFUSAL = { failed: "unavailable", reason: "SQLITE_FULL: database or disk is full" } as const;

/** One life of the process. */
type Life = {
  readonly store: SqliteStore;
  readonly dispatcher: Dispatcher;
  readonly engine: Engine;
  readonly readers: readonly Database[];
};

/** The engine copies its log itself here. */
function noThread(): never {
  throw new Error("a simulated log is never long");
}

export class System {
  /** True: the disk takes nothing, as when it is full. */
  isDiskFull = false;
  readonly #options: SystemOptions;
  readonly #time: VirtualTime;
  readonly #dice: Dice;
  readonly #sender: Sender;
  #file: string;
  #files = 0;
  #life: Life;

  constructor(time: VirtualTime, dice: Dice, sender: Sender, options: SystemOptions) {
    this.#time = time;
    this.#dice = dice;
    this.#sender = sender;
    this.#options = options;
    this.#file = path.join(options.dir, "0.db");
    this.#life = this.#start(null);
  }

  get store(): SqliteStore {
    return this.#life.store;
  }

  get dispatcher(): Dispatcher {
    return this.#life.dispatcher;
  }

  /** A reader's connection, for what is to be checked. */
  get db(): Database {
    return this.#life.readers[2] as Database;
  }

  /** Organizations, made by `create` before anything else happens. */
  organizations(count: number, create: (engine: Engine) => number): readonly number[] {
    return Array.from({ length: count }, () => create(this.#life.engine));
  }

  /** kill -9, and a new process. */
  crash(): void {
    const before = this.#file;
    this.#file = path.join(this.#options.dir, `${++this.#files}.db`);
    copyFileSync(before, this.#file);
    if (existsSync(`${before}-wal`)) copyFileSync(`${before}-wal`, `${this.#file}-wal`);
    for (const db of this.#life.readers) db.close();
    this.#life.engine.close();
    this.#reboot();
  }

  /** SIGTERM, and a new process. */
  restart(): void {
    const { store, dispatcher, readers } = this.#life;
    const stopped = dispatcher.stop();
    const giveUp = this.#time.after(10_000, () => this.#sender.close());
    this.#time.settle(stopped);
    giveUp.isOff = true;
    this.#time.settle(store.close());
    for (const db of readers.slice(1)) db.close();
    this.#reboot();
  }

  close(): void {
    for (const db of this.#life.readers) db.close();
    this.#life.engine.close();
  }

  #reboot(): void {
    this.#time.forgetAll();
    this.#life = this.#start(this.#time.bootClock());
  }

  #start(setByMs: number | null): Life {
    const { retryScheduleMs, timeoutMs, sealEvents, delayMsMax, isDeaf, onError } = this.#options;
    const { engine } = open(this.#file, sealEvents);
    const [main, toMain] = wire(this.#time, this.#dice, delayMsMax);
    const [delivery, toDelivery] = wire(this.#time, this.#dice, delayMsMax);
    new GroupCommit(this.#watched(engine), toMain, toDelivery).start();
    const readers = [openReader(this.#file), openReader(this.#file), openReader(this.#file)] as const;
    const writer = new Writer(main, QUEUED_MAX, new LogCopier(this.#file, noThread));
    const store = new SqliteStore(this.#file, readers[0], writer, QUEUED_MAX, new IdSource(engine.lastSeq));
    const log = createLog({ level: "warn", format: "json" }, onError);
    const post = new Post({ sender: this.#sender, retryScheduleMs, timeoutMs, onAttempt: () => {} });
    const reads = new DueReads(readers[1], createSecretBox([]));
    const dispatcher = new Dispatcher(reads, post, (ops) => delivery.postMessage(encodeOps(ops)), log);
    listen(delivery, (text: string) => {
      const message = JSON.parse(text) as ToDelivery;
      if ("notice" in message && isDeaf) return;
      if ("notice" in message) dispatcher.notice(message.notice);
      else dispatcher.replied(message.results, message.sealed);
    });
    if (setByMs !== null) this.#options.onBoot(readers[2], setByMs);
    dispatcher.start();
    void store.resume();
    return { store, dispatcher, engine, readers };
  }

  #watched(engine: Engine): Committing {
    const refuse = (ops: readonly Op[]): ReturnType<Engine["commitGroup"]> => ({
      ...{ results: ops.map(() => REFUSAL), notice: null, readable: [], commitMs: 0 },
    });
    return {
      commitGroup: (ops) => {
        if (this.isDiskFull) return refuse(ops);
        const committed = engine.commitGroup(ops);
        this.#options.onCommit(ops, committed.results);
        return committed;
      },
      maintain: () => !this.isDiskFull && engine.maintain(),
      readAhead: () => engine.readAhead(),
      get sealedDue() {
        return engine.sealedDue;
      },
      close: () => engine.close(),
    };
  }
}
