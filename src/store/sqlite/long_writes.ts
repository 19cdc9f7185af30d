// Writes that may concern many rows (erasing, cancelling, replaying, retention, keys in use): loops of short ones, between which
// others get their turn. What a restart interrupts goes on after it.

import { firstSeqOfMs } from "../../base/id.ts";
import type { Actor, UsedKey, Written } from "../store.ts";
import { Jobs } from "./jobs.ts";
import type { AgeCursor, RareOp } from "./op.ts";
import type { Pruned } from "./remove.ts";

/** Rows a step may touch: about 5 ms of the writer's time. */
export const STEP_ROWS = 500;
/** Whole events a step of an erasure removes, for which somebody waits: 4 ms. */
const ERASED_MAX = 200;
/**
 * Those of a step of retention, for which nobody waits: 1 ms, and then 10 ms for others. That is 4 000 events a second;
 * 200 at once cost others' p99 2.7 times what it was.
 */
const PRUNED_MAX = 50;
const PRUNE_PAUSE_MS = 10;
/** Keys of a step of noting their use: 1.5 ms. 10 000 at once, as a busy minute has them, took 40 to 80. */
const TOUCHED_MAX = 200;
/** Rows a step may look at when it changes few of them. */
const STEP_LOOKS = 2_000;

/** So often the log is tried, while a reader holds it. */
const SCRUB_AGAIN_MS = 200;
/** A caller waits so long for the log, which a backup may hold for minutes; after that it goes on without him. */
const SCRUB_PATIENCE_MS = 10_000;

type Write = <T>(op: RareOp) => Promise<Written<T>>;

export class LongWrites {
  readonly #write: Write;
  readonly #jobs: Jobs;

  constructor(write: Write) {
    this.#write = write;
    this.#jobs = new Jobs(write);
  }

  /** Everything of an organization whose erasure was started. */
  async erase(org: number, by: Actor): Promise<Written<"erased">> {
    const steps = await this.#repeat<{ done: boolean }>(
      () => ({ op: "eraseStep", org, eventsMax: ERASED_MAX }),
      (step) => step.done,
    );
    if (steps.kind !== "done") return steps;
    const ended = this.#endErase({ op: "endErase", org, by });
    const gone = { kind: "done", value: "erased" } as const;
    return Promise.race([ended, Bun.sleep(SCRUB_PATIENCE_MS).then(() => gone)]);
  }

  /** Its rows are gone; a reader from before (a backup) may hold the log that they are still in. */
  async #endErase(op: RareOp): Promise<Written<"erased">> {
    for (;;) {
      const ended = await this.#write<{ done: boolean }>(op);
      if (ended.kind !== "done") return ended;
      if (ended.value.done) return { kind: "done", value: "erased" };
      await Bun.sleep(SCRUB_AGAIN_MS);
    }
  }

  /** Removes what was accepted before `beforeMs` and is delivered or dead-lettered. Returns how many events. */
  async prune(beforeMs: number): Promise<Written<number>> {
    const beforeSeq = firstSeqOfMs(beforeMs);
    let removed = 0;
    for (let afterSeq = firstSeqOfMs(0); ; ) {
      const step = await this.#write<Pruned>({
        op: "pruneStep",
        afterSeq,
        beforeSeq,
        eventsMax: PRUNED_MAX,
      });
      if (step.kind !== "done") return step;
      removed += step.value.removed;
      if (step.value.nextSeq === null) return { kind: "done", value: removed };
      afterSeq = step.value.nextSeq;
      if (step.value.removed > 0) await Bun.sleep(PRUNE_PAUSE_MS);
    }
  }

  /** Notes when these keys were last used. */
  async touchKeys(used: readonly UsedKey[]): Promise<Written<null>> {
    for (let at = 0; at < used.length; at += TOUCHED_MAX) {
      const step = await this.#write<null>({ op: "touchKeys", used: used.slice(at, at + TOUCHED_MAX) });
      if (step.kind !== "done") return step;
    }
    return { kind: "done", value: null };
  }

  /** Puts what waits for an endpoint in the order of age. */
  age(endpoint: number): Promise<void> {
    const step = (after: AgeCursor | null): RareOp => ({
      op: "ageStep",
      ...{ endpoint, after, looksMax: STEP_LOOKS },
    });
    return this.#jobs.run<{ next: AgeCursor | null }>(`age ${endpoint}`, step(null), ({ next }) =>
      next === null ? null : step(next),
    );
  }

  /** Cancels what waits for a deleted endpoint. */
  cancelWaiting(endpoint: number): Promise<void> {
    const step: RareOp = { op: "cancelStep", endpoint, deliveriesMax: STEP_ROWS };
    return this.#jobs.run<{ done: boolean }>(`cancel ${endpoint}`, step, ({ done }) => (done ? null : step));
  }

  /** Goes on with a replay. */
  replay(replay: number): Promise<void> {
    const step: RareOp = { op: "replayStep", replay, looksMax: STEP_ROWS };
    return this.#jobs.run<{ done: boolean }>(`replay ${replay}`, step, ({ done }) => (done ? null : step));
  }

  /** Begins no step any more, and waits for those that run. */
  stop(): Promise<void> {
    return this.#jobs.stop();
  }

  async #repeat<T>(op: () => RareOp, done: (value: T) => boolean): Promise<Written<null>> {
    for (;;) {
      const step = await this.#write<T>(op());
      if (step.kind !== "done") return step;
      if (done(step.value)) return { kind: "done", value: null };
    }
  }
}
