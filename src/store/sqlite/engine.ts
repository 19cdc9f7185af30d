// The one read-write connection and all that it remembers: opens and migrates the file, commits groups of ops,
// seals the tail between groups, keeps the WAL short. Runs in the writer thread, and in a command line tool while
// no server runs. Synchronous throughout: nothing may interleave with a transaction.

import { SQLiteError } from "bun:sqlite";
import { firstSeqOfMs } from "../../base/id.ts";
import { createSecretBox, type SecretBox } from "../../base/secret_box.ts";
import { prepareApply } from "./apply.ts";
import { type LargeLog, prepareCheckpoint, prepareScrub } from "./checkpoint.ts";
import { type Context, type IndexName, indexNames } from "./context.ts";
import { Dedup, type DedupOptions } from "./dedup.ts";
import { Effects } from "./effects.ts";
import { FanOut } from "./fan_out.ts";
import { Frontiers } from "./frontiers.ts";
import { type Migrated, migrate } from "./migrate.ts";
import { followClock, resealSecrets } from "./on_open.ts";
import type { CommitNotice, Op, OpFailure, OpResult } from "./op.ts";
import { BUSY_MS, type Durability, openWriter } from "./pragma.ts";
import { markName, prepareMark, prepareSeals, type Run, SEAL_EVENTS, type Seal } from "./seal.ts";
import { TRIED_MARK } from "./try_write.ts";

/** The writer cannot go on, and neither can the process: it is started anew, and reads back what is really on disk. */
class WriterDefeat extends Error {}

export type Opened =
  | { readonly kind: "opened"; readonly engine: Engine; readonly lastSeq: number }
  | { readonly kind: "refused"; readonly detail: string };

export type EngineOptions = {
  readonly durability: Durability;
  /** In hexadecimal: what seals secrets (base/secret_box.ts). */
  readonly encryptionKeys: readonly string[];
  /** How long the tail may grow before it is sealed. */
  readonly sealEvents?: number;
  readonly dedup?: DedupOptions;
  /** Absent: the engine copies its write-ahead log itself, however long it is. */
  readonly largeLog?: LargeLog;
};

/** A stop waits so long for somebody who reads (a backup, Litestream); then the log stays, and is read at the next start. */
const CLOSE_WAIT_MS = 500;

/** Opens and migrates the database file. */
export function openEngine(file: string, options: EngineOptions): Opened {
  let db: Context["db"] | null = null;
  try {
    db = openWriter(file, options.durability);
    const migrated = migrate(db);
    if (migrated.kind === "too_new") throw new StartRefusal(tooNew(file, migrated));
    addMarks(db);
    copyLog(db);
    const box = createSecretBox(options.encryptionKeys);
    const resealed = resealSecrets(db, box);
    if (resealed.kind === "wrong_key") throw new StartRefusal(wrongKey(options.encryptionKeys.length > 0));
    followClock(db, Date.now());
    const engine = new Engine(db, box, options);
    return { kind: "opened", engine, lastSeq: engine.lastSeq };
  } catch (error) {
    db?.close();
    if (error instanceof StartRefusal) return { kind: "refused", detail: error.message };
    if (!(error instanceof Error)) throw error;
    const code = error instanceof SQLiteError ? `${error.code}: ` : "";
    return { kind: "refused", detail: `The database ${file} cannot be opened (${code}${error.message}).` };
  }
}

class StartRefusal extends Error {}

function tooNew(file: string, { found, known }: Extract<Migrated, { kind: "too_new" }>): string {
  return `${file} has schema ${found}, and this program knows schemas up to ${known}: it was written by a newer version. Start that version, or restore a backup from before the upgrade.`;
}

function wrongKey(given: boolean): string {
  return given
    ? "ENCRYPTION_KEY does not open the signing secrets in the database: it was another key that sealed them. Start with that one, or with NEW,OLD to exchange it."
    : "The signing secrets in the database are sealed, and ENCRYPTION_KEY is not set: start with the key that sealed them.";
}

/**
 * After a crash the WAL is read back from the page cache. What a failed fsync left there may not be on the disk, and all
 * that comes behind it in the log would be lost with the power: so it is copied and synced before the log goes on.
 */
function copyLog(db: Context["db"]): void {
  try {
    db.run("PRAGMA wal_checkpoint(PASSIVE)");
  } catch (error) {
    if (codeOf(error) !== "SQLITE_FULL") throw error; // then nothing is committed behind it either
  }
}

