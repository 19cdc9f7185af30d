// What delivery promises, checked when an attempt goes out, when its result is committed, and in quiet moments. Commits
// are heard of a little later than they are made: what is younger than `slackMs` is not held against anybody.

import type { Database } from "bun:sqlite";
import { seqOfId } from "../../src/base/id.ts";
import type { Attempt } from "../../src/delivery/send.ts";
import { dueMs } from "../../src/store/sqlite/due.ts";
import { PAUSED_UNTIL_SQL } from "../../src/store/sqlite/hold.ts";
import type { Op, SettleOp } from "../../src/store/sqlite/op.ts";
import { BREAKER_FAILURES } from "../../src/webhook/breaker.ts";
import type { AttemptOutcome } from "../../src/webhook/verdict.ts";
import type { Ledger } from "./ledger.ts";
import type { VirtualTime } from "./virtual_time.ts";

const DAY_MS = 24 * 60 * 60 * 1000;
const WINDOW_START = 4;
const WINDOW_MAX = 32;
const QUICK_MAX = 64;
const SLOW_MAX = 2_000;
const SLOW_AFTER_MS = 250;

type Row = {
  event: number;
  state: number;
  attempts: number;
  attempts_before: number;
  due_at: number | null;
};
type EndpointRow = {
  endpoint: number;
  closed: number;
  max_in_flight: number | null;
  rate_limit_per_second: number | null;
  ordered: number;
  failures: number;
  paused_until: number;
};

/** One event for one endpoint, as seen from outside. */
class Pair {
  inFlight = false;
  /** An attempt went out and its result is not committed. */
  isOpen = false;
  touchedMs = 0;
  sentMs = 0;
  /** Of the steady clock: no attempt before. */
  notBeforeMs = 0;
  pendingMs = 0;
  isDelivered = false;
  /** It waits no more, unless it is put back. */
  isOver = false;
  hasSucceeded = false;
  goneAnswers = 0;
}

class Lane {
  readonly pairs = new Map<number, Pair>();
  /** At most so many in a row; at least so many. */
  window = WINDOW_START;
  failures = 0;
  notBeforeMs = 0;
  pendingMs = 0;
  lastProbeMs = Number.NEGATIVE_INFINITY;
  lastAnswerMs = 0;
  /** Who was the first of its line may have gone, and a pause with it. */
  movedMs = 0;
  sentMs: number[] = [];

  pair(event: number): Pair {
    let pair = this.pairs.get(event);
    if (!pair) {
      pair = new Pair();
      this.pairs.set(event, pair);
    }
    return pair;
  }

  inFlight = 0;
}

export type RulesOptions = {
  readonly scheduleMs: readonly number[];
  readonly slackMs: number;
  readonly report: (problem: string) => void;
};

export class DeliveryRules {
  attempts = 0;
  readonly #options: RulesOptions;
  readonly #time: VirtualTime;
  readonly #ledger: Ledger;
  readonly #lanes = new Map<number, Lane>();
  readonly #young = new Map<Pair, number>();
  #bootMs = 0;
  #inFlight = 0;
  #diskMs = Number.NEGATIVE_INFINITY;
  #reads: ReturnType<typeof prepareReads>;

  constructor(db: Database, time: VirtualTime, ledger: Ledger, options: RulesOptions) {
    this.#options = options;
    this.#time = time;
    this.#ledger = ledger;
    this.#reads = prepareReads(db);
  }

  /** A new process, whose clock was set by so much. */
  booted(db: Database, setByMs: number): void {
    this.#reads = prepareReads(db);
    this.#bootMs = this.#time.nowMs;
    this.#young.clear();
    this.#inFlight = 0;
    for (const [endpoint, lane] of this.#lanes) {
      Object.assign(lane, { window: WINDOW_START, sentMs: [], pendingMs: 0, inFlight: 0 });
      lane.failures = this.#reads.endpoint.get(endpoint)?.failures ?? 0;
      lane.lastProbeMs = Number.NEGATIVE_INFINITY;
      lane.notBeforeMs += Math.min(0, setByMs);
      for (const pair of lane.pairs.values()) {
        Object.assign(pair, { inFlight: false, isOpen: false, pendingMs: 0 });
        pair.notBeforeMs += Math.min(0, setByMs);
      }
    }
  }

