// Every read of events, deliveries and replays, held against the model.

import { expect } from "bun:test";
import { msOfSeq } from "../../src/base/id.ts";
import { deliveryId } from "../../src/store/sqlite/delivery_rows.ts";
import { inspectContents } from "../../src/store/sqlite/inspect.ts";
import { AdminReads } from "../../src/store/sqlite/read_admin.ts";
import { DeliveryReads } from "../../src/store/sqlite/read_deliveries.ts";
import { InboxReads } from "../../src/store/sqlite/read_inbox.ts";
import { statusNames, statusSql } from "../../src/store/sqlite/status.ts";
import type {
  Bite,
  Delivery,
  DeliveryKey,
  DeliveryQuery,
  InboxEvent,
  InboxQuery,
} from "../../src/store/store.ts";
import { deliveryStatuses, eventStatuses } from "../../src/wire/tiers.ts";
import { expectAlike, expectAllAlike, expectSame } from "./alike.ts";
import {
  eventStatus,
  type ModelDelivery,
  type ModelEvent,
  matches,
  nextAttemptMs,
  pausedUntil,
  statusOf,
} from "./model.ts";
import type { World } from "./world.ts";

export function checkReads(world: World): void {
  const { db, model } = world;
  const inbox = new InboxReads(db);
  const reads = new DeliveryReads(db);
  for (const org of model.orgs) {
    const events = model.eventsOf(org);
    checkInbox(inbox, org, events);
    checkDeliveries(world, reads, org);
    for (const event of events) {
      const told = inbox.event(org, event.id);
      expectAlike(told && eventOnly(told), eventTold(event));
      expectAllAlike(told?.deliveries ?? [], inOrder(event).map(deliveryTold));
      expectSame(inbox.event(org + 1000, event.id), null);
      checkEndpointsOf(world, reads, event);
    }
  }
  for (const event of model.tombstones) {
    expectSame(inbox.event(event.org, event.id), null);
    expectSame(reads.eventEndpoints(event.org, event.id), null);
    for (const endpoint of event.deliveries.keys())
      expectSame(reads.delivery(event.org, deliveryId(event.seq, endpoint)), null);
  }
  checkCounts(world);
  const admin = new AdminReads(db);
  for (const { id, endpoint, queued, done } of model.replays) {
    const told = admin.replay(endpoint.org, id);
    expectSame([told?.queued, told?.completedAtMs !== null], [queued, done]);
    expect(told?.progress).toBeGreaterThanOrEqual(0);
    expect(told?.progress).toBeLessThanOrEqual(1);
    expectSame(admin.replay(endpoint.org + 1000, id), null);
  }
}

/** What the index holds, also where a page would pass by a row whose event is gone, or whose organization is. */
function checkCounts({ db }: World): void {
  const rows = db.query<{ status: number; n: number }, []>(
    `SELECT ${statusSql("events.seq")} AS status, count(*) AS n FROM events WHERE type <> '' GROUP BY 1`,
  );
  const counts = { pending: 0, failed: 0, dead_letter: 0, delivered: 0, hidden: 0 };
  for (const { status, n } of rows.all()) counts[statusNames[status] ?? "hidden"] += n;
  expectSame(inspectContents(db, Date.now()).events, counts);
}

function inOrder({ deliveries }: ModelEvent): readonly ModelDelivery[] {
  return [...deliveries.values()].sort((a, b) => a.endpoint.endpoint - b.endpoint.endpoint);
}

/** When it was acknowledged is the store's to say; that it was is the model's. */
function eventOnly(told: InboxEvent) {
  return { ...told, acknowledged: told.acknowledgedAtMs !== null };
}

function eventTold(event: ModelEvent): Partial<ReturnType<typeof eventOnly>> {
  const deliveries = [...event.deliveries.values()];
  const results = deliveries.flatMap((one) => one.results);
  const last = results.sort((a, b) => b.startedAtMs - a.startedAtMs)[0];
  const next = deliveries.map(nextAttemptMs).filter((ms) => ms !== null);
  return {
    ...{ id: event.id, type: event.type, dedupId: event.dedupId, payload: event.payload },
    ...{ status: eventStatus(event), createdAtMs: msOfSeq(event.seq) },
    attempts: deliveries.reduce((sum, one) => sum + one.attempts, 0),
    ...{ responseStatus: last?.responseStatus ?? null, lastError: last?.error ?? null },
    nextAttemptAtMs: next.length === 0 ? null : Math.min(...next),
    acknowledged: event.acked,
  };
}

