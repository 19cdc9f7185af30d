// What the store should hold, as plain objects: the state machine of src/store/store.ts told a second time, without
// SQL, indexes, marks and steps. It does not know of seals and restarts, because nobody should see them.

import { ageKey, dueMs } from "../../src/store/sqlite/due.ts";
import type { SettleOp } from "../../src/store/sqlite/op.ts";
import type { DeliveryStatus, DisabledReason, EventStatus } from "../../src/wire/tiers.ts";

export type ModelEndpoint = {
  readonly endpoint: number;
  readonly id: string;
  readonly org: number;
  url: string;
  patterns: readonly string[];
  ordered: boolean;
  disabled: DisabledReason | null;
  deleted: boolean;
  aging: boolean;
  failures: number;
  failingSince: number | null;
  pausedUntil: number | null;
  heldFor: number | null;
  heldUntil: number | null;
};

export type ModelDelivery = {
  readonly event: ModelEvent;
  readonly endpoint: ModelEndpoint;
  state: "waiting" | "delivered" | "dead_letter" | "cancelled";
  /** `before`: those of earlier rounds. */
  attempts: number;
  before: number;
  /** As on disk; null unless it waits. */
  due: number | null;
  /** The number of the job that is to put it in the order of age; 0: none. */
  ageJob: number;
  readonly results: SettleOp[];
};

export type ModelEvent = {
  readonly id: string;
  readonly seq: number;
  readonly org: number;
  readonly type: string;
  readonly dedupId: string | null;
  readonly payload: string;
  acked: boolean;
  /** By endpoint. */
  readonly deliveries: Map<number, ModelDelivery>;
};

export type ModelReplay = {
  readonly id: string;
  readonly replay: number;
  readonly endpoint: ModelEndpoint;
  readonly statuses: readonly DeliveryStatus[];
  readonly types: readonly string[];
  readonly missing: boolean;
  readonly last: number;
  doneTo: number;
  queued: number;
  done: boolean;
};

export function matches(patterns: readonly string[], type: string): boolean {
  return patterns.some((pattern) =>
    pattern.endsWith("*") ? type.startsWith(pattern.slice(0, -1)) : pattern === type,
  );
}

export function statusOf({ state, attempts, before }: ModelDelivery): DeliveryStatus {
  if (state !== "waiting") return state;
  return attempts > before ? "failed" : "pending";
}

export function eventStatus({ acked, deliveries }: ModelEvent): EventStatus {
  const statuses = new Set([...deliveries.values()].map(statusOf));
  if (acked) return "delivered";
  const order = ["failed", "pending", "dead_letter", "delivered"] as const;
  return order.find((status) => statuses.has(status)) ?? "pending";
}

export function waitsSomewhere({ deliveries }: ModelEvent): boolean {
  return [...deliveries.values()].some(({ state }) => state === "waiting");
}

/** Nothing is sent before, as people are told it. */
export function pausedUntil({ pausedUntil, heldUntil }: ModelEndpoint): number | null {
  return Math.max(pausedUntil ?? 0, heldUntil ?? 0) || null;
}

/** When people are told that the next attempt is. */
export function nextAttemptMs({ due, endpoint }: ModelDelivery): number | null {
  return due === null ? null : Math.max(dueMs(due), pausedUntil(endpoint) ?? 0);
}

export class Model {
  readonly orgs: number[] = [];
  /** Oldest first, without the deleted and the erased. */
  events: ModelEvent[] = [];
  /** Events that were deleted, whose dedup ids still hold. */
  tombstones: ModelEvent[] = [];
  endpoints: ModelEndpoint[] = [];
  replays: ModelReplay[] = [];

  eventsOf(org: number): readonly ModelEvent[] {
    return this.events.filter((event) => event.org === org);
  }

  endpointsOf(org: number): readonly ModelEndpoint[] {
    return this.endpoints.filter((endpoint) => endpoint.org === org);
  }

