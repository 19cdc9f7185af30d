// The loop that sends what is due, round-robin over the endpoints' lanes. It never polls: a commit notice, an
// answer, or one timer for the earliest due time wakes it. What it did goes to the writer as settle ops, batched
// while the last batch is being committed; until its settle is on disk a delivery is not handed out again.

import { Heap } from "../base/heap.ts";
import type { Log } from "../base/log.ts";
import { ageKey } from "../store/sqlite/due.ts";
import { type CommitNotice, isFailure, type OpResult, type SettleOp } from "../store/sqlite/op.ts";
import type { DueReads } from "../store/sqlite/read_due.ts";
import { steadyNowMs } from "./clock.ts";
import { Lane } from "./lane.ts";
import type { Post, TestOutcome } from "./post.ts";
import { Settler } from "./settler.ts";
import { SendSlots } from "./slots.ts";

/** setTimeout overflows at 24.8 days; a longer wait is waited in parts. */
const TIMER_MS_MAX = 24 * 60 * 60 * 1000;
/** Without a file descriptor nothing is sent; it is tried again after this. */
const STARVED_MS = 1_000;

type Alarm = { readonly dueAtMs: number; readonly lane: Lane };

export class Dispatcher {
  readonly #reads: DueReads;
  readonly #post: Post;
  readonly #log: Log;
  readonly #settler: Settler;
  readonly #slots = new SendSlots(() => this.#pump());
  readonly #lanes = new Map<number, Lane>();
  readonly #alarms = new Heap<Alarm>((a, b) => a.dueAtMs < b.dueAtMs);
  readonly #ready = new Set<Lane>();
  readonly #readySlow = new Set<Lane>();
  #timer: ReturnType<typeof setTimeout> | null = null;
  #timerAtMs = Number.POSITIVE_INFINITY;
  #sealed = 0;
  #starved = false;
  #stopped = false;
  #drained: (() => void) | null = null;

  constructor(reads: DueReads, post: Post, send: (ops: readonly SettleOp[]) => void, log: Log) {
    this.#reads = reads;
    this.#post = post;
    this.#log = log;
    this.#settler = new Settler(send, (op, sealed) => this.#settled(op, sealed));
  }

  /** Finds what a restart left waiting. */
  start(): void {
    this.#sealed = this.#reads.sealed();
    for (const { event, endpoint, due_at } of this.#reads.unsealed(this.#sealed)) {
      this.#lane(endpoint).hold(event, due_at);
    }
    for (const endpoint of this.#reads.openEndpoints()) {
      const lane = this.#lane(endpoint);
      lane.lookOnDisk();
      this.#isReady(lane);
    }
    this.#pump();
  }

  /** The writer committed something that concerns deliveries. */
  notice({ due, waiting, later, endpoints, aged, healed, unheld, sealed }: CommitNotice): void {
    for (const endpoint of healed) this.#lane(endpoint).heal();
    for (const endpoint of unheld) this.#lane(endpoint).readHold();
    for (const endpoint of endpoints) this.#lane(endpoint).refresh(this.#sealed, steadyNowMs());
    for (const endpoint of aged) this.#lane(endpoint).reopen(this.#sealed, steadyNowMs());
    for (let i = 0; i < due.length; i += 2) {
      const event = due[i] ?? 0;
      const lane = this.#lane(due[i + 1] ?? 0);
      lane.hold(event, ageKey(event));
      this.#isReady(lane);
    }
    for (let i = 0; i < later.length; i += 3) {
      const lane = this.#lane(later[i + 1] ?? 0);
      lane.hold(later[i] ?? 0, later[i + 2] ?? 0);
      this.#isReady(lane);
    }
    for (let i = 0; i < waiting.length; i += 2) {
      const event = waiting[i] ?? 0;
      const lane = this.#lane(waiting[i + 1] ?? 0);
      lane.waitsOnDisk(event, ageKey(event));
      this.#isReady(lane);
    }
    for (const endpoint of [...healed, ...unheld, ...endpoints, ...aged]) this.#isReady(this.#lane(endpoint));
    this.#seal(sealed);
    this.#pump();
  }

  /** The writer's answer to the last batch of settle ops. */
  replied(results: readonly OpResult[], sealed: number): void {
    const defect = results.find((result) => isFailure(result) && result.failed === "defect");
    if (defect) this.#log.error({ defect }, "a delivery's result could not be recorded");
    this.#settler.replied(results, sealed);
    this.#pump();
    this.#checkDrained();
  }