function addMarks(db: Context["db"]): void {
  const add = db.prepare<void, [string, number]>("INSERT OR IGNORE INTO marks (name, value) VALUES (?, ?)");
  for (const index of indexNames) add.run(markName(index), firstSeqOfMs(0));
  add.run("dedup_seed", crypto.getRandomValues(new Uint32Array(1))[0] ?? 0);
  add.run("delivery_clock", 0);
  add.run("appeared", 0);
  add.run("removed_unsealed", 0);
  add.run(TRIED_MARK, 0);
}

/** The results in the order of the ops; `notice`: what the delivery thread should hear of, if anything. */
export type Committed = {
  readonly results: readonly OpResult[];
  readonly notice: CommitNotice | null;
  /** Organizations, see `ToMain`. */
  readonly readable: readonly number[];
};

/** A run that is being written: up to `last`, and how many events of the tail are in it. */
type RunInHand = {
  readonly index: IndexName;
  readonly last: number;
  readonly events: number;
  readonly run: Run;
};

/** A run of 2 000 events of the inbox is written in pauses of 1.1 ms, and not in one of 7. */
const RUN_PIECES = 8;

export class Engine {
  readonly #ctx: Context;
  readonly #checkpoint: () => boolean;
  readonly #scrub: () => boolean;
  readonly #durability: Durability;
  readonly #sealEvents: number;
  readonly #apply: (op: Op) => OpResult;
  readonly #seals: readonly Seal[];
  readonly #mark: (index: IndexName, last: number) => void;
  readonly #begin;
  readonly #commit;
  /** Events above the mark of each index. */
  readonly #tail: Record<IndexName, number>;
  #lastSeq: number;
  /** Something was committed without an fsync, and none came since. */
  #isUnsynced = false;
  /** The last pause was used for sealing. */
  #hasSealed = false;
  #run: RunInHand | null = null;
  #isWarm = false;

