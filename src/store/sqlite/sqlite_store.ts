// The store over one SQLite file: reads on this thread's own connection, writes through the writer thread. Long
// writes are loops of short ones (long_writes.ts).

import type { Database } from "bun:sqlite";
import { statfsSync } from "node:fs";
import path from "node:path";
import { type IdSource, msOfSeq } from "../../base/id.ts";
import type { Tier } from "../../wire/tiers.ts";
import type {
  AckResult,
  Actor,
  ApiKey,
  AuditEntry,
  AuditQuery,
  Bite,
  Delivery,
  DeliveryBite,
  DeliveryQuery,
  DeliveryWithAttempts,
  Endpoint,
  EndpointSettings,
  EventEndpoint,
  EventWithDeliveries,
  Gone,
  InboxBite,
  InboxQuery,
  Ingested,
  Judged,
  KeyRecord,
  Lease,
  LeasedEvent,
  LeaseOutcome,
  NewEvent,
  NewKey,
  Organization,
  Refused,
  Replay,
  ReplayInput,
  Store,
  StoreStats,
  StreamPosition,
  UsedKey,
  Written,
} from "../store.ts";
import { Appearances } from "./appearances.ts";
import { BY_SERVER } from "./audit.ts";
import { begun, NO_ROWS } from "./bite.ts";
import { sizeOf } from "./database_file.ts";
import type { Changed } from "./endpoints.ts";
import { exportLines } from "./export.ts";
import { ORGANIZATION_GONE } from "./ingest.ts";
import type { LeasedSeqs } from "./leases.ts";
import { LongWrites, STEP_ROWS } from "./long_writes.ts";
import type { IngestOp, OpResult, RareOp } from "./op.ts";
import { freeBytes } from "./pragma.ts";
import { AdminReads } from "./read_admin.ts";
import { BacklogReads } from "./read_backlog.ts";
import { DeliveryReads } from "./read_deliveries.ts";
import { InboxReads } from "./read_inbox.ts";
import { StartReads } from "./read_start.ts";
import { type StreamPage, StreamReads } from "./read_stream.ts";
import { Readable } from "./readable.ts";
import type { CreatedReplay } from "./requeue.ts";
import type { Appeared } from "./scheduled.ts";
import { isRefused, type Writer } from "./writer.ts";

const APPEAR_AGAIN_MS = 1_000;

export class SqliteStore implements Store {
  readonly #file: string;
  readonly #db: Database;
  readonly #writer: Writer;
  readonly #queuedMax: number;
  readonly #ids: IdSource;
  readonly #admin: AdminReads;
  readonly #start: StartReads;
  readonly #inbox: InboxReads;
  readonly #stream: StreamReads;
  readonly #backlog: BacklogReads;
  readonly #deliveries: DeliveryReads;
  readonly #long = new LongWrites((op) => this.#write(op));
  readonly #readable = new Readable();
  readonly #appearances = new Appearances(() => this.#appear());

  constructor(file: string, db: Database, writer: Writer, queuedMax: number, ids: IdSource) {
    this.#file = file;
    this.#db = db;
    this.#writer = writer;
    this.#queuedMax = queuedMax;
    this.#ids = ids;
    this.#admin = new AdminReads(db);
    this.#start = new StartReads(db);
    this.#inbox = new InboxReads(db);
    this.#stream = new StreamReads(db, this.#inbox);
    this.#backlog = new BacklogReads(db);
    this.#deliveries = new DeliveryReads(db);
    writer.onReadable = (org) => this.#readable.tell(org);
  }

  ingest(event: NewEvent): Promise<Ingested> {
    const op = this.#ingestOp(event);
    return this.#writer.write(op).then((result) => this.#ingested(op, result));
  }

  async ingestBatch(events: readonly NewEvent[]): Promise<readonly Judged[] | Gone | Refused> {
    const ops = events.map((event) => this.#ingestOp(event));
    const results = await this.#writer.writeAll(ops);
    if ("kind" in results) return results;
    const refused = results.find(isRefused);
    if (refused) return refused;
    if (results.includes(ORGANIZATION_GONE)) return gone; // all of them are: they were one transaction
    return ops.map((op, i) => this.#judged(op, results[i]));
  }

  #ingestOp({ org, type, dedupId, payload, deliverAtMs: appearAtMs }: NewEvent): IngestOp {
    const { seq, id } = this.#ids.next(Date.now());
    return { op: "ingest", seq, id, org, type, dedupId, payload, appearAtMs };
  }

  #ingested(op: IngestOp, result: OpResult | Refused): Ingested {
    if (isRefused(result)) return result;
    return result === ORGANIZATION_GONE ? gone : this.#judged(op, result);
  }