function idOf({ event, endpoint }: ModelDelivery): string {
  return deliveryId(event.seq, endpoint.endpoint);
}

function deliveryTold(delivery: ModelDelivery): Partial<Delivery> {
  const { event, endpoint, attempts, results } = delivery;
  const last = results.at(-1);
  return {
    id: idOf(delivery),
    ...{ eventId: event.id, eventType: event.type, endpointId: endpoint.id, url: endpoint.url },
    ...{ status: statusOf(delivery), attempts, createdAtMs: msOfSeq(event.seq) },
    ...{ responseStatus: last?.responseStatus ?? null, lastError: last?.error ?? null },
    nextAttemptAtMs: nextAttemptMs(delivery),
  };
}

function checkInbox(inbox: InboxReads, org: number, events: readonly ModelEvent[]): void {
  const middle = events[events.length >> 1];
  const middleMs = middle ? msOfSeq(middle.seq) : 0;
  const all = {
    org,
    statuses: [],
    type: null,
    sinceMs: null,
    untilMs: null,
    order: "asc",
    limit: 7,
  } as const;
  expectAllAlike(pages(inbox, all).map(eventOnly), events.map(eventTold));
  const queries: Omit<InboxQuery, "afterSeq">[] = [
    ...eventStatuses.map((status) => ({ ...all, statuses: [status], limit: 3 })),
    ...eventStatuses.map((status) => ({ ...all, statuses: [status], order: "desc" as const })),
    { ...all, statuses: ["pending", "delivered"], order: "desc", limit: 2 },
    { ...all, type: "order.*", limit: 2 },
    { ...all, type: "ping", order: "desc" },
    { ...all, sinceMs: middleMs },
    { ...all, untilMs: middleMs, statuses: ["failed", "dead_letter", "delivered"], order: "desc" },
  ];
  for (const query of queries) {
    const wanted = events.filter((event) => isWanted(event, query));
    if (query.order === "desc") wanted.reverse();
    expectSame([query, pages(inbox, query).map(({ id }) => id)], [query, wanted.map(({ id }) => id)]);
  }
}

function isWanted(event: ModelEvent, query: Omit<InboxQuery, "afterSeq">): boolean {
  const ms = msOfSeq(event.seq);
  return (
    (query.statuses.length === 0 || query.statuses.includes(eventStatus(event))) &&
    (query.type === null || matches([query.type], event.type)) &&
    ms >= (query.sinceMs ?? 0) &&
    ms < (query.untilMs ?? Number.POSITIVE_INFINITY)
  );
}

function pages(inbox: InboxReads, query: Omit<InboxQuery, "afterSeq">): readonly InboxEvent[] {
  const events: InboxEvent[] = [];
  let afterSeq: number | null = null;
  do {
    const { rows, next }: Page<InboxEvent, number> = wholePage(inbox.inbox({ ...query, afterSeq }));
    expectSame(rows.length <= query.limit, true);
    events.push(...rows);
    afterSeq = next;
  } while (afterSeq !== null);
  return events;
}

type Page<Row, Key> = Omit<Bite<Row, Key>, "isLast">;

/** All bites of a page, of which only the last one is marked so. */
function wholePage<Row, Key>(bites: Iterable<Bite<Row, Key>>): Page<Row, Key> {
  const all = [...bites];
  expectSame(
    all.map(({ isLast }) => isLast),
    all.map((_, i) => i === all.length - 1),
  );
  return { rows: all.flatMap(({ rows }) => rows), next: all.at(-1)?.next ?? null };
}

type Filter = Omit<DeliveryQuery, "org" | "limit" | "after">;

