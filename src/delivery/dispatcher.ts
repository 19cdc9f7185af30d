// The loop that sends what is due, round-robin over the endpoints' lanes. It never polls: a commit notice, an
// answer, or one timer for the earliest due time wakes it. What it did goes to the writer as settle ops, batched
// while the last batch is being committed; until its settle is on disk a delivery is not handed out again.

import { Heap } from "../base/heap.ts";
import type { Log } from "../base/log.ts";
import { type CommitNotice, isFailure, type OpResult, type SettleOp } from "../store/sqlite/op.ts";
import type { DueReads } from "../store/sqlite/read_due.ts";
import { Lane } from "./lane.ts";
import type { Post } from "./post.ts";
import { Settler } from "./settler.ts";
import { SendSlots } from "./slots.ts";

/** setTimeout overflows at 24.8 days; a longer wait is waited in parts. */
const TIMER_MS_MAX = 24 * 60 * 60 * 1000;

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
  #timer: ReturnType<typeof setTimeout> | null = null;
  #timerAtMs = Number.POSITIVE_INFINITY;
  #sealed = 0;
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
    for (const endpoint of this.#reads.endpoints()) {
      const lane = this.#lane(endpoint);
      lane.lookOnDisk();
      this.#wake(lane);
    }
    this.#pump();
  }

  /** The writer committed something that concerns deliveries. */
  notice({ due, endpoints, sealed }: CommitNotice): void {
    const nowMs = Date.now();
    for (const endpoint of endpoints) {
      const lane = this.#lane(endpoint);
      lane.refresh(this.#sealed);
      this.#wake(lane);
    }
    for (let i = 0; i < due.length; i += 2) {
      const lane = this.#lane(due[i + 1] ?? 0);
      lane.hold(due[i] ?? 0, nowMs); // due since its commit, which was a moment ago
      this.#ready.add(lane);
    }
    this.#seal(sealed);
    this.#pump();
  }

  /** The writer's answer to the last batch of settle ops. */
  replied(results: readonly OpResult[], sealed: number): void {
    const defect = results.find((result) => isFailure(result) && result.failed === "defect");
    if (defect) this.#log.error({ defect }, "a delivery's result could not be recorded");
    this.#settler.replied(results, sealed);
    this.#pump();
  }

  /**
   * For how long the oldest delivery that could be sent has been due; 0 when none is. A lane without room waits for
   * its endpoint, which says nothing about this process.
   */
  lagSeconds(nowMs: number): number {
    let oldestMs = nowMs;
    for (const lane of this.#lanes.values()) {
      if (lane.hasRoom) oldestMs = Math.min(oldestMs, lane.nextDueMs() ?? nowMs);
    }
    return (nowMs - oldestMs) / 1000;
  }

  /** No new attempts; resolves when those in flight are answered and settled, or were given up. */
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
      lane = new Lane(endpoint, this.#reads);
      this.#lanes.set(endpoint, lane);
    }
    return lane;
  }

  #seal(sealed: number): void {
    if (sealed <= this.#sealed) return;
    this.#sealed = sealed;
    for (const lane of this.#lanes.values()) lane.seal(sealed);
  }

  /** Puts a lane into the round when something is due, or sets its alarm for when it will be. */
  #wake(lane: Lane): void {
    const dueAtMs = lane.nextDueMs();
    if (dueAtMs === null) return;
    if (dueAtMs <= Date.now()) this.#ready.add(lane);
    else this.#alarm(lane, dueAtMs);
  }

  /** An earlier alarm of the same lane serves a later due time too: when it rings, the lane is looked at anew. */
  #alarm(lane: Lane, dueAtMs: number): void {
    if (lane.alarmAtMs <= dueAtMs) return;
    lane.alarmAtMs = dueAtMs;
    this.#alarms.push({ dueAtMs, lane });
  }

  #pump(): void {
    if (this.#stopped) return;
    const nowMs = Date.now();
    this.#ringAlarms(nowMs);
    if (!this.#settler.blocked) this.#startDue(nowMs);
    this.#setTimer(nowMs);
  }

  /**
   * One attempt after the other while places are free: a lane that started one goes to the end of the round, one
   * that has nothing due or no room leaves it. (A Set visits what is added to it while it is walked.)
   */
  #startDue(nowMs: number): void {
    for (const lane of this.#ready) {
      if (!this.#slots.free(performance.now())) return;
      this.#ready.delete(lane);
      const event = lane.hasRoom ? lane.take(nowMs) : null;
      if (event !== null) {
        this.#ready.add(lane);
        this.#start(lane, event);
      } else if (lane.hasRoom) this.#wakeLater(lane, nowMs);
    }
  }

  #wakeLater(lane: Lane, nowMs: number): void {
    const dueAtMs = lane.nextDueMs();
    if (dueAtMs !== null) this.#alarm(lane, Math.max(dueAtMs, nowMs + 1));
  }

  #start(lane: Lane, event: number): void {
    const { target } = lane;
    const parcel = target?.open ? this.#reads.parcel(event, lane.endpoint) : null;
    if (!target || !parcel) {
      lane.untake(event);
      return;
    }
    const slot = this.#slots.take(performance.now());
    this.#post.attempt(event, target, parcel).then((op) => {
      this.#slots.release(slot);
      lane.answered(op?.outcome === "delivered");
      if (op) this.#settler.add(op);
      else lane.settled(event); // given up while stopping: it waits on disk as before
      this.#ready.add(lane);
      this.#pump();
      this.#checkDrained();
    });
  }

  #settled(op: SettleOp, sealed: number): void {
    const lane = this.#lane(op.endpoint);
    lane.settled(op.event);
    if (op.outcome === "retry" || op.outcome === "gone") {
      const dueAtMs = op.dueAtMs ?? Date.now();
      if (op.event > sealed) lane.hold(op.event, dueAtMs);
      else if (lane.open) lane.waitsOnDisk(dueAtMs);
    }
    this.#wake(lane);
    this.#checkDrained();
  }

  #ringAlarms(nowMs: number): void {
    for (let alarm = this.#alarms.peek(); alarm && alarm.dueAtMs <= nowMs; alarm = this.#alarms.peek()) {
      this.#alarms.pop();
      alarm.lane.alarmAtMs = Number.POSITIVE_INFINITY;
      this.#ready.add(alarm.lane);
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
    if (!this.#drained || this.#slots.inFlight > 0 || !this.#settler.empty) return;
    this.#log.debug("delivery drained");
    this.#drained();
    this.#drained = null;
  }
}
