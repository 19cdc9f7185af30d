// The store over one SQLite file: reads on this thread's own connection, writes through the writer thread. Long
// writes (erasing, cancelling, retention) are loops of short ones, and go on after a restart.

import type { Database } from "bun:sqlite";
import { statfsSync, statSync } from "node:fs";
import path from "node:path";
import { firstSeqOfMs, type IdSource, msOfSeq } from "../../base/id.ts";
import type { Tier } from "../../wire/tiers.ts";
import type {
  AckResult,
  ApiKey,
  Endpoint,
  EventWithDeliveries,
  InboxPage,
  InboxQuery,
  Ingested,
  KeyRecord,
  NewEvent,
  NewKey,
  Organization,
  Refused,
  Store,
  StoreStats,
  Written,
} from "../store.ts";
import { exportLines } from "./export.ts";
import type { RareOp } from "./op.ts";
import { AdminReads } from "./read_admin.ts";
import { DueReads } from "./read_due.ts";
import { InboxReads } from "./read_inbox.ts";
import type { Pruned } from "./remove.ts";
import { isRefused, type Writer } from "./writer.ts";

/** Rows a step may touch: about 5 ms of the writer's time. */
const STEP_ROWS = 500;

export class SqliteStore implements Store {
  readonly #file: string;
  readonly #db: Database;
  readonly #writer: Writer;
  readonly #queuedMax: number;
  readonly #ids: IdSource;
  readonly #admin: AdminReads;
  readonly #inbox: InboxReads;
  readonly #due: DueReads;

  constructor(file: string, db: Database, writer: Writer, queuedMax: number, ids: IdSource) {
    this.#file = file;
    this.#db = db;
    this.#writer = writer;
    this.#queuedMax = queuedMax;
    this.#ids = ids;
    this.#admin = new AdminReads(db);
    this.#inbox = new InboxReads(db);
    this.#due = new DueReads(db);
  }