  /** Everything that waits for an endpoint, the oldest event first. */
  waitingFor(endpoint: ModelEndpoint): readonly ModelDelivery[] {
    return this.events
      .map((event) => event.deliveries.get(endpoint.endpoint))
      .filter((delivery) => delivery?.state === "waiting") as ModelDelivery[];
  }

  deliveryOf(event: number, endpoint: number): ModelDelivery | undefined {
    return this.events.find(({ seq }) => seq === event)?.deliveries.get(endpoint);
  }

  addEndpoint(
    row: { endpoint: number; id: string; org: number; url: string },
    ordered: boolean,
  ): ModelEndpoint {
    const endpoint = {
      ...{ endpoint: row.endpoint, id: row.id, org: row.org, url: row.url, ordered, patterns: ["*"] },
      ...{ disabled: null, deleted: false, aging: false, failures: 0 },
      ...{ failingSince: null, pausedUntil: null, heldFor: null, heldUntil: null },
    };
    this.endpoints.push(endpoint);
    return endpoint;
  }

  /** The event that holds this dedup id. */
  firstOf(org: number, dedupId: string | null): ModelEvent | undefined {
    return [...this.events, ...this.tombstones].find(
      (event) => event.org === org && dedupId !== null && event.dedupId === dedupId,
    );
  }

  addEvent(event: Omit<ModelEvent, "acked" | "deliveries">): void {
    const added: ModelEvent = { ...event, acked: false, deliveries: new Map() };
    this.events.push(added);
    for (const endpoint of this.endpointsOf(event.org)) {
      if (!endpoint.deleted && matches(endpoint.patterns, event.type)) this.queue(added, endpoint);
    }
  }

  /** A new delivery, or a new round of one. */
  queue(event: ModelEvent, endpoint: ModelEndpoint): void {
    const before = event.deliveries.get(endpoint.endpoint);
    const fresh = { state: "waiting" as const, due: ageKey(event.seq), ageJob: 0 };
    if (before) Object.assign(before, { ...fresh, before: before.attempts });
    else event.deliveries.set(endpoint.endpoint, newDelivery(event, endpoint, fresh.due));
  }

  retry(delivery: ModelDelivery): void {
    this.queue(delivery.event, delivery.endpoint);
    letGo(delivery.endpoint, delivery.event.seq, Number.POSITIVE_INFINITY);
  }

  ack(event: ModelEvent): void {
    event.acked = true;
    this.#cancelAll(event);
  }

  deleteEvent(event: ModelEvent): void {
    this.#cancelAll(event);
    this.events = this.events.filter((one) => one !== event);
    if (event.dedupId !== null) this.tombstones.push(event);
  }

  /** Retention: of what is before `beforeSeq`. */
  prune(beforeSeq: number): number {
    const isOver = (event: ModelEvent) =>
      event.seq < beforeSeq &&
      !waitsSomewhere(event) &&
      ["delivered", "dead_letter"].includes(eventStatus(event));
    const before = this.events.length + this.tombstones.length;
    this.events = this.events.filter((event) => !isOver(event));
    this.tombstones = this.tombstones.filter(({ seq }) => seq >= beforeSeq);
    return before - this.events.length - this.tombstones.length;
  }

  erase(org: number): void {
    this.orgs.splice(this.orgs.indexOf(org), 1);
    this.events = this.events.filter((event) => event.org !== org);
    this.tombstones = this.tombstones.filter((event) => event.org !== org);
    this.replays = this.replays.filter(({ endpoint }) => endpoint.org !== org);
    this.endpoints = this.endpoints.filter((endpoint) => endpoint.org !== org);
  }

  heal(endpoint: ModelEndpoint): void {
    Object.assign(endpoint, { failures: 0, failingSince: null, pausedUntil: null });
    Object.assign(endpoint, { heldFor: null, heldUntil: null });
  }