  constructor(
    db: Context["db"],
    box: SecretBox,
    {
      durability,
      sealEvents = SEAL_EVENTS,
      dedup: dedupOptions,
      largeLog,
    }: Pick<EngineOptions, "durability" | "sealEvents" | "dedup" | "largeLog">,
  ) {
    this.#durability = durability;
    this.#sealEvents = sealEvents;
    const mark = db.prepare<{ value: number }, [string]>("SELECT value FROM marks WHERE name = +?");
    const markOf = (name: string) => mark.get(name)?.value ?? 0;
    const sealed = eachIndex((index) => markOf(markName(index)));
    const dedup = new Dedup(db, markOf("dedup_seed"), dedupOptions);
    this.#checkpoint = prepareCheckpoint(db, BUSY_MS, largeLog);
    this.#scrub = prepareScrub(db, BUSY_MS);
    this.#ctx = {
      db,
      box,
      dedup,
      fanOut: new FanOut(db),
      frontiers: new Frontiers(),
      effects: new Effects(),
      nowMs: Date.now(),
      scrubbed: true,
      sealed,
      sealing: 0,
    };
    this.#apply = prepareApply(this.#ctx);
    this.#seals = prepareSeals(this.#ctx);
    this.#mark = prepareMark(this.#ctx);
    this.#begin = db.prepare("BEGIN IMMEDIATE");
    this.#commit = db.prepare("COMMIT");
    this.#lastSeq = Math.max(maxSeq(db) ?? 0, markOf("removed_unsealed"), ...Object.values(sealed));
    this.#ctx.sealing = this.#lastSeq; // a run may not have been finished
    const above = db.prepare<{ n: number }, [number]>("SELECT count(*) AS n FROM events WHERE seq > ?");
    this.#tail = eachIndex((index) => above.get(sealed[index])?.n ?? 0);
  }

  /** The greatest seq ever given to an event; ids go on above it. */
  get lastSeq(): number {
    return this.#lastSeq;
  }

  /** Waiting deliveries of events up to this seq stand in the due index. */
  get sealedDue(): number {
    return this.#ctx.sealed.due;
  }

  /**
   * Reads back what a restart forgot of the dedup ids: 30 ms with ten million of them, in which others can go on starting.
   * The first write does it, when nobody did it before.
   */
  warm(): void {
    if (this.#isWarm) return;
    this.#ctx.dedup.load(this.#ctx.sealed.dedup);
    this.#isWarm = true;
  }

  /** Commits these ops as one transaction. When it returns, what has a result that is no failure is on disk. */
  commitGroup(ops: readonly Op[]): Committed & { readonly commitMs: number } {
    this.warm();
    const startedMs = performance.now();
    return { ...this.#commitTogether(ops), commitMs: performance.now() - startedMs };
  }

  #commitTogether(ops: readonly Op[]): Committed {
    try {
      const results = this.#transaction(() => ops.map((op) => this.#apply(op)));
      const { effects } = this.#ctx;
      this.#ctx.dedup.commit();
      for (const index of indexNames) this.#tail[index] += effects.inserted;
      this.#lastSeq = Math.max(this.#lastSeq, effects.lastSeq);
      if (effects.erased) this.#ctx.scrubbed = false;
      if (effects.inserted > 0) this.#isUnsynced = false;
      const notice = effects.any ? effects.notice(this.sealedDue) : null;
      return { results, notice, readable: [...new Set(effects.readable)] };
    } catch (error) {
      this.#checkDefeat(error);
      const failure = failureOf(error);
      if (failure.failed === "defect" && ops.length > 1) return this.#commitOneByOne(ops);
      return { results: ops.map(() => failure), notice: null, readable: [] };
    }
  }

  /** One op of a group has a defect: each gets its own transaction, so that it spoils nobody else's. */
  #commitOneByOne(ops: readonly Op[]): Committed {
    const parts = ops.map((op) => this.#commitTogether([op]));
    const notices = parts.map((part) => part.notice).filter((notice) => notice !== null);
    return {
      results: parts.flatMap((part) => part.results),
      notice: notices.length === 0 ? null : mergeNotices(notices, this.sealedDue),
      readable: parts.flatMap((part) => part.readable),
    };
  }

  /**
   * Work that nobody waits for, between groups: a piece of one index sealed, or a checkpoint, never both in one pause.
   * True when the due index was sealed, which the delivery thread should hear of.
   */
  maintain(): boolean {
    this.warm();
    const isToSeal = this.#run !== null || this.#longestTail() !== undefined;
    // In turn, when there is always a tail to seal: groups of 1 000 would otherwise let the WAL grow for ever.
    const isTurnOfCheckpoint = !isToSeal || this.#hasSealed;
    this.#hasSealed = false;
    try {
      if (!this.#ctx.scrubbed) this.#ctx.scrubbed = this.#scrub();
      if (isTurnOfCheckpoint && this.#checkpoint()) return false;
      if (!isToSeal) return false;
      this.#hasSealed = true;
      return this.#sealOn() === "due";
    } catch (error) {
      this.#checkDefeat(error);
      // A full disk: the tail stays longer and the WAL stays, both correct; the next group tries again.
      if (failureOf(error).failed === "defect") throw error;
      return false;
    }
  }

  /** The index that most events wait for, when they are enough for a run. */
  #longestTail(): Seal | undefined {
    const longest = Math.max(this.#sealEvents, ...Object.values(this.#tail));
    return this.#seals.find(({ index }) => this.#tail[index] >= longest);
  }

  /**
   * Writes a piece of the run in hand, or of a new one; the index whose run that ended, if any. A run of which a piece
   * failed is given up: what came in by the next attempt belongs to it too.
   */
  #sealOn(): IndexName | null {
    const inHand = this.#run ?? this.#beginRun();
    this.#run = null;
    if (inHand === null) return null;
    const { index, last, events, run } = inHand;
    let isDone = false;
    // Nobody waits for it: the next group's fsync takes it along. Lost with the power before that, it is done again.
    this.#withoutSync(() =>
      this.#transaction(() => {
        isDone = run.write(this.#pieceRows(index)).done;
        if (isDone) this.#mark(index, last);
      }),
    );
    this.#isUnsynced = this.#durability === "full";
    run.committed();
    if (!isDone) {
      this.#run = inHand;
      return null;
    }
    this.#ctx.sealed[index] = last;
    this.#tail[index] -= events;
    return index;
  }

  #beginRun(): RunInHand | null {
    const seal = this.#longestTail();
    if (seal === undefined) return null;
    const last = this.#lastSeq;
    return { index: seal.index, last, events: this.#tail[seal.index], run: seal.begin(last) };
  }

  /** More when it falls behind: large groups leave fewer pauses. */
  #pieceRows(index: IndexName): number {
    return Math.ceil((this.#sealEvents / RUN_PIECES) * (this.#tail[index] / this.#sealEvents) ** 2);
  }

  /**
   * After a failed fsync the kernel holds the pages for written, and the next fsync succeeds without them. A refused
   * group is no harm: the next one is written over it, and synced. But what a seal committed before, unsynced, would stay
   * a hole in the log, and the power would take all that was accepted behind it. A corrupt file is not written to either.
   */
  #checkDefeat(error: unknown): void {
    const code = codeOf(error);
    if (code === "SQLITE_IOERR_FSYNC" && this.#isUnsynced) {
      throw new WriterDefeat("The disk failed to sync the write-ahead log, and parts of it may be lost.");
    }
    if (/^SQLITE_(CORRUPT|NOTADB)/.test(code)) {
      const told = error instanceof Error ? error.message : code;
      throw new WriterDefeat(`The database file is corrupt (${code}: ${told}): restore a backup.`);
    }
  }

  #withoutSync(work: () => void): void {
    const { db } = this.#ctx;
    db.run("PRAGMA synchronous = NORMAL");
    try {
      work();
    } finally {
      if (this.#durability === "full") db.run("PRAGMA synchronous = FULL");
    }
  }

  /** After the start: reads in small steps (0.5 ms) what ingests will ask for. True when there is more. */
  readAhead(): boolean {
    try {
      return this.#ctx.dedup.readAhead();
    } catch (error) {
      if (failureOf(error).failed === "defect") throw error;
      return false; // who needs it reads it
    }
  }

  /** Checkpoints everything into the database file and closes it; on a full disk, the WAL stays for the next start. */
  close(): void {
    const { db } = this.#ctx;
    db.run(`PRAGMA busy_timeout = ${CLOSE_WAIT_MS}`);
    try {
      while (this.#run !== null) this.#sealOn();
      db.run("PRAGMA wal_checkpoint(TRUNCATE)");
    } catch (error) {
      if (failureOf(error).failed === "defect") throw error;
    }
    db.close(false);
  }

  #transaction<T>(work: () => T): T {
    this.#ctx.effects = new Effects();
    this.#ctx.nowMs = Date.now();
    this.#begin.run();
    try {
      const value = work();
      this.#commit.run();
      return value;
    } catch (error) {
      this.#rollback();
      throw error;
    }
  }

  #rollback(): void {
    const { db, dedup, fanOut, frontiers } = this.#ctx;
    if (db.inTransaction) db.run("ROLLBACK");
    dedup.rollback();
    fanOut.forgetAll();
    frontiers.forgetAll();
  }
}

