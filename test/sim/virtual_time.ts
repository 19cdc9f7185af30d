// A time of our own in one process: while it is installed, timers, setImmediate and all clocks are ours, and nothing
// happens but what `run` lets happen, one task after the other, each with the promises that it settles. Surprise: it
// has two clocks, as the machine does, one that only counts (performance.now) and one that can be set (Date.now).

import { drainMicrotasks } from "bun:jsc";
import { Heap } from "../../src/base/heap.ts";
import { steadyNowMs } from "../../src/delivery/clock.ts";
import type { Dice } from "./dice.ts";

/** Of a whole run, which needs some thousands: a loop that turns for ever is told, not waited for. */
const TASKS_MAX = 300_000;
const START_WALL_MS = Date.UTC(2026, 0, 1);

class Task {
  readonly atMs: number;
  readonly order: number;
  readonly run: () => void;
  isOff = false;

  constructor(atMs: number, order: number, run: () => void) {
    this.atMs = atMs;
    this.order = order;
    this.run = run;
  }
  unref(): this {
    return this;
  }
  ref(): this {
    return this;
  }
}

/** steadyNowMs() where performance.now() is 0: what that module read when it was loaded. */
const STEADY_ORIGIN_MS = (() => {
  const real = performance.now;
  performance.now = () => 0;
  try {
    return steadyNowMs();
  } finally {
    performance.now = real;
  }
})();

export class VirtualTime {
  /** Since the start of the run; the time that everything here is told in. */
  nowMs = 0;
  /** By how much the wall clock was set, all in all. */
  setByMs = 0;
  /** Called after each task, when all promises are settled. */
  afterTask: () => void = () => {};
  readonly #dice: Dice;
  #tasks = this.#noTasks();
  #orders = 0;
  #wallOffsetMs = START_WALL_MS;
  #perfOffsetMs = 0;

  constructor(dice: Dice) {
    this.#dice = dice;
    this.bootClock();
  }

  get wallMs(): number {
    return Math.floor(this.nowMs + this.#wallOffsetMs);
  }

  /** What the delivery thread's clock says. */
  get steadyMs(): number {
    return STEADY_ORIGIN_MS + this.nowMs + this.#perfOffsetMs;
  }

  /** Somebody sets the machine's clock. */
  setWall(byMs: number): void {
    this.setByMs += Math.abs(byMs);
    this.#wallOffsetMs += byMs;
  }

  /** A process starts: its steady clock begins at the wall clock. Returns by how much that is later than before. */
  bootClock(): number {
    const before = this.steadyMs;
    this.#perfOffsetMs = this.wallMs - STEADY_ORIGIN_MS - this.nowMs;
    return this.steadyMs - before;
  }

  after(ms: number, run: () => void): Task {
    return this.at(this.nowMs + ms, run);
  }

  at(ms: number, run: () => void): Task {
    const task = new Task(ms, this.#orders++, run);
    this.#tasks.push(task);
    return task;
  }

  /** The process is gone, and its timers, its sockets and its messages with it. */
  forgetAll(): void {
    drainMicrotasks(); // or what it was about to do would happen in the next one
    this.#tasks = this.#noTasks();
  }

  /** Lets so much time pass, and all happen that falls into it. */
  pass(ms: number): void {
    const untilMs = this.nowMs + ms;
    for (let task = this.#tasks.peek(); task && task.atMs <= untilMs; task = this.#tasks.peek()) {
      this.#tasks.pop();
      if (task.isOff) continue;
      if (this.#orders > TASKS_MAX) throw new Error(`it does not come to rest: ${TASKS_MAX} tasks`);
      this.nowMs = Math.max(this.nowMs, task.atMs);
      task.run();
      drainMicrotasks();
      this.afterTask();
    }
    this.nowMs = untilMs;
  }

  /** Passes time until the promise is settled, and gives its value. */
  settle<T>(promise: Promise<T>, ms = 60_000): T {
    let outcome: { value: T } | { error: unknown } | null = null;
    promise.then(
      (value) => {
        outcome = { value };
      },
      (error: unknown) => {
        outcome = { error };
      },
    );
    drainMicrotasks();
    const untilMs = this.nowMs + ms;
    while (outcome === null) {
      const next = this.#tasks.peek();
      if (!next || next.atMs > untilMs) throw new Error(`a call was not answered within ${ms} ms`);
      this.pass(Math.max(0, next.atMs - this.nowMs));
    }
    const settled = outcome as { value: T } | { error: unknown };
    if ("error" in settled) throw settled.error;
    return settled.value;
  }

  /** Makes all clocks and timers ours; the returned function gives them back. */
  install(): () => void {
    const own: [object, Record<string, unknown>][] = [
      [
        globalThis,
        {
          setTimeout: (run: () => void, ms = 0) => this.after(this.#timerMs(ms), run),
          clearTimeout: turnOff,
          setImmediate: (run: () => void) => this.after(0, run),
          clearImmediate: turnOff,
        },
      ],
      [Date, { now: () => this.wallMs }],
      [performance, { now: () => this.nowMs + this.#perfOffsetMs }],
      [Math, { random: () => this.#dice.random() }],
      [Bun, { sleep: (ms: number) => new Promise<void>((resolve) => this.after(ms, resolve)) }],
    ];
    const before = own.map(([owner, names]) =>
      Object.fromEntries(Object.keys(names).map((name) => [name, Reflect.get(owner, name)])),
    );
    for (const [owner, names] of own) Object.assign(owner, names);
    return () => own.forEach(([owner], i) => void Object.assign(owner, before[i]));
  }

  /** A timer takes whole milliseconds, one at least, and is late at times. */
  #timerMs(ms: number): number {
    return Math.max(1, Math.trunc(ms)) + (this.#dice.chance(0.1) ? this.#dice.random() * 3 : 0);
  }

  #noTasks(): Heap<Task> {
    return new Heap<Task>((a, b) => a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order));
  }
}

function turnOff(task: unknown): void {
  if (task instanceof Task) task.isOff = true;
}
