// The one read-write connection and all that it remembers: opens and migrates the file, commits groups of ops,
// seals the tail between groups, keeps the WAL short. Runs in the writer thread, and in a command line tool while
// no server runs. Synchronous throughout: nothing may interleave with a transaction.

import { SQLiteError } from "bun:sqlite";
import { firstSeqOfMs } from "../../base/id.ts";
import { prepareApply } from "./apply.ts";
import { prepareCheckpoint } from "./checkpoint.ts";
import type { Context } from "./context.ts";
import { Dedup } from "./dedup.ts";
import { Effects } from "./effects.ts";
import { FanOut } from "./fan_out.ts";
import { type Migrated, migrate } from "./migrate.ts";
import type { CommitNotice, Op, OpFailure, OpResult } from "./op.ts";
import { BUSY_MS, type Durability, openWriter } from "./pragma.ts";
import { prepareSeal, SEAL_EVENTS } from "./seal.ts";

export type Opened =
  | { readonly kind: "opened"; readonly engine: Engine; readonly lastSeq: number }
  | { readonly kind: "refused"; readonly detail: string };

/** Opens, migrates and warms the database file. `sealEvents`: how long the tail may grow before it is sealed. */
export function openEngine(file: string, durability: Durability, sealEvents = SEAL_EVENTS): Opened {
  let db: Context["db"] | null = null;
  try {
    db = openWriter(file, durability);
    const migrated = migrate(db);
    if (migrated.kind === "too_new") throw new StartRefusal(tooNew(file, migrated));
    addMarks(db);
    const engine = new Engine(db, sealEvents);
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

function addMarks(db: Context["db"]): void {
  const add = db.prepare<void, [string, number]>("INSERT OR IGNORE INTO marks (name, value) VALUES (?, ?)");
  add.run("sealed", firstSeqOfMs(0));
  add.run("dedup_seed", crypto.getRandomValues(new Uint32Array(1))[0] ?? 0);
}

/** The results in the order of the ops; `notice`: what the delivery thread should hear of, if anything. */
export type Committed = { readonly results: readonly OpResult[]; readonly notice: CommitNotice | null };

export class Engine {
  readonly #ctx: Context;
  readonly #checkpoint: () => void;
  readonly #sealEvents: number;
  readonly #apply: (op: Op) => OpResult;
  readonly #seal: (last: number) => void;
  readonly #begin;
  readonly #commit;
  #tailEvents: number;
  #lastSeq: number;

  constructor(db: Context["db"], sealEvents: number) {
    this.#sealEvents = sealEvents;
    const mark = db.prepare<{ value: number }, [string]>("SELECT value FROM marks WHERE name = ?");
    const sealed = mark.get("sealed")?.value ?? 0;
    const dedup = new Dedup(db, mark.get("dedup_seed")?.value ?? 0);
    const nowMs = Date.now();
    this.#checkpoint = prepareCheckpoint(db, BUSY_MS);
    this.#ctx = { db, dedup, fanOut: new FanOut(db), effects: new Effects(), nowMs, sealed };
    dedup.load(db, sealed, nowMs);
    this.#apply = prepareApply(this.#ctx);
    this.#seal = prepareSeal(this.#ctx);
    this.#begin = db.prepare("BEGIN IMMEDIATE");
    this.#commit = db.prepare("COMMIT");
    this.#lastSeq = maxSeq(db) ?? sealed;
    this.#tailEvents =
      db.query<{ n: number }, [number]>("SELECT count(*) AS n FROM events WHERE seq > ?").get(sealed)?.n ?? 0;
  }

  /** The greatest seq ever given to an event; ids go on above it. */
  get lastSeq(): number {
    return Math.max(this.#lastSeq, this.#ctx.sealed);
  }

  get sealed(): number {
    return this.#ctx.sealed;
  }

  /** Commits these ops as one transaction. When it returns, what has a result that is no failure is on disk. */
  commitGroup(ops: readonly Op[]): Committed & { readonly commitMs: number } {
    const startedMs = performance.now();
    const { results, notice } = this.#commitTogether(ops);
    return { results, notice, commitMs: performance.now() - startedMs };
  }

  #commitTogether(ops: readonly Op[]): Committed {
    try {
      const results = this.#transaction(() => ops.map((op) => this.#apply(op)));
      const { effects } = this.#ctx;
      this.#ctx.dedup.commit();
      this.#tailEvents += effects.inserted;
      this.#lastSeq = Math.max(this.#lastSeq, effects.lastSeq);
      return { results, notice: effects.any ? effects.notice(this.#ctx.sealed) : null };
    } catch (error) {
      const failure = failureOf(error);
      if (failure.failed === "defect" && ops.length > 1) return this.#commitOneByOne(ops);
      return { results: ops.map(() => failure), notice: null };
    }
  }

  /** One op of a group has a defect: each gets its own transaction, so that it spoils nobody else's. */
  #commitOneByOne(ops: readonly Op[]): Committed {
    const parts = ops.map((op) => this.#commitTogether([op]));
    const notices = parts.map((part) => part.notice).filter((notice) => notice !== null);
    return {
      results: parts.flatMap((part) => part.results),
      notice: notices.length === 0 ? null : mergeNotices(notices, this.#ctx.sealed),
    };
  }

  /** Work that nobody waits for, between groups: sealing and checkpoints. True when the sealed mark moved. */
  maintain(): boolean {
    let moved = false;
    try {
      if (this.#tailEvents >= this.#sealEvents) {
        const last = this.#lastSeq;
        this.#transaction(() => this.#seal(last));
        this.#ctx.dedup.sealed(last);
        this.#ctx.sealed = last;
        this.#tailEvents = 0;
        moved = true;
      }
      this.#checkpoint();
    } catch (error) {
      // A full disk: the tail stays longer and the WAL stays, both correct; the next group tries again.
      if (failureOf(error).failed === "defect") throw error;
    }
    return moved;
  }

  /** Checkpoints everything into the database file and closes it. */
  close(): void {
    const { db } = this.#ctx;
    db.run("PRAGMA wal_checkpoint(TRUNCATE)");
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
    const { db, dedup, fanOut } = this.#ctx;
    if (db.inTransaction) db.run("ROLLBACK");
    dedup.rollback();
    fanOut.forgetAll();
  }
}

function maxSeq(db: Context["db"]): number | null {
  return db.query<{ seq: number | null }, []>("SELECT max(seq) AS seq FROM events").get()?.seq ?? null;
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
    cancelled: notices.flatMap((notice) => notice.cancelled),
    endpoints: notices.flatMap((notice) => notice.endpoints),
    sealed,
  };
}