  /** `result` is 0, or the id of the event that has the dedup id. */
  #judged({ org, seq, id, appearAtMs }: IngestOp, result: OpResult): Judged {
    if (typeof result === "string") return { kind: "duplicate", eventId: result };
    if (appearAtMs === null) this.#readable.tell(org);
    else this.#appearances.expect(appearAtMs);
    return { kind: "accepted", id, createdAtMs: msOfSeq(seq) };
  }

  async lease(
    org: number,
    { max, leaseMs, type }: { max: number; leaseMs: number; type: string | null },
  ): Promise<Written<Lease>> {
    for (;;) {
      const id = Bun.randomUUIDv7();
      const leased = await this.#write<LeasedSeqs>({ op: "lease", org, id, max, leaseMs, type });
      if (leased.kind !== "done") return leased;
      const { seqs, times, untilMs, nextFreeAtMs, isCut } = leased.value;
      const count = seqs.length;
      const events = begun(this.#leased(seqs, times));
      // Further events may be behind what one step looks at, or behind what was deleted since it was leased.
      if (events === null && (isCut || count > 0)) continue;
      const value = { untilMs, count, events: events ?? [NO_ROWS], nextFreeAtMs };
      return { kind: "done", value: { id: events === null ? null : id, ...value } };
    }
  }

  *#leased(seqs: readonly number[], times: readonly number[]): Generator<Bite<LeasedEvent, null>> {
    const counts = new Map(seqs.map((seq, i) => [seq, times[i] ?? 1]));
    for (const { rows, ...rest } of this.#inbox.bySeq(seqs))
      yield { ...rest, rows: rows.map(({ seq, event }) => ({ ...event, leaseCount: counts.get(seq) ?? 1 })) };
  }

  ackLease(
    org: number,
    leaseId: string,
    ids: readonly string[] | null,
  ): Promise<Written<LeaseOutcome | "not_found">> {
    return this.#write({ op: "ackLease", org, leaseId, ids });
  }

  releaseLease(
    org: number,
    leaseId: string,
    ids: readonly string[] | null,
    delayMs: number,
  ): Promise<Written<LeaseOutcome | "not_found">> {
    return this.#write({ op: "releaseLease", org, leaseId, ids, delayMs, pauseId: Bun.randomUUIDv7() });
  }

  extendLease(org: number, leaseId: string, leaseMs: number): Promise<Written<LeaseOutcome | "not_found">> {
    return this.#write({ op: "extendLease", org, leaseId, leaseMs });
  }

  onReadable(org: number, listener: () => void): () => void {
    return this.#readable.listen(org, listener);
  }

  createOrganization(
    input: { name: string; tier: Tier; key: NewKey },
    by: Actor,
  ): Promise<Written<Organization>> {
    return this.#write({ op: "createOrganization", id: Bun.randomUUIDv7(), ...input, by });
  }

  createKey(org: number, key: NewKey, by: Actor): Promise<Written<ApiKey | "too_many">> {
    return this.#write({ op: "createKey", org, key, by });
  }

  rotateKey(
    org: number,
    oldKeyId: string,
    oldExpiresAtMs: number,
    key: Pick<NewKey, "keyId" | "secretHash">,
    by: Actor,
  ): Promise<Written<ApiKey | "not_found" | "too_many">> {
    return this.#write({ op: "rotateKey", org, oldKeyId, oldExpiresAtMs, ...key, by });
  }

  deleteKey(
    org: number,
    keyId: string,
    by: Actor,
  ): Promise<Written<"deleted" | "not_found" | "last_manage_key">> {
    return this.#write({ op: "deleteKey", org, keyId, by });
  }

  touchKeys(used: readonly UsedKey[]): Promise<Written<null>> {
    return this.#long.touchKeys(used);
  }

  updateOrganization(
    org: number,
    change: { tier?: Tier; rateLimitPerMinute?: number | null; disabled?: boolean },
    by: Actor,
  ): Promise<Written<Organization | "not_found">> {
    return this.#write({ op: "updateOrganization", org, ...change, by });
  }

  async eraseOrganization(org: number, by: Actor): Promise<Written<"erased" | "not_found">> {
    const started = await this.#write<"started" | "not_found">({ op: "startErase", org, by });
    if (started.kind !== "done" || started.value === "not_found") return started as Written<"not_found">;
    return this.#long.erase(org, by);
  }

  noteExport(org: number, by: Actor): Promise<Written<null>> {
    return this.#write({ op: "noteExport", org, by });
  }

  tryWrite(): Promise<Written<null>> {
    return this.#write({ op: "tryWrite" });
  }

  async putDefaultEndpoint(
    org: number,
    input: { url: string; signingSecret: string },
    by: Actor,
  ): Promise<Written<{ endpoint: Endpoint; signingSecret: string }>> {
    const id = Bun.randomUUIDv7();
    const put = await this.#write<Changed & { signingSecret: string }>({
      op: "putDefaultEndpoint",
      ...{ org, id, ...input, by },
    });
    if (put.kind === "done") await this.#ageWhere(put.value);
    return put;
  }

  createEndpoint(
    org: number,
    input: EndpointSettings & { signingSecret: string },
    by: Actor,
  ): Promise<Written<Endpoint | "too_many">> {
    return this.#write({ op: "createEndpoint", org, id: Bun.randomUUIDv7(), ...input, by });
  }

  updateEndpoint(
    org: number,
    id: string,
    change: Partial<EndpointSettings>,
    by: Actor,
  ): Promise<Written<Endpoint | "not_found">> {
    return this.#changeEndpoint({ op: "updateEndpoint", org, id, change, by });
  }

  enableEndpoint(org: number, id: string, by: Actor): Promise<Written<Endpoint | "not_found">> {
    return this.#changeEndpoint({ op: "enableEndpoint", org, id, by });
  }

  disableEndpoint(org: number, id: string, by: Actor): Promise<Written<Endpoint | "not_found">> {
    return this.#changeEndpoint({ op: "disableEndpoint", org, id, by });
  }

  rotateSecret(
    org: number,
    id: string,
    input: { signingSecret: string; oldExpiresAtMs: number },
    by: Actor,
  ): Promise<Written<Endpoint | "not_found">> {
    return this.#changeEndpoint({ op: "rotateSecret", org, id, ...input, by });
  }

  async deleteEndpoint(org: number, id: string, by: Actor): Promise<Written<"deleted" | "not_found">> {
    const deleted = await this.#write<number | "not_found">({ op: "deleteEndpoint", org, id, by });
    if (deleted.kind !== "done") return deleted;
    if (deleted.value === "not_found") return { kind: "done", value: "not_found" };
    await this.#long.cancelWaiting(deleted.value);
    return { kind: "done", value: "deleted" };
  }

  async retryDelivery(
    org: number,
    id: string,
  ): Promise<Written<Delivery | "not_found" | "endpoint_deleted">> {
    const key = this.#deliveries.keyOf(org, id);
    if (key === null) return { kind: "done", value: "not_found" };
    const op: RareOp = { op: "retryDelivery", org, ...key };
    const retried = await this.#write<"queued" | "not_found" | "endpoint_deleted">(op);
    if (retried.kind !== "done") return retried;
    if (retried.value !== "queued") return { kind: "done", value: retried.value };
    return { kind: "done", value: this.delivery(org, id) ?? "not_found" };
  }

  async createReplay(
    org: number,
    endpointId: string,
    input: ReplayInput,
  ): Promise<Written<Replay | "not_found">> {
    const id = Bun.randomUUIDv7();
    const op: RareOp = { op: "createReplay", org, id, endpointId, ...input };
    const created = await this.#write<CreatedReplay | "not_found">(op);
    if (created.kind !== "done") return created;
    if (created.value === "not_found") return { kind: "done", value: "not_found" };
    await this.#long.replay(created.value.replay);
    return { kind: "done", value: this.replay(org, id) ?? created.value.told };
  }

  async deleteEvent(org: number, id: string): Promise<Written<"deleted" | "not_found">> {
    const deleted = await this.deleteEvents(org, [id]);
    if (deleted.kind !== "done") return deleted;
    return { kind: "done", value: deleted.value.deleted === 1 ? "deleted" : "not_found" };
  }

  deleteEvents(
    org: number,
    ids: readonly string[],
  ): Promise<Written<{ deleted: number; notFound: readonly string[] }>> {
    return this.#write({ op: "deleteEvents", org, ids });
  }

  ack(org: number, ids: readonly string[]): Promise<Written<AckResult>> {
    return this.#write({ op: "ack", org, ids });
  }

  /** Removes what was accepted before `beforeMs` and is delivered or dead-lettered. Returns how many events. */
  prune(beforeMs: number): Promise<Written<number>> {
    return this.#long.prune(beforeMs);
  }

  /** Finishes what a restart interrupted. */
  async resume(): Promise<void> {
    void this.#appearances.look();
    for (const org of this.#start.erasing()) await this.#long.erase(org, BY_SERVER);
    for (const endpoint of this.#start.deletedEndpoints()) await this.#long.cancelWaiting(endpoint);
    for (const endpoint of this.#start.agingEndpoints()) await this.#long.age(endpoint);
    for (const replay of this.#start.runningReplays()) await this.#long.replay(replay);
  }

  keyRecord(keyId: string): KeyRecord | null {
    return this.#start.keyRecord(keyId);
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

  endpoint(org: number, id: string): Endpoint | null {
    return this.#admin.endpoint(org, id);
  }

  endpoints(org: number, afterEndpoint: number, limit: number): readonly Endpoint[] {
    return this.#admin.endpoints(org, afterEndpoint, limit);
  }

  deliveries(query: DeliveryQuery): Iterable<DeliveryBite> {
    return this.#deliveries.deliveries(query);
  }

  delivery(org: number, id: string): DeliveryWithAttempts | null {
    return this.#deliveries.delivery(org, id);
  }

  eventEndpoints(org: number, eventId: string): readonly EventEndpoint[] | null {
    return this.#deliveries.eventEndpoints(org, eventId);
  }

  replay(org: number, id: string): Replay | null {
    return this.#admin.replay(org, id);
  }

  audit(query: AuditQuery): readonly AuditEntry[] {
    return this.#admin.audit(query);
  }

  event(org: number, id: string): EventWithDeliveries | null {
    return this.#inbox.event(org, id);
  }

  inbox(query: InboxQuery): Iterable<InboxBite> {
    return this.#inbox.inbox(query);
  }

  streamEnd(_org: number): StreamPosition {
    return this.#stream.end();
  }

  streamAfter(org: number, after: StreamPosition, type: string | null, limit: number): StreamPage {
    return this.#stream.after(org, after, type, limit);
  }

  exportOrganization(org: number): Iterable<string> {
    return exportLines(org, this.#admin, this.#inbox);
  }

  isOverloaded(): boolean {
    return !this.#writer.hasRoom(1);
  }

  stats(): StoreStats {
    const disk = statfsSync(path.dirname(this.#file));
    const nowMs = Date.now();
    const backlog = this.#backlog.read(nowMs);
    return {
      queuedEvents: this.#writer.queued,
      maxQueuedEvents: this.#queuedMax,
      deliveriesDue: backlog.due,
      oldestDueSeconds: backlog.oldestDueMs === null ? 0 : Math.max(0, nowMs - backlog.oldestDueMs) / 1000,
      databaseBytes: sizeOf(this.#file) ?? 0,
      databaseFreeBytes: freeBytes(this.#db),
      walBytes: sizeOf(`${this.#file}-wal`) ?? 0,
      writeFailure: this.#writer.failure,
      freeDiskBytes: disk.bavail * disk.bsize,
    };
  }

  /** Called with the duration of each transaction of the writer. */
  set onCommit(onCommit: (commitMs: number) => void) {
    this.#writer.onCommit = onCommit;
  }

  /** Called with why writes fail when they begin to, and with null when they work again. */
  set onWriteFailure(onFailure: (reason: string | null) => void) {
    this.#writer.onFailure = onFailure;
  }

  /** Writes what waits, checkpoints and closes. */
  async close(): Promise<void> {
    this.#appearances.stop();
    await this.#long.stop();
    this.#db.close(false);
    await this.#writer.close();
  }

  /** When the next hidden event is to appear; a refusal is tried again in a second. */
  async #appear(): Promise<number | null> {
    for (;;) {
      const step = await this.#write<Appeared>({ op: "appearStep", eventsMax: STEP_ROWS });
      if (step.kind !== "done") return Date.now() + APPEAR_AGAIN_MS;
      const { nextAtMs } = step.value;
      if (nextAtMs === null || nextAtMs > Date.now()) return nextAtMs;
    }
  }

  async #changeEndpoint(op: RareOp): Promise<Written<Endpoint | "not_found">> {
    const changed = await this.#write<Changed | "not_found">(op);
    if (changed.kind !== "done") return changed;
    if (changed.value === "not_found") return { kind: "done", value: "not_found" };
    await this.#ageWhere(changed.value);
    return { kind: "done", value: changed.value.endpoint };
  }

  async #ageWhere({ endpoint, aging }: Changed): Promise<void> {
    if (aging) await this.#long.age(endpoint.endpoint);
  }

  async #write<T>(op: RareOp): Promise<Written<T>> {
    const result = await this.#writer.write(op);
    return isRefused(result) ? result : { kind: "done", value: result as T };
  }
}

const gone: Gone = { kind: "gone" };
