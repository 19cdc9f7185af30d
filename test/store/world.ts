// A store and its model, side by side: each step is taken by both, and what the store answers is held against the
// model. Long writes go on step by step, with anything in between, as jobs of the store do.

import { expect } from "bun:test";
import { copyFileSync, existsSync } from "node:fs";
import path from "node:path";
import { firstSeqOfMs, msOfSeq } from "../../src/base/id.ts";
import { createSecretBox } from "../../src/base/secret_box.ts";
import { ageKey } from "../../src/store/sqlite/due.ts";
import type { Changed } from "../../src/store/sqlite/endpoints.ts";
import type { AgeCursor, Op, SettleOp } from "../../src/store/sqlite/op.ts";
import { openReader } from "../../src/store/sqlite/pragma.ts";
import { DueReads } from "../../src/store/sqlite/read_due.ts";
import { StartReads } from "../../src/store/sqlite/read_start.ts";
import type { Pruned } from "../../src/store/sqlite/remove.ts";
import type { CreatedReplay } from "../../src/store/sqlite/requeue.ts";
import type { AckResult, Endpoint, ReplayInput } from "../../src/store/store.ts";
import { Follower } from "./follower.ts";
import { Model, type ModelDelivery, type ModelEndpoint, type ModelReplay } from "./model.ts";
import { type Step, type StepOf, TYPES } from "./steps.ts";
import { commit, createEndpoint, createOrganization, type Open, open, settleOp } from "./writing.ts";

const UNKNOWN_ID = "01a1fb8e-1e2a-790f-b9b2-883286adc699";

/** Jobs of one name follow each other. `step` takes one step of at most `max` rows; true when it was the last. */
type Job = { readonly name: string; readonly org: number; readonly step: (max: number) => boolean };

export class World {
  readonly model = new Model();
  readonly #sealEvents: number;
  #file: string;
  #open: Open;
  #db;
  #follower: Follower;
  #jobs: Job[] = [];
  /** Every delivery that there ever was: late results may be of any of them. */
  #pairs: { event: number; endpoint: number }[] = [];
  #nowMs = Date.now() - 60 * 60 * 1000;
  #counter = 0;

  constructor(dir: string, sealEvents: number) {
    this.#file = path.join(dir, "0.db");
    this.#sealEvents = sealEvents;
    this.#open = open(this.#file, sealEvents);
    this.#db = openReader(this.#file);
    this.#follower = new Follower(this.dueReads());
    for (let i = 0; i < 2; i++) this.#addOrganization();
    this.createEndpoint({ org: 0, patterns: ["*"], ordered: false });
  }

  get db() {
    return this.#db;
  }

  get follower(): Follower {
    return this.#follower;
  }

  get erasing(): boolean {
    return this.#jobs.some(({ name }) => name.startsWith("erase"));
  }

