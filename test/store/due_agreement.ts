// What the delivery thread reads and hears, held against the model: each waiting delivery is there exactly once, in the
// order of its due_at, and one that follows the notices alone would find it.

import { dueMs } from "../../src/store/sqlite/due.ts";
import { BacklogReads } from "../../src/store/sqlite/read_backlog.ts";
import type { DueReads, Waiting } from "../../src/store/sqlite/read_due.ts";
import { expectAlike, expectSame } from "./alike.ts";
import type { ModelDelivery, ModelEndpoint } from "./model.ts";
import type { World } from "./world.ts";

const FOREVER_MS = Number.MAX_SAFE_INTEGER;
const FIRST: Waiting = { due_at: -FOREVER_MS, event: 0 };

export function checkDue(world: World): void {
  const reads = world.dueReads();
  const sealed = reads.sealed();
  const unsealed = reads.unsealed(sealed);
  for (const endpoint of world.model.endpoints) {
    const own = unsealed.filter((row) => row.endpoint === endpoint.endpoint);
    const indexed = walk(reads, endpoint.endpoint);
    const waiting = world.model.waitingFor(endpoint);
    const [below, above] = [
      waiting.filter(isSealed(sealed)),
      waiting.filter((row) => !isSealed(sealed)(row)),
    ];
    expectSame(indexed, inLine(below));
    expectSame(
      own.map(({ event, due_at }) => ({ event, due_at })),
      above.map(place),
    );
    expectSame(reads.firstDueAfter(endpoint.endpoint, -FOREVER_MS), indexed[0] ?? null);
    checkTarget(world, reads, endpoint);
    for (const row of waiting) checkWaiting(world, reads, row);
  }
  if (!world.erasing) checkBacklog(world);
}

const isSealed = (sealed: number) => (row: ModelDelivery) => row.event.seq <= sealed;

function place({ event, due }: ModelDelivery): Waiting {
  return { event: event.seq, due_at: due ?? 0 };
}

function inLine(rows: readonly ModelDelivery[]): readonly Waiting[] {
  return rows.map(place).sort((a, b) => a.due_at - b.due_at || a.event - b.event);
}

/** All sealed deliveries of an endpoint, in small batches as a lane reads them. */
function walk(reads: DueReads, endpoint: number): readonly Waiting[] {
  const rows: Waiting[] = [];
  for (let from = FIRST; ; ) {
    const batch = reads.due(endpoint, from, FOREVER_MS, 3);
    rows.push(...batch);
    const last = batch.at(-1);
    if (!last || batch.length < 3) return rows;
    from = { ...last, event: last.event + 1 };
  }
}

function checkTarget(world: World, reads: DueReads, endpoint: ModelEndpoint): void {
  const open = endpoint.disabled === null && !endpoint.deleted && !endpoint.aging;
  const { failures, failingSince: failingSinceMs, pausedUntil: pausedUntilMs } = endpoint;
  const { id, url, ordered, heldUntil: heldUntilMs } = endpoint;
  const health = { failures, failingSinceMs, pausedUntilMs };
  if (!endpoint.deleted)
    expectAlike(reads.target(endpoint.endpoint), { id, url, ordered, open, health, heldUntilMs });
  expectSame(
    reads.openEndpoints().includes(endpoint.endpoint),
    endpoint.disabled === null && !endpoint.deleted,
  );
  expectSame(world.follower.isOpen(endpoint.endpoint), open);
  const line = inLine(world.model.waitingFor(endpoint)).filter(({ event }) => event <= reads.sealed());
  const median = line[line.length >> 1];
  if (!median) return;
  const { due_at: nowMs } = median;
  expectSame(reads.firstDueAfter(endpoint.endpoint, nowMs), line.find((row) => row.due_at > nowMs) ?? null);
  expectSame(
    reads.due(endpoint.endpoint, median, nowMs, 100),
    line.filter((row) => row.due_at === nowMs && row.event >= median.event),
  );
}

function checkWaiting({ follower }: World, reads: DueReads, row: ModelDelivery): void {
  const { event, endpoint, attempts, before } = row;
  const { id, type, payload } = event;
  expectSame(reads.dueAt(event.seq, endpoint.endpoint), row.due);
  expectSame(reads.parcel(event.seq, endpoint.endpoint), {
    ...{ id, type, payload, attempts, attempts_before: before },
  });
  if (!follower.isOpen(endpoint.endpoint)) return;
  expectSame(
    { ...place(row), found: follower.finds(endpoint.endpoint, place(row)) },
    { ...place(row), found: true },
  );
}

function checkBacklog({ db, model }: World): void {
  const open = model.endpoints.filter(({ disabled, deleted }) => disabled === null && !deleted);
  const dues = open.flatMap((endpoint) => model.waitingFor(endpoint)).map(({ due }) => due ?? 0);
  const oldestMs = Math.min(...dues.map(dueMs));
  for (const nowMs of [dueMs(dues[dues.length >> 1] ?? 0), Date.now() + 1_000_000]) {
    expectSame(new BacklogReads(db).read(nowMs), {
      due: dues.filter((due) => due <= nowMs).length,
      oldestDueMs: oldestMs <= nowMs ? oldestMs : null,
    });
  }
}
