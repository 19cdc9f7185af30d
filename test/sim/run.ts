// One seed: a service is born, lives through the script, is left in peace, and must have kept every promise.

import { rmSync } from "node:fs";
import { tempDir } from "../help/temp.ts";
import { createOrganization } from "../store/writing.ts";
import { DeliveryRules } from "./delivery_rules.ts";
import { Dice } from "./dice.ts";
import { LeaseRules } from "./lease_rules.ts";
import { Ledger } from "./ledger.ts";
import { Receivers } from "./receivers.ts";
import { HIDDEN_MS_MAX, Script } from "./script.ts";
import { System } from "./system.ts";
import { VirtualTime } from "./virtual_time.ts";

const HOUR_MS = 3_600_000;
const SCHEDULES: readonly [readonly number[], ...(readonly number[])[]] = [
  [5_000, 60_000, 300_000, 1_800_000, 7_200_000, 18_000_000, 36_000_000, 50_400_000, 72_000_000, 86_400_000],
  [1_000, 2_000, 4_000, 8_000, 16_000],
  [20, 20, 20],
  [3_600_000],
];
/** The longest wait of all: a Retry-After of a day, or the last of the schedule with its spread; and what is hidden. */
const PEACE_MS = 30 * HOUR_MS + HIDDEN_MS_MAX;

export type Told = {
  readonly seed: number;
  /** What was broken first; null: nothing. */
  readonly problem: string | null;
  readonly steps: readonly string[];
  readonly events: number;
  readonly attempts: number;
  readonly leased: number;
};

class Broken extends Error {}

export type RunOptions = {
  /** Steps that are left out. */
  readonly without?: ReadonlySet<number>;
  /** Delivery hears of no commit but its own: to see that the rules notice. */
  readonly isDeaf?: boolean;
};

