// What leases promise, from outside: no event in two live leases, each one counted right, nothing handed out that was
// acknowledged. (What exactly a lease hands out: test/store/leases.test.ts.)

import { LEASED_TIMES_MAX, type LeasedSeqs } from "../../src/store/sqlite/leases.ts";
import { isFailure, type Op, type OpResult } from "../../src/store/sqlite/op.ts";
import type { AckResult } from "../../src/store/store.ts";
import type { Ledger } from "./ledger.ts";
import type { VirtualTime } from "./virtual_time.ts";

type LeaseOp = Extract<Op, { op: "lease" }>;
type Holding = { lease: string | null; times: number; isOver: boolean };

export class LeaseRules {
  leased = 0;
  /** Leases by their id: until when, of the wall clock. */
  readonly untilMs = new Map<string, number>();
  /** What was released for later is back then, of the wall clock. */
  pausedUntilMs = 0;
  readonly #time: VirtualTime;
  readonly #ledger: Ledger;
  readonly #report: (problem: string) => void;
  /** Of each lease, whose it is. */
  readonly #orgs = new Map<string, number>();
  readonly #events = new Map<number, Holding>();

  constructor(time: VirtualTime, ledger: Ledger, report: (problem: string) => void) {
    this.#time = time;
    this.#ledger = ledger;
    this.#report = report;
  }

  committed(op: Op, result: OpResult): void {
    if (isFailure(result) || result === "not_found") return;
    if (op.op === "lease") this.#leased(op, result as LeasedSeqs);
    else if (op.op === "ack") this.#over((result as AckResult).acknowledged.map(({ id }) => id));
    else if (op.op === "ackLease") this.#over(op.ids ?? this.#idsOf(op.leaseId), op.leaseId);
    else if (op.op === "releaseLease") this.#released(op);
    else if (op.op === "extendLease") this.untilMs.set(op.leaseId, this.#time.wallMs + op.leaseMs);
    // A new round of a delivery makes an event wait again; acknowledged it stays.
  }

  #leased({ id, org }: LeaseOp, { seqs, times, untilMs }: LeasedSeqs): void {
    // What ran out is noticed now: it stays over, also when the clock is set back.
    for (const [lease, until] of this.untilMs) {
      if (this.#orgs.get(lease) === org && until <= this.#time.wallMs) this.untilMs.set(lease, 0);
    }
    this.#orgs.set(id, org);
    seqs.forEach((seq, i) => {
      this.leased++;
      const event = this.#event(seq);
      const until = event.lease === null ? 0 : (this.untilMs.get(event.lease) ?? 0);
      if (event.lease !== null && until > this.#time.wallMs)
        this.#report(`event ${seq} is in two live leases`);
      if (event.isOver) this.#report(`event ${seq} was leased after it was acknowledged`);
      event.times++;
      if (times[i] !== event.times)
        this.#report(`event ${seq}: lease_count ${times[i]}, leased ${event.times}`);
      if (event.times > LEASED_TIMES_MAX) this.#report(`event ${seq} was leased ${event.times} times`);
      event.lease = id;
    });
    if (seqs.some((seq, i) => i > 0 && seq <= (seqs[i - 1] ?? 0))) this.#report("a lease is not in order");
    this.untilMs.set(id, untilMs);
  }

  /** Acknowledged: by this lease only what it still has. */
  #over(ids: readonly string[], lease: string | null = null): void {
    for (const seq of this.#seqsOf(ids)) {
      const event = this.#event(seq);
      if (lease !== null && event.lease !== lease) continue;
      Object.assign(event, { isOver: true, lease: null });
    }
  }

  #released(op: Extract<Op, { op: "releaseLease" }>): void {
    for (const seq of this.#seqsOf(op.ids ?? this.#idsOf(op.leaseId))) {
      const event = this.#event(seq);
      if (event.lease !== op.leaseId) continue;
      event.lease = op.delayMs === 0 ? null : op.pauseId;
    }
    // What was free before is not paused: then there is no such lease, and the pause binds nobody.
    if (op.delayMs > 0) this.untilMs.set(op.pauseId, 0);
    this.pausedUntilMs = Math.max(this.pausedUntilMs, this.#time.wallMs + op.delayMs);
  }

  #idsOf(lease: string): readonly string[] {
    return this.#ledger.events
      .filter(({ seq }) => this.#events.get(seq)?.lease === lease)
      .map(({ id }) => id);
  }

  #seqsOf(ids: readonly string[]): readonly number[] {
    return this.#ledger.events.filter(({ id }) => ids.includes(id)).map(({ seq }) => seq);
  }

  #event(seq: number): Holding {
    let event = this.#events.get(seq);
    if (!event) {
      event = { lease: null, times: 0, isOver: false };
      this.#events.set(seq, event);
    }
    return event;
  }
}