  /**
   * For how long the oldest delivery that could be sent has waited; 0 when none does. A lane that is paused or without
   * room waits for its endpoint, which says nothing about this process.
   */
  lagSeconds(): number {
    const nowMs = steadyNowMs();
    let lagMs = 0;
    for (const lane of this.#lanes.values()) lagMs = Math.max(lagMs, lane.lagMs(nowMs));
    return lagMs / 1000;
  }

  /** Sends a test to an endpoint, now; null when there is no such endpoint. Its outcome is recorded nowhere. */
  test(endpoint: number): Promise<TestOutcome> | null {
    const target = this.#reads.target(endpoint);
    return target && this.#post.test(target);
  }

  /** No new attempts; resolves when those in flight are answered and settled, or given up, as on a full disk. */
  stop(): Promise<void> {
    this.#stopped = true;
    if (this.#timer) clearTimeout(this.#timer);
    this.#slots.stop();
    return new Promise((resolve) => {
      this.#drained = resolve;
      this.#checkDrained();
    });
  }

  #lane(endpoint: number): Lane {
    let lane = this.#lanes.get(endpoint);
    if (!lane) {
      lane = new Lane(endpoint, this.#reads, steadyNowMs());
      this.#lanes.set(endpoint, lane);
    }
    return lane;
  }

  #seal(sealed: number): void {
    if (sealed <= this.#sealed) return;
    this.#sealed = sealed;
    for (const lane of this.#lanes.values()) lane.seal(sealed);
  }

  /** An earlier alarm of the same lane serves a later due time too: when it rings, the lane is looked at anew. */
  #alarm(lane: Lane, dueAtMs: number): void {
    if (lane.alarmAtMs <= dueAtMs) return;
    lane.alarmAtMs = dueAtMs;
    this.#alarms.push({ dueAtMs, lane });
  }

  #pump(): void {
    if (this.#stopped) return;
    const nowMs = steadyNowMs();
    this.#ringAlarms(nowMs);
    if (!this.#settler.blocked && !this.#starved) this.#startDue(nowMs);
    this.#setTimer(nowMs);
  }

  /** Slow endpoints have places of their own, and a round of their own, so that they are never in others' way. */
  #startDue(nowMs: number): void {
    this.#startRound(this.#ready, nowMs, () => this.#slots.freeQuick(performance.now()));
    this.#startRound(this.#readySlow, nowMs, () => this.#slots.freeSlow);
  }

  /**
   * One attempt after the other while places are free: a lane that started one goes to the end of the round, one
   * that has nothing due or no room leaves it. (A Set visits what is added to it while it is walked.)
   */
  #startRound(round: Set<Lane>, nowMs: number, isPlaceFree: () => boolean): void {
    for (const lane of round) {
      if (!isPlaceFree()) return;
      round.delete(lane);
      const event = lane.take(nowMs);
      if (event !== null) {
        this.#start(lane, event);
        this.#isReady(lane);
      } else if (lane.hasRoom) this.#wakeLater(lane, nowMs);
    }
  }

  /** It is to be looked at in the next round. */
  #isReady(lane: Lane): void {
    (lane.isSlow ? this.#readySlow : this.#ready).add(lane);
  }

  #wakeLater(lane: Lane, nowMs: number): void {
    const atMs = lane.nextAtMs();
    if (atMs !== null) this.#alarm(lane, Math.max(atMs, nowMs + 1));
  }

  #start(lane: Lane, event: number): void {
    const { target } = lane;
    const parcel = target?.open ? this.#reads.parcel(event, lane.endpoint) : null;
    if (!target || !parcel) {
      lane.untake(event);
      return;
    }
    const slot = this.#slots.take(performance.now(), lane.isSlow ? "slow" : "quick");
    this.#post.attempt(event, target, parcel).then((answered) => {
      this.#slots.release(slot);
      if (answered === "starved") this.#starve(lane, event);
      else if (answered === "given_up")
        lane.untake(event); // while stopping: it waits on disk as before
      else this.#settler.add(lane.answered(answered, steadyNowMs(), Math.random()));
      this.#isReady(lane);
      this.#pump();
      this.#checkDrained();
    });
  }

  /** It waits as before, and so does all else for a moment. */
  #starve(lane: Lane, event: number): void {
    lane.untake(event);
    this.#waits(lane, event, this.#sealed);
    if (this.#starved || this.#stopped) return;
    this.#starved = true;
    this.#log.warn("no file descriptor is free: deliveries wait (raise the limit: ulimit -n, LimitNOFILE)");
    setTimeout(() => {
      this.#starved = false;
      this.#pump();
    }, STARVED_MS);
  }

  /** Only the disk knows its place: whether the endpoint was ordered by then, whether it still waits at all. */
  #waits(lane: Lane, event: number, sealed: number): void {
    const dueAt = this.#reads.dueAt(event, lane.endpoint);
    if (dueAt === null) return;
    if (event > sealed) lane.hold(event, dueAt);
    else lane.waitsOnDisk(event, dueAt);
  }

  #settled(op: SettleOp, sealed: number): void {
    const lane = this.#lane(op.endpoint);
    if (op.outcome === "retry") this.#waits(lane, op.event, sealed);
    // After that: what was put back in the same commit is read from disk here, and wins.
    lane.settled(op.event);
    this.#isReady(lane);
    this.#checkDrained();
  }

  #ringAlarms(nowMs: number): void {
    for (let alarm = this.#alarms.peek(); alarm && alarm.dueAtMs <= nowMs; alarm = this.#alarms.peek()) {
      this.#alarms.pop();
      alarm.lane.alarmAtMs = Number.POSITIVE_INFINITY;
      this.#isReady(alarm.lane);
    }
  }

  #setTimer(nowMs: number): void {
    const nextMs = this.#alarms.peek()?.dueAtMs ?? Number.POSITIVE_INFINITY;
    if (nextMs === this.#timerAtMs && this.#timer) return;
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
    this.#timerAtMs = nextMs;
    if (nextMs === Number.POSITIVE_INFINITY) return;
    this.#timer = setTimeout(
      () => {
        this.#timer = null;
        this.#pump();
      },
      Math.min(Math.max(nextMs - nowMs, 1), TIMER_MS_MAX),
    );
  }

  #checkDrained(): void {
    if (!this.#drained || this.#slots.inFlight > 0) return;
    // What the disk does not take would keep the process for ever: it is sent again after the next start.
    if (!this.#settler.empty && !this.#settler.failing) return;
    this.#log.debug("delivery drained");
    this.#drained();
    this.#drained = null;
  }
}