  /** The disk refuses, or has just begun to take writes again. */
  diskIsFull(): void {
    this.#diskMs = this.#time.nowMs;
  }

  committed(op: Op, touched: readonly number[]): void {
    for (const endpoint of touched) this.#touch(endpoint);
    if (op.op === "settle") this.#settled(op);
    if (op.op === "retryDelivery") this.#putBack(op.endpoint, op.event);
    if (op.op === "ingest") {
      for (const { endpoint } of this.#ledger.endpoints) this.#pairOf(endpoint, op.seq).touchedMs = this.#now;
    }
    if (op.op === "ack" || op.op === "ackLease" || op.op === "deleteEvents") this.#lineMoved();
  }

  sent({ url, event, attemptNumber }: Attempt): void {
    this.attempts++;
    const seq = seqOfId(event.id) ?? 0;
    const endpoint = this.#reads.byUrl.get(`${url.slice(0, url.lastIndexOf("/"))}/%`);
    const row = endpoint && this.#reads.row.get(seq, endpoint.endpoint);
    if (!endpoint || !row) {
      this.#report(`sent to nobody: ${event.id} ${url}`);
      return;
    }
    const lane = this.#lane(endpoint.endpoint);
    const pair = lane.pair(seq);
    const name = `event ${seq} to endpoint ${endpoint.endpoint}`;
    if (row.state !== 0) this.#report(`${name}: sent in state ${row.state}`);
    if (attemptNumber !== row.attempts + 1)
      this.#report(`${name}: attempt ${attemptNumber} after ${row.attempts}`);
    if (pair.inFlight) this.#report(`${name}: sent while it is in flight`);
    if (pair.isOpen) this.#report(`${name}: sent before its last result is recorded`);
    if (pair.isDelivered) this.#report(`${name}: sent after it was delivered`);
    const tries = row.attempts - row.attempts_before - pair.goneAnswers;
    if (tries > this.#options.scheduleMs.length) this.#report(`${name}: attempt ${tries + 1} of its round`);
    if (this.#isSettledDown(endpoint.endpoint)) this.#checkLane(lane, endpoint, row, name);
    this.#checkPlaces(lane, pair);
    this.#checkTimes(lane, pair, endpoint, row, name);
    Object.assign(pair, { inFlight: true, isOpen: true, sentMs: this.#now });
    lane.inFlight++;
    this.#inFlight++;
    lane.sentMs.push(this.#now);
  }

  outcome({ url, event }: Attempt, { status, error, retryAfter }: AttemptOutcome): void {
    const endpoint = this.#reads.byUrl.get(`${url.slice(0, url.lastIndexOf("/"))}/%`);
    const row = endpoint && this.#reads.row.get(seqOfId(event.id) ?? 0, endpoint.endpoint);
    if (!endpoint) return;
    const lane = this.#lane(endpoint.endpoint);
    const pair = lane.pair(seqOfId(event.id) ?? 0);
    pair.inFlight = false;
    lane.inFlight--;
    this.#inFlight--;
    this.#young.delete(pair);
    if (error?.kind === "cancelled") {
      pair.isOpen = false;
      return;
    }
    lane.lastAnswerMs = this.#now;
    if (status !== null && status >= 200 && status < 300 && error === null) {
      Object.assign(lane, { failures: 0, notBeforeMs: 0, pendingMs: 0, window: lane.window + 1 });
      pair.hasSucceeded = true;
      return;
    }
    if (status === 410) pair.goneAnswers++;
    if (this.#isSettledDown(endpoint.endpoint)) {
      lane.failures++;
      lane.window = Math.max(1, Math.min(lane.window, 256) >> 1);
    }
    const tries = (row?.attempts ?? 0) - (row?.attempts_before ?? 0);
    const backoffMs = status === 410 ? 0 : 0.8 * (this.#options.scheduleMs[tries] ?? 0);
    const asked = status === 429 || status === 503 ? Number(retryAfter ?? "0") : 0;
    const askedMs = asked > 0 ? Math.min(asked * 1000, DAY_MS) : 0;
    pair.pendingMs = this.#time.steadyMs + Math.max(backoffMs, askedMs) - 2;
    lane.pendingMs = askedMs > 0 ? this.#time.steadyMs + askedMs - 2 : 0;
  }

  /** Whatever could have been sent for a while, was. Call when time has passed. */
  checkNothingForgotten(): void {
    const { slackMs } = this.#options;
    const now = this.#now;
    if (now - this.#diskMs < slackMs + 3_000) return;
    // With all quick places taken for a moment, others had to wait for that.
    const recently = [...this.#lanes.values()].flatMap((lane) => lane.sentMs.slice(-QUICK_MAX));
    if (recently.filter((atMs) => now - atMs < slackMs + 2 * SLOW_AFTER_MS).length >= QUICK_MAX) return;
    for (const endpoint of this.#reads.open.all()) {
      const lane = this.#lane(endpoint.endpoint);
      if (!this.#isSettledDown(endpoint.endpoint) || lane.inFlight > 0) continue;
      // The last turn of a rate that was changed is waited for.
      if (now - this.#ledger.touchedMs(endpoint.endpoint) < slackMs + 1_000) continue;
      const rateMs = endpoint.rate_limit_per_second === null ? 0 : 1000 / endpoint.rate_limit_per_second;
      const lastMs = Math.max(lane.lastAnswerMs, lane.movedMs, (lane.sentMs.at(-1) ?? 0) + rateMs);
      if (now - lastMs < slackMs || endpoint.paused_until > this.#time.steadyMs - slackMs) continue;
      const forgotten = this.#waiting(endpoint.endpoint)
        .filter((row) => now - lane.pair(row.event).touchedMs > slackMs)
        .find(({ due_at }) => (due_at ?? 0) < this.#time.steadyMs - slackMs);
      if (forgotten) {
        const facts = JSON.stringify({ steadyMs: this.#time.steadyMs, ...forgotten, ...endpoint });
        this.#report(
          `event ${forgotten.event} waits for endpoint ${endpoint.endpoint}, and nothing keeps it from being sent: ${facts}`,
        );
      }
    }
  }

  hasSucceeded(endpoint: number, event: number): boolean {
    return this.#pairOf(endpoint, event).hasSucceeded;
  }

  /** One in flight, in the order of due_at, within window and rate, one probe at a time. */
  #checkLane(lane: Lane, endpoint: EndpointRow, row: Row, name: string): void {
    const { inFlight } = lane;
    if (endpoint.closed !== 0) this.#report(`${name}: sent although it is closed`);
    const most = Math.min(lane.window, endpoint.max_in_flight ?? WINDOW_MAX);
    if (inFlight >= most) this.#report(`${name}: ${inFlight + 1} in flight, ${most} are allowed`);
    if (endpoint.ordered !== 0 && [...lane.pairs.values()].some(({ isOpen }) => isOpen)) {
      this.#report(`${name}: sent before the last one of the ordered endpoint is settled`);
    }
    if (lane.failures >= BREAKER_FAILURES) {
      if (inFlight > 0) this.#report(`${name}: ${inFlight + 1} in flight while the breaker is open`);
      if (this.#now - lane.lastProbeMs < 799)
        this.#report(`${name}: a probe ${this.#now - lane.lastProbeMs} ms after the last`);
      lane.lastProbeMs = this.#now;
    } else lane.lastProbeMs = Number.NEGATIVE_INFINITY;
    const rate = endpoint.rate_limit_per_second;
    const within = lane.sentMs.filter((atMs) => atMs > this.#now - 1000).length + 1;
    if (
      rate !== null &&
      this.#now - this.#ledger.touchedMs(endpoint.endpoint) > 1000 + this.#options.slackMs
    ) {
      if (within > Math.floor(rate * 1.005) + 1)
        this.#report(`${name}: ${within} within a second, ${rate} are allowed`);
    }
    const before = this.#waiting(endpoint.endpoint).find(
      (other) => isBefore(other, row) && this.#couldGo(lane, other),
    );
    if (before)
      this.#report(`${name}: sent before event ${before.event} (${before.due_at} before ${row.due_at})`);
  }

  #couldGo(lane: Lane, { event, due_at }: Row): boolean {
    const pair = lane.pair(event);
    const isDue = (due_at ?? 0) <= this.#time.steadyMs - this.#options.slackMs;
    return isDue && !pair.isOpen && this.#now - pair.touchedMs > this.#options.slackMs;
  }

  #checkPlaces(lane: Lane, pair: Pair): void {
    for (const [young, atMs] of this.#young) if (this.#now - atMs >= SLOW_AFTER_MS) this.#young.delete(young);
    if (lane.sentMs.length === 0 || lane.lastAnswerMs === 0) this.#young.set(pair, this.#now); // known as quick
    if (this.#inFlight >= SLOW_MAX + QUICK_MAX) this.#report(`${this.#inFlight + 1} attempts in flight`);
    if (this.#young.size > QUICK_MAX) this.#report(`${this.#young.size} quick attempts in flight`);
  }

  #checkTimes(lane: Lane, pair: Pair, endpoint: EndpointRow, row: Row, name: string): void {
    const steadyMs = this.#time.steadyMs;
    const early = (untilMs: number) => `${Math.round(untilMs - steadyMs)} ms early`;
    if (pair.notBeforeMs > steadyMs) this.#report(`${name}: ${early(pair.notBeforeMs)} for its backoff`);
    if (!this.#isSettledDown(endpoint.endpoint)) return;
    // The pause of an ordered endpoint ends with the delivery that it is for.
    if (endpoint.ordered === 0 && lane.notBeforeMs > steadyMs)
      this.#report(`${name}: ${early(lane.notBeforeMs)} for the Retry-After`);
    const isOld = this.#now - pair.touchedMs > this.#options.slackMs;
    if (isOld && (row.due_at ?? 0) > steadyMs + 1) this.#report(`${name}: ${early(row.due_at ?? 0)}`);
  }

  #settled({ endpoint, event, outcome, round }: SettleOp): void {
    const lane = this.#lane(endpoint);
    const pair = lane.pair(event);
    const row = this.#reads.row.get(event, endpoint);
    pair.isOpen = false;
    pair.touchedMs = this.#now;
    // Put back while it was in flight, it goes at once.
    if (row?.state === 0) pair.notBeforeMs = row.attempts_before === round ? pair.pendingMs : 0;
    // What was sent before it was healed says nothing about it.
    const isOfNow = pair.sentMs > this.#ledger.touchedMs(endpoint) + this.#options.slackMs;
    if (isOfNow) lane.notBeforeMs = Math.max(lane.notBeforeMs, lane.pendingMs);
    if (row?.state === 1) pair.isDelivered = true;
    if (outcome === "dead_letter" && row?.state === 2) {
      const tries = row.attempts - row.attempts_before;
      if (tries < this.#options.scheduleMs.length + 1)
        this.#report(`event ${event} to endpoint ${endpoint}: given up after ${tries} attempts of its round`);
    }
  }

  #putBack(endpoint: number, event: number): void {
    const pair = this.#pairOf(endpoint, event);
    Object.assign(pair, {
      notBeforeMs: 0,
      pendingMs: 0,
      isDelivered: false,
      isOver: false,
      touchedMs: this.#now,
    });
    // The pause of an ordered endpoint may have ended with that.
    const lane = this.#lane(endpoint);
    lane.movedMs = this.#now;
    // An ordered endpoint pauses as a whole: for an older event that is put back it gives up the pause for a younger one.
    const isOrdered = this.#reads.endpoint.get(endpoint)?.ordered !== 0;
    if (isOrdered) for (const other of lane.pairs.values()) other.notBeforeMs = 0;
  }

  #touch(endpoint: number): void {
    const lane = this.#lane(endpoint);
    Object.assign(lane, {
      failures: 0,
      notBeforeMs: 0,
      pendingMs: 0,
      window: Math.max(WINDOW_START, lane.window),
    });
    for (const { seq } of this.#ledger.events) this.#putBack(endpoint, seq);
  }

  /** Who was first in the line of an ordered endpoint may be gone, and its pause with it. */
  #lineMoved(): void {
    for (const { endpoint, ordered } of this.#reads.open.all()) {
      if (ordered === 0) continue;
      const lane = this.#lane(endpoint);
      lane.movedMs = this.#now;
      // Made ordered with several in flight, it is held for the longest of their retries, and for no other once that goes.
      const held = [...lane.pairs.values()].filter((pair) => pair.notBeforeMs > this.#time.steadyMs);
      if (held.length > 1) for (const pair of held) pair.notBeforeMs = 0;
    }
  }

  get #now(): number {
    return this.#time.nowMs;
  }

  #isSettledDown(endpoint: number): boolean {
    return this.#now - Math.max(this.#bootMs, this.#ledger.touchedMs(endpoint)) > this.#options.slackMs;
  }

  /** In no order. (There is no index for it: all deliveries would be read at each attempt.) */
  #waiting(endpoint: number): readonly Row[] {
    const rows: Row[] = [];
    for (const [event, pair] of this.#lane(endpoint).pairs) {
      const row = pair.isOver ? null : this.#reads.row.get(event, endpoint);
      if (row?.state === 0) rows.push(row);
      else pair.isOver = true;
    }
    return rows;
  }

  #pairOf(endpoint: number, event: number): Pair {
    return this.#lane(endpoint).pair(event);
  }

  #lane(endpoint: number): Lane {
    let lane = this.#lanes.get(endpoint);
    if (!lane) {
      lane = new Lane();
      this.#lanes.set(endpoint, lane);
    }
    return lane;
  }

  #report(problem: string): void {
    this.#options.report(problem);
  }
}

/** Of what stands by its age, the older one; else what has been due for longer. */
function isBefore(other: Row, row: Row): boolean {
  const [a, b] = [other.due_at ?? 0, row.due_at ?? 0];
  if (a < 0 && b < 0) return a < b || (a === b && other.event < row.event);
  return dueMs(a) < dueMs(b);
}

const ENDPOINT = `SELECT endpoint, disabled_at IS NOT NULL OR deleted_at IS NOT NULL OR aging = 1 AS closed, max_in_flight,
  rate_limit_per_second, ordered, failures, ${PAUSED_UNTIL_SQL} AS paused_until FROM endpoints`;
const OPEN = "disabled_at IS NULL AND deleted_at IS NULL AND aging = 0";

function prepareReads(db: Database) {
  const columns = "event, state, attempts, attempts_before, due_at";
  return {
    row: db.prepare<Row, [number, number]>(
      `SELECT ${columns} FROM deliveries WHERE event = +? AND endpoint = +?`,
    ),
    endpoint: db.prepare<EndpointRow, [number]>(`${ENDPOINT} WHERE endpoint = +?`),
    byUrl: db.prepare<EndpointRow, [string]>(`${ENDPOINT} WHERE url LIKE ?`),
    open: db.prepare<EndpointRow, []>(`${ENDPOINT} WHERE ${OPEN}`),
  };
}