  dueReads(): DueReads {
    return new DueReads(this.#db, createSecretBox([]));
  }

  take(step: Step): void {
    const take = this[step.kind] as (what: Step["with"]) => void;
    take.call(this, step.with);
  }

  close(): void {
    this.#db.close();
    this.#open.engine.close();
  }

  ingest({ org: at, dedup, type: typeAt, passedMs }: StepOf<"ingest">): void {
    const org = this.#org(at);
    this.#nowMs += passedMs;
    const { seq, id } = this.#open.ids.next(this.#nowMs);
    const dedupId = dedup === null ? null : `dedup-${dedup}`;
    const event = {
      id,
      seq,
      org,
      dedupId,
      type: TYPES[typeAt] ?? "ping",
      payload: `{"n":${this.#counter++}}`,
    };
    const first = this.model.firstOf(org, dedupId);
    expect(this.#commit<unknown>({ op: "ingest", ...event, appearAtMs: null })).toBe(first?.id ?? 0);
    if (!first) this.model.addEvent(event);
    this.#notePairs();
  }

  settle(step: StepOf<"settle">): void {
    const pair = this.#any(this.#pairs, step.pick);
    if (!pair) return;
    const endpoint = this.model.endpoints.find((one) => one.endpoint === pair.endpoint);
    // As it was sent: in the round that there is, or before somebody put it back.
    const before = this.model.deliveryOf(pair.event, pair.endpoint)?.before ?? 0;
    const round = step.stale ? before - 1 : before;
    const op = settleOp({
      ...pair,
      round,
      outcome: step.outcome,
      startedAtMs: this.#counter++,
      dueAtMs: step.outcome === "retry" ? this.#nowMs + step.dueMs : null,
      health: endpoint ? this.#healthAfter(endpoint, step) : null,
      hopeless: step.hopeless && step.outcome !== "delivered",
    });
    this.#commit(op);
    this.model.settle(op);
    // What was put back, it has heard of by then.
    if (!step.stale) this.#follower.settled(op, endpoint?.ordered ?? false);
  }

  ack({ pick }: StepOf<"ack">): void {
    const event = this.#any(this.model.events, pick);
    if (!event) return;
    const before = event.acked;
    const op: Op = { op: "ack", org: event.org, ids: [event.id, UNKNOWN_ID] };
    const { acknowledged, notFound } = this.#commit<AckResult>(op);
    expect(acknowledged.map(({ id }) => id)).toEqual([event.id]);
    expect(notFound).toEqual([UNKNOWN_ID]);
    this.model.ack(event);
    if (!before) expect(this.#commit<AckResult>(op).acknowledged).toEqual(acknowledged);
  }

  deleteEvent({ pick }: StepOf<"deleteEvent">): void {
    const event = this.#any(this.model.events, pick);
    if (!event) return;
    const op: Op = { op: "deleteEvents", org: event.org, ids: [event.id] };
    const notFound = { deleted: 0, notFound: [event.id] };
    expect(this.#commit<unknown>({ ...op, org: event.org + 1000 })).toEqual(notFound);
    expect(this.#commit<unknown>(op)).toEqual({ deleted: 1, notFound: [] });
    expect(this.#commit<unknown>(op)).toEqual(notFound);
    this.model.deleteEvent(event);
  }

  retry({ pick }: StepOf<"retry">): void {
    const pair = this.#any(this.#pairs, pick);
    const endpoint = this.model.endpoints.find((one) => one.endpoint === pair?.endpoint);
    if (!pair || !endpoint) return;
    const delivery = this.model.deliveryOf(pair.event, pair.endpoint);
    const expected = endpoint.deleted ? "endpoint_deleted" : "queued";
    const result = this.#commit<unknown>({ op: "retryDelivery", org: endpoint.org, ...pair });
    expect(result).toBe(delivery ? expected : "not_found");
    if (delivery && !endpoint.deleted) this.model.retry(delivery);
  }

  createEndpoint({ org: at, patterns, ordered }: StepOf<"createEndpoint">): void {
    const org = this.#org(at);
    const row = createEndpoint(this.#open.engine, org, { eventTypes: patterns, ordered });
    this.model.addEndpoint(row, ordered).patterns = patterns;
    this.#follower.hear({ ...NOTHING, endpoints: [row.endpoint], sealed: this.#open.engine.sealedDue });
  }

  updateEndpoint({ pick, patterns, ordered, newUrl }: StepOf<"updateEndpoint">): void {
    const endpoint = this.#liveEndpoint(pick);
    if (!endpoint) return;
    const url = `https://a.example/${this.#counter++}`;
    const change = {
      ...(patterns === null ? {} : { eventTypes: patterns }),
      ...(ordered === null ? {} : { ordered }),
      ...(newUrl ? { url } : {}),
    };
    const op: Op = { op: "updateEndpoint", org: endpoint.org, id: endpoint.id, change };
    const changed = this.#commit<Changed>(op);
    if (patterns !== null) endpoint.patterns = patterns;
    if (ordered === true && !endpoint.ordered) endpoint.aging = true;
    if (ordered !== null) endpoint.ordered = ordered;
    if (newUrl) endpoint.url = url;
    if (newUrl) this.model.heal(endpoint);
    this.#changed(endpoint, changed);
  }

  deleteEndpoint({ pick }: StepOf<"deleteEndpoint">): void {
    const endpoint = this.#liveEndpoint(pick);
    if (!endpoint) return;
    const op: Op = { op: "deleteEndpoint", org: endpoint.org, id: endpoint.id };
    expect(this.#commit<unknown>(op)).toBe(endpoint.endpoint);
    expect(this.#commit<unknown>(op)).toBe("not_found");
    endpoint.deleted = true;
    this.#jobs.push(this.#cancelJob(endpoint));
  }

  disable({ pick }: StepOf<"disable">): void {
    const endpoint = this.#liveEndpoint(pick);
    if (!endpoint) return;
    this.#commit({ op: "disableEndpoint", org: endpoint.org, id: endpoint.id });
    endpoint.disabled ??= "manual";
  }

  enable({ pick }: StepOf<"enable">): void {
    const endpoint = this.#liveEndpoint(pick);
    if (!endpoint) return;
    const changed = this.#commit<Changed>({ op: "enableEndpoint", org: endpoint.org, id: endpoint.id });
    const { disabled, failures, heldFor } = endpoint;
    if (disabled !== null || failures > 0 || heldFor !== null) endpoint.aging = true;
    endpoint.disabled = null;
    this.model.heal(endpoint);
    this.#changed(endpoint, changed);
  }

  replay({ pick, statuses, onlyDead, missing, types, from, until }: StepOf<"replay">): void {
    const endpoint = this.#liveEndpoint(pick);
    if (!endpoint) return;
    const timeOf = (at: number | null) => {
      const event = at === null ? undefined : this.#any(this.model.events, at);
      return event && msOfSeq(event.seq);
    };
    const input: ReplayInput = {
      sinceMs: timeOf(from) ?? 0,
      untilMs: timeOf(until) ?? null,
      ...{ statuses: onlyDead ? ["dead_letter"] : statuses, eventTypes: types, missingOnly: missing },
    };
    const id = Bun.randomUUIDv7();
    const newest = this.#newestSeq();
    const op: Op = { op: "createReplay", org: endpoint.org, id, endpointId: endpoint.id, ...input };
    const { replay, told } = this.#commit<CreatedReplay>(op);
    expect(told).toMatchObject({ id, queued: 0, completedAtMs: null, endpointId: endpoint.id });
    const replayed: ModelReplay = {
      ...{ id, replay, endpoint, missing, statuses: input.statuses, queued: 0, done: false },
      types: types ?? (missing ? endpoint.patterns : ["*"]),
      doneTo: Math.max(0, firstSeqOfMs(input.sinceMs)) - 1,
      last: input.untilMs === null ? newest : Math.min(newest, firstSeqOfMs(input.untilMs) - 1),
    };
    this.model.replays.push(replayed);
    this.#jobs.push(this.#replayJob(replayed));
  }

  /** One step of one job, of those that are first of their name. */
  job({ pick, max }: StepOf<"job">): void {
    const first = this.#jobs.filter((job, i) => this.#jobs.findIndex(({ name }) => name === job.name) === i);
    const job = this.#any(first, pick);
    if (job?.step(max)) this.#jobs = this.#jobs.filter((one) => one !== job);
    this.#notePairs();
  }

  /** All jobs to their ends. */
  jobs({ max }: StepOf<"jobs">): void {
    while (this.#jobs.length > 0) this.job({ pick: 0, max });
  }

  maintain(): void {
    const { engine } = this.#open;
    if (engine.maintain()) this.#follower.seal(engine.sealedDue);
  }

  /** After a crash, the file and its log are as they were at that moment. */
  restart({ crash }: StepOf<"restart">): void {
    const before = this.#file;
    const { engine } = this.#open;
    this.#db.close();
    if (crash) {
      this.#file = path.join(path.dirname(before), `${this.#counter++}.db`);
      copyFileSync(before, this.#file);
      if (existsSync(`${before}-wal`)) copyFileSync(`${before}-wal`, `${this.#file}-wal`);
    }
    engine.close();
    this.#open = open(this.#file, this.#sealEvents);
    this.#db = openReader(this.#file);
    this.#follower = new Follower(this.dueReads());
    this.#resume();
  }

  prune({ pick, max }: StepOf<"prune">): void {
    const before = this.#any(this.model.events, pick)?.seq;
    const sealed = this.#number("SELECT value AS n FROM marks WHERE name = 'inbox_sealed'");
    if (before === undefined) return;
    let removed = 0;
    for (let afterSeq: number | null = 0; afterSeq !== null; ) {
      const op: Op = { op: "pruneStep", afterSeq, beforeSeq: before, eventsMax: max };
      const step: Pruned = this.#commit<Pruned>(op);
      removed += step.removed;
      afterSeq = step.nextSeq;
    }
    // An organization that is being erased is none of the model's.
    const expected = this.model.prune(Math.min(before, sealed + 1));
    if (!this.erasing) expect(removed).toBe(expected);
  }

  erase({ pick }: StepOf<"erase">): void {
    if (this.erasing) return;
    const org = this.#org(pick);
    expect(this.#commit<unknown>({ op: "startErase", org })).toBe("started");
    // Their keys may be given again, to endpoints of others.
    const gone = this.model.endpointsOf(org).map(({ endpoint }) => endpoint);
    this.#pairs = this.#pairs.filter(({ endpoint }) => !gone.includes(endpoint));
    this.model.erase(org);
    this.#jobs = [...this.#jobs.filter((job) => job.org !== org), this.#eraseJob(org)];
    this.#addOrganization();
  }

  #addOrganization(): void {
    this.model.orgs.push(createOrganization(this.#open.engine));
  }

  #commit<T>(op: Op): T {
    const { value, notice } = commit<T>(this.#open.engine, op);
    if (notice) this.#follower.hear(notice);
    return value;
  }

  #org(pick: number): number {
    return this.#any(this.model.orgs, pick) ?? 0;
  }

  #any<T>(all: readonly T[], pick: number): T | undefined {
    return all[pick % Math.max(1, all.length)];
  }

  #liveEndpoint(pick: number): ModelEndpoint | undefined {
    return this.#any(
      this.model.endpoints.filter(({ deleted }) => !deleted),
      pick,
    );
  }

  #number(sql: string): number {
    return this.#db.query<{ n: number }, []>(sql).get()?.n ?? 0;
  }

  #newestSeq(): number {
    return this.#number("SELECT coalesce(max(seq), 0) AS n FROM events");
  }

  #notePairs(): void {
    const known = new Set(this.#pairs.map(({ event, endpoint }) => `${event} ${endpoint}`));
    for (const { seq, deliveries } of this.model.events) {
      for (const endpoint of deliveries.keys()) {
        if (!known.has(`${seq} ${endpoint}`)) this.#pairs.push({ event: seq, endpoint });
      }
    }
  }

  /** As the lane of this endpoint would tell it. */
  #healthAfter(endpoint: ModelEndpoint, step: StepOf<"settle">): SettleOp["health"] {
    if (step.stale && step.outcome !== "delivered") return [step.failed + 1, 4321, null];
    const { failures, failingSince, pausedUntil } = endpoint;
    if (step.outcome === "delivered") return failures === 0 && pausedUntil === null ? null : [0, null, null];
    const pause = step.pauseMs === null ? null : this.#nowMs + step.pauseMs;
    if (failures === 0) return [1, this.#counter, pause];
    return [failures + step.failed, failingSince, pause];
  }

  /** What the store does after a change of an endpoint that asks for it. */
  #changed(endpoint: ModelEndpoint, { endpoint: told, aging }: { endpoint: Endpoint; aging: boolean }): void {
    expect(told.id).toBe(endpoint.id);
    expect(aging).toBe(endpoint.aging);
    if (aging) this.#jobs.push(this.#ageJob(endpoint));
  }

  #replayJob(replay: ModelReplay): Job {
    const { org } = replay.endpoint;
    return {
      ...{ name: `replay ${replay.replay}`, org },
      step: (max) => {
        const op: Op = { op: "replayStep", replay: replay.replay, looksMax: max };
        const { done } = this.#commit<{ done: boolean }>(op);
        this.model.replayStep(replay, max);
        expect(done).toBe(replay.done);
        return done;
      },
    };
  }

  #eraseJob(org: number): Job {
    const step = (max: number) => {
      const { done } = this.#commit<{ done: boolean }>({ op: "eraseStep", org, eventsMax: max });
      if (done) {
        // Not before the write-ahead log is emptied, which is done between groups.
        const end = () => this.#commit<{ done: boolean }>({ op: "endErase", org }).done;
        expect(end()).toBe(false);
        this.maintain();
        expect(end()).toBe(true);
        for (const table of [
          "organizations",
          "api_keys",
          "endpoints",
          "events",
          "tombstones",
          "inbox",
          "replays",
        ])
          expect(this.#number(`SELECT count(*) AS n FROM ${table} WHERE org = ${org}`)).toBe(0);
        for (const table of ["deliveries", "attempts", "acks"])
          expect(
            this.#number(`SELECT count(*) AS n FROM ${table} WHERE event NOT IN (SELECT seq FROM events)`),
          ).toBe(0);
      }
      return done;
    };
    return { name: `erase ${org}`, org, step };
  }

  #cancelJob(endpoint: ModelEndpoint): Job {
    const step = (max: number) => {
      const waiting = this.model.waitingFor(endpoint);
      const op: Op = { op: "cancelStep", endpoint: endpoint.endpoint, deliveriesMax: max };
      const { done } = this.#commit<{ done: boolean }>(op);
      const cancelled = waiting.filter((delivery) => this.#onDisk(delivery)?.state === 3);
      expect(cancelled).toHaveLength(Math.min(max, waiting.length));
      expect(done).toBe(waiting.length < max);
      for (const delivery of cancelled) Object.assign(delivery, { state: "cancelled", due: null });
      return done;
    };
    return { name: `cancel ${endpoint.endpoint}`, org: endpoint.org, step };
  }

  #ageJob(endpoint: ModelEndpoint): Job {
    let after: AgeCursor | null = null;
    const number = ++this.#counter;
    for (const delivery of this.model.waitingFor(endpoint)) delivery.ageJob = number;
    const step = (max: number) => {
      const op: Op = { op: "ageStep", endpoint: endpoint.endpoint, after, looksMax: max };
      after = this.#commit<{ next: AgeCursor | null }>(op).next;
      for (const delivery of this.model.waitingFor(endpoint)) this.#aged(delivery, number, after === null);
      if (after === null) endpoint.aging = false;
      return after === null;
    };
    return { name: `age ${endpoint.endpoint}`, org: endpoint.org, step };
  }

  /**
   * A step puts some in the order of age; when it was the last, all that waited when the job began are. What failed
   * meanwhile may be met by a step, or not.
   */
  #aged(delivery: ModelDelivery, job: number, last: boolean): void {
    const aged = ageKey(delivery.event.seq);
    const due = this.#onDisk(delivery)?.due_at ?? 0;
    const isMet = last && delivery.ageJob > 0 && delivery.ageJob <= job;
    expect([aged, isMet ? aged : delivery.due]).toContain(due);
    Object.assign(delivery, { due, ageJob: due === aged ? 0 : delivery.ageJob });
  }

  #onDisk({ event, endpoint }: ModelDelivery) {
    return this.#db
      .query<{ state: number; due_at: number | null }, [number, number]>(
        "SELECT state, due_at FROM deliveries WHERE event = ? AND endpoint = ?",
      )
      .get(event.seq, endpoint.endpoint);
  }

  /** The jobs of before are found on disk, and begin anew. */
  #resume(): void {
    const start = new StartReads(this.#db);
    const erasing = this.#jobs.filter(({ name }) => name.startsWith("erase"));
    expect([...start.erasing()]).toEqual(erasing.map(({ org }) => org));
    const { endpoints, replays } = this.model;
    const live = (keys: readonly number[]) => endpoints.filter(({ endpoint }) => keys.includes(endpoint));
    const [aging, deleted] = [live(start.agingEndpoints()), live(start.deletedEndpoints())];
    expect(aging).toEqual(endpoints.filter((one) => one.aging));
    expect(deleted).toEqual(endpoints.filter((one) => one.deleted));
    const running = start.runningReplays();
    const unfinished = replays.filter(({ replay }) => running.includes(replay));
    expect(unfinished).toEqual(replays.filter(({ done }) => !done));
    this.#jobs = [
      ...erasing,
      ...deleted.map((one) => this.#cancelJob(one)),
      ...aging.map((one) => this.#ageJob(one)),
      ...unfinished.map((one) => this.#replayJob(one)),
    ];
  }
}

const NOTHING = { due: [], waiting: [], later: [], endpoints: [], aged: [], healed: [], unheld: [] };