function eachIndex(of: (index: IndexName) => number): Record<IndexName, number> {
  return { inbox: of("inbox"), due: of("due"), dedup: of("dedup") };
}

function maxSeq(db: Context["db"]): number | null {
  return db.query<{ seq: number | null }, []>("SELECT max(seq) AS seq FROM events").get()?.seq ?? null;
}

function codeOf(error: unknown): string {
  return error instanceof SQLiteError ? (error.code ?? "") : "";
}

/** SQLite's result codes that tell of the disk and not of us: nothing was stored, and it may pass. */
const storageCodes = /^SQLITE_(FULL|IOERR|READONLY|CANTOPEN|BUSY|LOCKED|NOMEM|PERM|AUTH)/;

function failureOf(error: unknown): OpFailure {
  const reason = error instanceof Error ? error.message : String(error);
  if (error instanceof SQLiteError && storageCodes.test(error.code ?? "")) {
    return { failed: "unavailable", reason: `${error.code}: ${reason}` };
  }
  return { failed: "defect", reason };
}

function mergeNotices(notices: readonly CommitNotice[], sealed: number): CommitNotice {
  return {
    due: notices.flatMap((notice) => notice.due),
    waiting: notices.flatMap((notice) => notice.waiting),
    later: notices.flatMap((notice) => notice.later),
    endpoints: notices.flatMap((notice) => notice.endpoints),
    aged: notices.flatMap((notice) => notice.aged),
    healed: notices.flatMap((notice) => notice.healed),
    unheld: notices.flatMap((notice) => notice.unheld),
    sealed,
  };
}
