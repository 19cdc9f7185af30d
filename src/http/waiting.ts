// Long polls: a call that finds nothing waits until there may be something, looks again, and is answered empty at its
// deadline, when its client goes away, or when the server stops. Nothing polls: a commit wakes, or the time at which a
// leased event comes back. Surprise: calls that ask for the same thing form a group, first come first served. A look
// that finds nothing speaks for the whole group, so a commit costs one look for each different question, not for each
// caller; and a consumer that took the last event does not make a thousand others look in vain.

import type { Store } from "../store/store.ts";
import { HttpProblem } from "./problem.ts";
import type { Turns } from "./turns.ts";

const WAITERS_PER_ORGANIZATION_MAX = 1_000;
const WAITERS_MAX = 10_000;
const RETRY_AFTER = "1";
/** No call waits for longer than 30 s; a timer beyond that would wake nobody. */
const FREE_TIMER_MS_MAX = 60_000;
const LONG_LOOK_MS = 5;
const REST_MS_MAX = 1_000;

/** `empty`: nothing, for nobody in the group. `last`: the rest of the group would find nothing. `more`: it may. */
export type Verdict = "empty" | "last" | "more";

export type Question<T> = {
  readonly look: () => T | Promise<T>;
  readonly verdict: (result: T) => Verdict;
  /** Of a result: when there may be something without a commit; null for never. */
  readonly freeAtMs?: (result: T) => number | null;
  /** A look works on this thread, and may take long. */
  readonly isScan?: boolean;
  /** Gives back what was found for a client that has gone. */
  readonly undo?: (result: T) => void;
};

type Waiter = {
  readonly question: Question<unknown>;
  /** The latest empty result: the answer when nothing comes. */
  latest: unknown;
  isLooking: boolean;
  /** Its deadline came, or its client went, while it was looking. */
  isOver: boolean;
  isGone: boolean;
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: unknown) => void;
};

type Group = {
  readonly waiters: Set<Waiter>;
  readonly stopListening: () => void;
  /** Calls that look or wait. The last one closes the group. */
  users: number;
  commits: number;
  isDirty: boolean;
  isRunning: boolean;
  freeTimer: Timer | null;
};

export type WaitOptions = {
  readonly org: number;
  /** The same for calls that ask for the same thing. */
  readonly key: string;
  readonly waitMs: number;
  readonly signal: AbortSignal;
};

/** After a long look in vain (a rare type in a full inbox), nine tenths of the time are for others. */
async function rest(tookMs: number): Promise<void> {
  if (tookMs > LONG_LOOK_MS) await Bun.sleep(Math.min(tookMs * 9, REST_MS_MAX));
}

export class Waiting {
  readonly #store: Pick<Store, "onReadable">;
  readonly #groups = new Map<string, Group>();
  readonly #perOrganization = new Map<number, number>();
  readonly #turns: Turns;
  readonly #ends = new Set<() => void>();
  #isClosed = false;

  constructor(store: Pick<Store, "onReadable">, turns: Turns) {
    this.#store = store;
    this.#turns = turns;
  }

  /** The first result that is not empty, or an empty one at the end. 429 when too many wait already. */
  async wait<T>({ org, key, waitMs, signal }: WaitOptions, question: Question<T>): Promise<T> {
    if (waitMs === 0 || this.#isClosed) return question.look();
    const name = `${org} ${key}`;
    const group = this.#enter(org, name);
    try {
      // What is committed from here on is noticed: the group listens.
      const seen = group.commits;
      const first = await question.look();
      if (question.verdict(first) !== "empty") return first;
      return await this.#admitted(org, () => this.#sleep(group, seen, question, first, waitMs, signal));
    } finally {
      this.#leave(group, name);
    }
  }

  /** The server stops: what takes long ends now. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Does what works on this thread, when its turn comes. */
  inTurn<T>(work: () => T): Promise<T> {
    return this.#turns.run(work);
  }

  /** How many wait, for a gauge. */
  get size(): number {
    return this.#ends.size;
  }

  /** Answers all that wait, and lets nobody wait any more. */
  close(): void {
    this.#isClosed = true;
    for (const end of [...this.#ends]) end();
  }

  #enter(org: number, name: string): Group {
    const known = this.#groups.get(name);
    if (known !== undefined) {
      known.users++;
      return known;
    }
    const group: Group = {
      waiters: new Set(),
      stopListening: this.#store.onReadable(org, () => {
        group.commits++;
        this.#wake(group);
      }),
      users: 1,
      commits: 0,
      isDirty: false,
      isRunning: false,
      freeTimer: null,
    };
    this.#groups.set(name, group);
    return group;
  }