/** Every combination of filters; a walk in small pages gives each row once, newest event first. */
function checkDeliveries({ model }: World, reads: DeliveryReads, org: number): void {
  const events = model.eventsOf(org);
  const rows = [...events].reverse().flatMap(inOrder);
  const [oldest, middle] = [events[0], events[events.length >> 1]];
  const middleMs = middle ? msOfSeq(middle.seq) : 0;
  const endpoints = model.endpointsOf(org).map(({ id }) => id);
  const times = [
    { sinceMs: null, untilMs: null },
    { sinceMs: middleMs, untilMs: null },
    { sinceMs: middleMs - 3, untilMs: middleMs + 1 },
  ];
  for (const endpointId of [null, "01a1fb8e-1e2a-790f-b9b2-883286adc699", ...endpoints])
    for (const eventId of new Set([null, oldest?.id ?? null, middle?.id ?? null]))
      for (const status of [null, ...deliveryStatuses])
        for (const time of times) {
          const filter: Filter = { endpointId, eventId, status, ...time };
          const wanted = rows.filter((row) => isChosen(row, filter));
          const limit = 1 + (rows.length % 3);
          const ids = walk(reads, { org, ...filter, limit }).map(({ id }) => id);
          expectSame({ filter, ids }, { filter, ids: wanted.map(idOf) });
        }
  for (const row of rows) {
    const read = reads.delivery(org, idOf(row));
    expectAlike(read, deliveryTold(row));
    const attempts = read?.attemptsMade.map(({ attempt, startedAtMs }) => [attempt, startedAtMs]);
    expectSame(
      attempts,
      row.results.map(({ startedAtMs }, i) => [i + 1, startedAtMs]),
    );
    expectSame(reads.delivery(org + 1000, idOf(row)), null);
  }
}

function isChosen(row: ModelDelivery, { endpointId, eventId, status, sinceMs, untilMs }: Filter): boolean {
  const ms = msOfSeq(row.event.seq);
  return (
    (endpointId === null || row.endpoint.id === endpointId) &&
    (eventId === null || row.event.id === eventId) &&
    (status === null || statusOf(row) === status) &&
    ms >= (sinceMs ?? 0) &&
    ms < (untilMs ?? Number.POSITIVE_INFINITY)
  );
}

function walk(reads: DeliveryReads, query: Omit<DeliveryQuery, "after">): readonly Delivery[] {
  const rows: Delivery[] = [];
  let after: DeliveryKey | null = null;
  do {
    const page: Page<Delivery, DeliveryKey> = wholePage(reads.deliveries({ ...query, after }));
    expectSame(page.rows.length <= query.limit, true);
    rows.push(...page.rows);
    after = page.next;
  } while (after !== null);
  return rows;
}

/** How each endpoint stands to an event, and for which one an ordered endpoint makes it wait. */
function checkEndpointsOf({ model }: World, reads: DeliveryReads, event: ModelEvent): void {
  const told = reads.eventEndpoints(event.org, event.id) ?? [];
  const wanted = model
    .endpointsOf(event.org)
    .filter(({ deleted, endpoint }) => !deleted || event.deliveries.has(endpoint));
  expectSame(
    told.map(({ endpoint }) => endpoint.id),
    [...wanted].sort((a, b) => a.endpoint - b.endpoint).map(({ id }) => id),
  );
  for (const { endpoint, delivery, waitsForEventId } of told) {
    const one = wanted.find(({ id }) => id === endpoint.id);
    const row = event.deliveries.get(endpoint.endpoint);
    if (!one) throw new Error("told of an endpoint that is none of the model's");
    expectSame(delivery?.status, row && statusOf(row));
    expectAlike(endpoint, {
      ...{ failures: one.failures, failingSinceMs: one.failingSince, pausedUntilMs: pausedUntil(one) },
      ...{ eventTypes: one.patterns, ordered: one.ordered, url: one.url, disabledReason: one.disabled },
    });
    if (one.aging) continue;
    const first = one.ordered && row?.state === "waiting" ? model.waitingFor(one)[0] : undefined;
    expectSame(waitsForEventId, first && first.event !== event ? first.event.id : null);
  }
}