  ingest({ org, type, dedupId, payload }: NewEvent): Promise<Ingested> {
    const { seq, id } = this.#ids.next(Date.now());
    return this.#writer.write({ op: "ingest", seq, id, org, type, dedupId, payload }).then((result) => {
      if (result === 0) return { kind: "accepted", id, createdAtMs: msOfSeq(seq) };
      return typeof result === "string" ? { kind: "duplicate", eventId: result } : (result as Refused);
    });
  }

  createOrganization(input: { name: string; tier: Tier; key: NewKey }): Promise<Written<Organization>> {
    return this.#write({ op: "createOrganization", id: Bun.randomUUIDv7(), ...input });
  }

  createKey(org: number, key: NewKey): Promise<Written<ApiKey>> {
    return this.#write({ op: "createKey", org, key });
  }

  rotateKey(
    org: number,
    oldKeyId: string,
    oldExpiresAtMs: number,
    key: Pick<NewKey, "keyId" | "secretHash">,
  ): Promise<Written<ApiKey | "not_found">> {
    return this.#write({ op: "rotateKey", org, oldKeyId, oldExpiresAtMs, ...key });
  }

  deleteKey(org: number, keyId: string): Promise<Written<"deleted" | "not_found" | "last_manage_key">> {
    return this.#write({ op: "deleteKey", org, keyId });
  }

  touchKeys(used: readonly { keyId: string; lastUsedAtMs: number }[]): Promise<Written<null>> {
    return this.#write({ op: "touchKeys", used });
  }

  updateOrganization(
    org: number,
    change: { tier?: Tier; rateLimitPerMinute?: number | null; disabled?: boolean },
  ): Promise<Written<Organization | "not_found">> {
    return this.#write({ op: "updateOrganization", org, ...change });
  }

  async eraseOrganization(org: number): Promise<Written<"erased" | "not_found">> {
    const started = await this.#write<"started" | "not_found">({ op: "startErase", org });
    if (started.kind !== "done" || started.value === "not_found") return started as Written<"not_found">;
    const steps = await this.#repeat<{ done: boolean }>(
      () => ({ op: "eraseStep", org, eventsMax: STEP_ROWS }),
      (step) => step.done,
    );
    return steps.kind === "done" ? { kind: "done", value: "erased" } : steps;
  }

  putDefaultEndpoint(org: number, input: { url: string; signingSecret: string }): Promise<Written<Endpoint>> {
    return this.#write({ op: "putDefaultEndpoint", org, id: Bun.randomUUIDv7(), ...input });
  }

  async deleteDefaultEndpoint(org: number): Promise<Written<"deleted" | "not_found">> {
    const deleted = await this.#write<number | null>({ op: "deleteDefaultEndpoint", org });
    if (deleted.kind !== "done") return deleted;
    if (deleted.value === null) return { kind: "done", value: "not_found" };
    await this.#cancelWaiting(deleted.value);
    return { kind: "done", value: "deleted" };
  }

  ack(org: number, ids: readonly string[]): Promise<Written<AckResult>> {
    return this.#write({ op: "ack", org, ids });
  }

  /** Removes what was accepted before `beforeMs` and is delivered or dead-lettered. Returns how many events. */
  async prune(beforeMs: number): Promise<Written<number>> {
    let removed = 0;
    let afterSeq = firstSeqOfMs(0);
    const steps = await this.#repeat<Pruned>(
      () => ({ op: "pruneStep", afterSeq, beforeSeq: firstSeqOfMs(beforeMs), eventsMax: STEP_ROWS }),
      (step) => {
        removed += step.removed;
        if (step.nextSeq !== null) afterSeq = step.nextSeq;
        return step.nextSeq === null;
      },
    );
    return steps.kind === "done" ? { kind: "done", value: removed } : steps;
  }

  /** Finishes what a restart interrupted. */
  async resume(): Promise<void> {
    for (const org of this.#admin.erasing()) await this.eraseOrganization(org);
    for (const endpoint of this.#admin.deletedEndpoints()) await this.#cancelWaiting(endpoint);
  }

  keyRecord(keyId: string): KeyRecord | null {
    return this.#admin.keyRecord(keyId);
  }

  keysOf(org: number): readonly ApiKey[] {
    return this.#admin.keysOf(org);
  }

  organization(org: number): Organization | null {
    return this.#admin.organization(org);
  }

  organizationById(id: string): Organization | null {
    return this.#admin.organizationById(id);
  }

  organizations(afterOrg: number, limit: number): readonly Organization[] {
    return this.#admin.organizations(afterOrg, limit);
  }

  defaultEndpoint(org: number): Endpoint | null {
    return this.#admin.defaultEndpoint(org);
  }

  event(org: number, id: string): EventWithDeliveries | null {
    return this.#inbox.event(org, id);
  }

  inbox(query: InboxQuery): InboxPage {
    return this.#inbox.inbox(query);
  }

  exportOrganization(org: number): Iterable<string> {
    return exportLines(org, this.#admin, this.#inbox);
  }

  stats(): StoreStats {
    const disk = statfsSync(path.dirname(this.#file));
    const nowMs = Date.now();
    const backlog = this.#due.backlog(nowMs);
    return {
      queuedEvents: this.#writer.queued,
      maxQueuedEvents: this.#queuedMax,
      deliveriesDue: backlog.due,
      oldestDueSeconds: backlog.oldestDueMs === null ? 0 : Math.max(0, nowMs - backlog.oldestDueMs) / 1000,
      databaseBytes: bytesOf(this.#file),
      walBytes: bytesOf(`${this.#file}-wal`),
      writeFailure: this.#writer.failure,
      freeDiskBytes: disk.bavail * disk.bsize,
    };
  }

  /** Called with the duration of each transaction of the writer. */
  set onCommit(onCommit: (commitMs: number) => void) {
    this.#writer.onCommit = onCommit;
  }

  /** Writes what waits, checkpoints and closes. */
  async close(): Promise<void> {
    this.#db.close(false);
    await this.#writer.close();
  }

  #cancelWaiting(endpoint: number): Promise<Written<null>> {
    return this.#repeat<{ done: boolean }>(
      () => ({ op: "cancelStep", endpoint, deliveriesMax: STEP_ROWS }),
      (step) => step.done,
    );
  }

  async #repeat<T>(op: () => RareOp, done: (value: T) => boolean): Promise<Written<null>> {
    for (;;) {
      const step = await this.#write<T>(op());
      if (step.kind !== "done") return step;
      if (done(step.value)) return { kind: "done", value: null };
    }
  }

  async #write<T>(op: RareOp): Promise<Written<T>> {
    const result = await this.#writer.write(op);
    return isRefused(result) ? result : { kind: "done", value: result as T };
  }
}

function bytesOf(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.size ?? 0;
}