  #leave(group: Group, name: string): void {
    if (--group.users > 0) return;
    group.stopListening();
    if (group.freeTimer !== null) clearTimeout(group.freeTimer);
    this.#groups.delete(name);
  }

  async #admitted<T>(org: number, run: () => Promise<T>): Promise<T> {
    const own = this.#perOrganization.get(org) ?? 0;
    if (own >= WAITERS_PER_ORGANIZATION_MAX || this.#ends.size >= WAITERS_MAX) {
      throw new HttpProblem("too_many_waiters", { headers: { "retry-after": RETRY_AFTER } });
    }
    this.#perOrganization.set(org, own + 1);
    try {
      return await run();
    } finally {
      const rest = (this.#perOrganization.get(org) ?? 1) - 1;
      if (rest > 0) this.#perOrganization.set(org, rest);
      else this.#perOrganization.delete(org);
    }
  }

  async #sleep<T>(
    group: Group,
    seen: number,
    question: Question<T>,
    first: T,
    waitMs: number,
    signal: AbortSignal,
  ): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    const waiter: Waiter = {
      question: question as Question<unknown>,
      latest: first,
      isLooking: false,
      isOver: false,
      isGone: false,
      resolve,
      reject,
    };
    const end = () => this.#end(group, waiter);
    const go = () => {
      waiter.isGone = true;
      end();
    };
    group.waiters.add(waiter);
    this.#ends.add(end);
    const deadline = setTimeout(end, waitMs);
    signal.addEventListener("abort", go);
    try {
      this.#wakeAt(group, waiter);
      if (group.commits !== seen) this.#wake(group);
      if (signal.aborted) go();
      if (this.#isClosed) end();
      return (await promise) as T;
    } finally {
      clearTimeout(deadline);
      signal.removeEventListener("abort", go);
      this.#ends.delete(end);
    }
  }

  #end(group: Group, waiter: Waiter): void {
    waiter.isOver = true;
    // What a look under way brings must not be lost.
    if (waiter.isLooking) return;
    group.waiters.delete(waiter);
    waiter.resolve(waiter.latest);
  }

  #wake(group: Group): void {
    group.isDirty = true;
    if (!group.isRunning) void this.#run(group);
  }

  async #run(group: Group): Promise<void> {
    group.isRunning = true;
    while (group.isDirty && group.waiters.size > 0) {
      group.isDirty = false;
      for (const waiter of group.waiters) {
        const startedMs = performance.now();
        const verdict = await this.#lookFor(group, waiter);
        if (verdict === "empty" && waiter.question.isScan) await rest(performance.now() - startedMs);
        if (verdict !== "more") break;
      }
    }
    group.isRunning = false;
  }

  async #lookFor(group: Group, waiter: Waiter): Promise<Verdict> {
    const { question } = waiter;
    waiter.isLooking = true;
    try {
      const result = await question.look();
      const verdict = question.verdict(result);
      if (verdict === "empty") {
        waiter.latest = result;
        this.#wakeAt(group, waiter);
        if (!waiter.isOver) return verdict;
      } else {
        // The others of the group did not look: what was taken may come back to them.
        this.#wakeAt(group, { question, latest: result });
        if (waiter.isGone) question.undo?.(result);
      }
      group.waiters.delete(waiter);
      waiter.resolve(result);
      return verdict;
    } catch (error) {
      group.waiters.delete(waiter);
      waiter.reject(error);
      return "more";
    } finally {
      waiter.isLooking = false;
    }
  }

  /** One timer for a group; what the latest look says counts. */
  #wakeAt(group: Group, { question, latest }: Pick<Waiter, "question" | "latest">): void {
    const atMs = question.freeAtMs?.(latest) ?? null;
    if (group.freeTimer !== null) clearTimeout(group.freeTimer);
    group.freeTimer = null;
    if (atMs === null) return;
    const delayMs = Math.max(1, Math.ceil(atMs - Date.now()));
    if (delayMs > FREE_TIMER_MS_MAX) return;
    group.freeTimer = setTimeout(() => {
      group.freeTimer = null;
      this.#wake(group);
    }, delayMs);
  }
}