  settle(op: SettleOp): void {
    const endpoint = this.endpoints.find((one) => one.endpoint === op.endpoint);
    if (endpoint) settleHealth(endpoint, op);
    const delivery = this.deliveryOf(op.event, op.endpoint);
    if (!delivery) return;
    const isOfOldRound = delivery.state === "waiting" && delivery.before !== op.round;
    settleDelivery(delivery, op);
    if (!endpoint?.ordered) return;
    if (delivery.state !== "waiting") letGo(endpoint, op.event, op.event);
    else if (op.outcome === "retry" && !isOfOldRound) hold(endpoint, op);
  }

  /** One step of a replay: the next `looks` events that it has to look at. */
  replayStep(job: ModelReplay, looks: number): void {
    const deadOnly = !job.missing && job.statuses.join() === "dead_letter";
    const seen = this.eventsOf(job.endpoint.org)
      .filter(({ seq }) => seq > job.doneTo && seq <= job.last && !job.endpoint.deleted)
      .filter((event) => !deadOnly || event.deliveries.get(job.endpoint.endpoint)?.state === "dead_letter")
      .slice(0, looks);
    for (const event of seen) {
      const delivery = event.deliveries.get(job.endpoint.endpoint);
      const wanted = delivery ? !job.missing && job.statuses.includes(statusOf(delivery)) : job.missing;
      if (!wanted || !matches(job.types, event.type)) continue;
      this.queue(event, job.endpoint);
      job.queued++;
    }
    job.done = seen.length < looks;
    job.doneTo = job.done ? job.last : (seen.at(-1)?.seq ?? job.last);
  }

  #cancelAll(event: ModelEvent): void {
    for (const delivery of event.deliveries.values()) {
      if (delivery.state !== "waiting") continue;
      Object.assign(delivery, { state: "cancelled", due: null });
      if (delivery.attempts > delivery.before) letGo(delivery.endpoint, event.seq, event.seq);
    }
  }
}

/** An ordered endpoint waits for the retry of its first delivery. */
function hold(endpoint: ModelEndpoint, { event, dueAtMs }: SettleOp): void {
  if ((dueAtMs ?? 0) > (endpoint.heldUntil ?? 0)) {
    Object.assign(endpoint, { heldFor: event, heldUntil: dueAtMs });
  }
}

/** What was held for one of these, which are gone or are to go now, goes on; what is held for another does not. */
function letGo(endpoint: ModelEndpoint, older: number, younger: number): void {
  const { heldFor } = endpoint;
  if (heldFor !== null && heldFor >= older && heldFor <= younger) {
    Object.assign(endpoint, { heldFor: null, heldUntil: null });
  }
}

function newDelivery(event: ModelEvent, endpoint: ModelEndpoint, due: number): ModelDelivery {
  return { event, endpoint, state: "waiting", attempts: 0, before: 0, due, ageJob: 0, results: [] };
}

function settleHealth(endpoint: ModelEndpoint, { health, hopeless, outcome }: SettleOp): void {
  if (health) {
    const [failures, failingSince, pausedUntil] = health;
    if (hopeless && endpoint.failingSince === failingSince && failingSince !== null) {
      endpoint.disabled ??= "failing";
    }
    // The second failure of a row whose first one is forgotten is from before somebody enabled the endpoint.
    const isStale = failures > 1 && endpoint.failingSince !== failingSince;
    if (!isStale) Object.assign(endpoint, { failures, failingSince, pausedUntil });
  }
  if (outcome === "gone") endpoint.disabled ??= "gone";
}

function settleDelivery(delivery: ModelDelivery, op: SettleOp): void {
  const { endpoint, event } = delivery;
  const isOfOldRound = delivery.state === "waiting" && delivery.before !== op.round;
  delivery.attempts++;
  delivery.results.push(op);
  if (op.outcome === "delivered") Object.assign(delivery, { state: "delivered", due: null });
  if (delivery.state !== "waiting") return;
  if (isOfOldRound) delivery.before++;
  else if (op.outcome === "dead_letter") Object.assign(delivery, { state: "dead_letter", due: null });
  else if (endpoint.ordered) delivery.due = ageKey(event.seq);
  else if (op.dueAtMs !== null) Object.assign(delivery, { due: op.dueAtMs, ageJob: 0 });
}