/** Runs one seed. */
export function runSeed(seed: number, { without = new Set(), isDeaf = false }: RunOptions = {}): Told {
  const dir = tempDir();
  const dice = new Dice(seed);
  const time = new VirtualTime(dice);
  const giveBack = time.install();
  const life = new Life(seed, dir, dice, time, isDeaf);
  try {
    life.live(without);
    return life.told(null);
  } catch (error) {
    return life.told(error instanceof Broken ? error.message : String((error as Error).stack ?? error));
  } finally {
    giveBack();
    life.close();
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Leaves out every step that the failure does not need. */
export function shrunk(told: Told): Told {
  let best = told;
  const without = new Set<number>();
  for (let n = told.steps.length - 1; n >= 0; n--) {
    const tried = runSeed(told.seed, { without: new Set([...without, n]) });
    if (tried.problem === null) continue;
    without.add(n);
    best = tried;
  }
  return best;
}

class Life {
  readonly #seed: number;
  readonly #dice: Dice;
  readonly #time: VirtualTime;
  readonly #ledger = new Ledger();
  readonly #receivers: Receivers;
  readonly #system: System;
  readonly #rules: DeliveryRules;
  readonly #leases: LeaseRules;
  readonly #script: Script;
  readonly #steps: string[] = [];
  readonly #problems: string[] = [];
  readonly #stepCount: number;

  constructor(seed: number, dir: string, dice: Dice, time: VirtualTime, isDeaf: boolean) {
    this.#seed = seed;
    this.#dice = dice;
    this.#time = time;
    this.#stepCount = dice.whole(5, 60);
    const scheduleMs = dice.of(...SCHEDULES);
    const delayMsMax = dice.of(0, 1, 20, 200);
    const report = (problem: string) => void this.#problems.push(problem);
    this.#receivers = new Receivers(time, dice);
    this.#system = new System(time, dice, this.#receivers, {
      ...{ dir, retryScheduleMs: scheduleMs, timeoutMs: 15_000, delayMsMax, isDeaf },
      sealEvents: dice.of(1, 3, 10, 100),
      onCommit: (ops, results) => {
        ops.forEach((op, i) => {
          const touched = this.#ledger.committed(op, results[i], time.nowMs);
          this.#rules.committed(op, touched);
          this.#leases.committed(op, results[i]);
        });
      },
      onBoot: (db, setByMs) => this.#rules.booted(db, setByMs),
      onError: (line) => report(line.trim()),
    });
    const slackMs = 4 * delayMsMax + 50;
    const rules = { scheduleMs, slackMs, report };
    this.#rules = new DeliveryRules(this.#system.db, time, this.#ledger, rules);
    this.#leases = new LeaseRules(time, this.#ledger, report);
    this.#receivers.onSend = (attempt) => this.#rules.sent(attempt);
    this.#receivers.onOutcome = (attempt, outcome) => this.#rules.outcome(attempt, outcome);
    time.afterTask = () => this.#raise();
    const orgs = this.#system.organizations(2, createOrganization);
    this.#script = new Script({
      ...{ time, system: this.#system, receivers: this.#receivers, ledger: this.#ledger, orgs, report },
      onDisk: () => this.#rules.diskIsFull(),
    });
  }

  live(without: ReadonlySet<number>): void {
    this.#script.begin(this.#dice);
    for (let n = 0; n < this.#stepCount; n++) {
      const atMs = Math.round(this.#time.nowMs);
      const tell = (what: string) => {
        this.#steps[n] = `${n} at ${atMs}: ${what}`;
      };
      if (without.has(n)) tell("(left out)");
      else this.#script.step(new Dice(this.#seed * 1009 + n), tell);
      this.#rules.checkNothingForgotten();
      this.#raise();
    }
    this.#peace();
  }

  /** Everybody is well, what was disabled is enabled, time goes on: nothing may wait for ever. */
  #peace(): void {
    this.#receivers.healAll();
    // What is hidden is hidden until a time of the wall clock, which delivery's own does not follow.
    const hours = (PEACE_MS + this.#time.setByMs) / HOUR_MS;
    for (let hour = 0; hour < hours && (hour === 0 || this.#waits() > 0); hour++) {
      this.#time.pass(hour === 0 ? 60_000 : HOUR_MS);
      this.#enableAll();
      this.#rules.checkNothingForgotten();
      this.#raise();
    }
    if (this.#waits() > 0) throw new Broken(`${this.#waits()} deliveries wait for ever: ${this.#waiting()}`);
    this.#checkEnd();
    this.#checkLeases();
  }

  #enableAll(): void {
    for (const { org, id, isDeleted } of this.#ledger.endpoints) {
      const row = isDeleted ? null : this.#system.store.endpoint(org, id);
      const by = { kind: "server", keyId: null, address: null, requestId: null } as const;
      if (row?.disabledAtMs !== null && row !== null) {
        this.#time.settle(this.#system.store.enableEndpoint(org, id, by));
      }
    }
  }

  #checkEnd(): void {
    const { db } = this.#system;
    for (const row of db
      .query<{ event: number; endpoint: number }, []>(
        "SELECT event, endpoint FROM deliveries WHERE state = 1",
      )
      .all()) {
      if (!this.#rules.hasSucceeded(row.endpoint, row.event))
        throw new Broken(`event ${row.event} is delivered to ${row.endpoint}, which never took it`);
    }
    const lag = this.#system.dispatcher.lagSeconds();
    if (lag > 0) throw new Broken(`the dispatcher thinks that something has waited for ${lag} s`);
  }

  /** Whatever nobody acknowledged and nobody took comes back, each event once. */
  #checkLeases(): void {
    const { db, store } = this.#system;
    // By the wall clock: set back, it makes leases longer, and what was released for later comes back later.
    const { pausedUntilMs, untilMs } = this.#leases;
    const lastMs = Math.max(this.#time.wallMs, pausedUntilMs, ...untilMs.values());
    this.#time.pass(2 * HOUR_MS + lastMs - this.#time.wallMs);
    const expected = new Set(
      db
        .query<{ seq: number }, [number]>(
          `SELECT seq FROM events e WHERE type <> '' AND NOT EXISTS (SELECT 1 FROM acks WHERE event = seq)
           AND NOT EXISTS (SELECT 1 FROM given_up WHERE event = seq)
           AND NOT EXISTS (SELECT 1 FROM scheduled WHERE event = seq AND appear_at > +?)
           AND NOT EXISTS (SELECT 1 FROM deliveries WHERE event = seq)`,
        )
        .all(this.#time.wallMs)
        .map(({ seq }) => seq),
    );
    const orgs = new Set(this.#ledger.events.map(({ org }) => org));
    for (const org of orgs) {
      for (let count = -1; count !== 0; ) {
        const leased = this.#time.settle(store.lease(org, { max: 100, leaseMs: HOUR_MS, type: null }));
        if (leased.kind !== "done") throw new Broken("a lease was refused in peace");
        count = leased.value.count;
        const { seqOf } = this;
        for (const { rows } of leased.value.events) for (const { id } of rows) expected.delete(seqOf(id));
      }
    }
    this.#raise();
    const given = db.query<{ event: number }, []>("SELECT event FROM given_up").all();
    for (const { event } of given) expected.delete(event);
    if (expected.size > 0)
      throw new Broken(`${expected.size} events were never leased again: ${[...expected]}`);
  }

  readonly seqOf = (id: string): number => this.#ledger.events.find((event) => event.id === id)?.seq ?? 0;

  #waits(): number {
    const sql = "SELECT count(*) AS n FROM deliveries WHERE state = 0";
    return this.#system.db.query<{ n: number }, []>(sql).get()?.n ?? 0;
  }

  #waiting(): string {
    const sql = "SELECT * FROM deliveries JOIN endpoints USING (endpoint) WHERE state = 0 LIMIT 1";
    return JSON.stringify({ now: this.#time.steadyMs, row: this.#system.db.query(sql).get() });
  }

  #raise(): void {
    const [problem] = this.#problems;
    if (problem !== undefined) throw new Broken(`at ${Math.round(this.#time.nowMs)} ms: ${problem}`);
  }

  told(problem: string | null): Told {
    const { attempts } = this.#rules;
    const { leased } = this.#leases;
    return {
      ...{
        seed: this.#seed,
        problem,
        steps: this.#steps,
        events: this.#ledger.events.length,
        attempts,
        leased,
      },
    };
  }

  close(): void {
    this.#system.close();
  }
}
