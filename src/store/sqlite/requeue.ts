// Puts deliveries back into the queue: one, or by a replay. A new round begins, with the schedule from its start; the
// attempts made before stay told.

import { firstSeqOfMs } from "../../base/id.ts";
import { type TypeMatcher, typeMatcher } from "../../webhook/event_types.ts";
import type { DeliveryStatus } from "../../wire/tiers.ts";
import type { Replay, ReplayInput } from "../store.ts";
import type { Context } from "./context.ts";
import { ageKey } from "./due.ts";
import { EventWalk } from "./event_walk.ts";
import { prepareLetGo } from "./hold.ts";
import { prepareIndexStatus } from "./index_status.ts";
import { type ReplayRow, replayOfRow } from "./rows.ts";
import { deliveryStatus, status } from "./status.ts";

type DeliveryRow = { state: number; attempts: number; attempts_before: number };

function prepareRequeue(ctx: Context) {
  const indexStatus = prepareIndexStatus(ctx);
  const update = ctx.db.prepare<void, [number, number, number, number, number]>(
    `UPDATE deliveries SET state = 0, attempts_before = attempts, due_at = ?, queued = ?, updated_at = ?
     WHERE event = +? AND endpoint = +?`,
  );
  const insert = ctx.db.prepare<void, [number, number, number, number, number]>(
    `INSERT INTO deliveries (due_at, queued, updated_at, event, endpoint, state, attempts, attempts_before)
     VALUES (?, ?, ?, ?, ?, 0, 0, 0)`,
  );
  return (org: number, event: number, endpoint: number, isNew: boolean): void => {
    const isSealed = event <= ctx.sealed.due;
    (isNew ? insert : update).run(ageKey(event), isSealed ? 1 : 0, ctx.nowMs, event, endpoint);
    (isSealed ? ctx.effects.waiting : ctx.effects.due).push(event, endpoint);
    indexStatus(org, event);
    ctx.frontiers.lower(org, event);
    ctx.effects.readable.push(org);
  };
}

export function prepareRetryDelivery(ctx: Context) {
  const requeue = prepareRequeue(ctx);
  const letGo = prepareLetGo(ctx);
  const find = ctx.db.prepare<{ deleted_at: number | null }, [number, number, number]>(
    `SELECT p.deleted_at FROM deliveries d JOIN endpoints p ON p.endpoint = d.endpoint
     WHERE d.event = +? AND d.endpoint = +? AND p.org = +?`,
  );
  type Op = { org: number; event: number; endpoint: number };
  return ({ org, event, endpoint }: Op): "queued" | "not_found" | "endpoint_deleted" => {
    const row = find.get(event, endpoint, org);
    if (!row) return "not_found";
    if (row.deleted_at !== null) return "endpoint_deleted";
    requeue(org, event, endpoint, false);
    // What stands behind it waits for it: its own hold ends, and one for something younger.
    letGo(endpoint, event, Number.MAX_SAFE_INTEGER);
    return "queued";
  };
}

export type CreatedReplay = { readonly replay: number; readonly told: Replay };

export function prepareCreateReplay(ctx: Context) {
  const endpointOf = ctx.db.prepare<{ endpoint: number; event_types: string }, [number, string]>(
    "SELECT endpoint, event_types FROM endpoints WHERE org = +? AND id = +? AND deleted_at IS NULL",
  );
  const lastEvent = ctx.db.prepare<{ seq: number | null }, []>("SELECT max(seq) AS seq FROM events");
  const insert = ctx.db.prepare<{ replay: number }, (string | number)[]>(
    `INSERT INTO replays (id, org, endpoint, statuses, event_types, missing_only, first_event, last_event, done_to,
       queued, created_at, updated_at, until_at)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?7 - 1, 0, ?9, ?9, ?10) RETURNING replay`,
  );
  const read = ctx.db.prepare<ReplayRow, [number]>(REPLAY_SQL);
  type Op = { org: number; id: string; endpointId: string } & ReplayInput;
  return (op: Op): CreatedReplay | "not_found" => {
    const endpoint = endpointOf.get(op.org, op.endpointId);
    if (!endpoint) return "not_found";
    // Ids may run ahead of the clock: "up to now" is the last event that there is.
    const newest = lastEvent.get()?.seq ?? 0;
    const last = op.untilMs === null ? newest : Math.min(newest, firstSeqOfMs(op.untilMs) - 1);
    const everyType = op.missingOnly ? endpoint.event_types : '["*"]';
    const types = op.eventTypes === null ? everyType : JSON.stringify(op.eventTypes);
    const row = insert.get(
      ...[op.id, op.org, endpoint.endpoint, JSON.stringify(op.statuses), types, op.missingOnly ? 1 : 0],
      ...[Math.max(0, firstSeqOfMs(op.sinceMs)), last, ctx.nowMs, op.untilMs ?? ctx.nowMs],
    );
    const told = row && read.get(row.replay);
    if (!told) throw new Error("an insert returned no row");
    return { replay: told.replay, told: replayOfRow(told) };
  };
}

/** A replay with the id of its endpoint. */
const REPLAY_SQL =
  "SELECT r.*, p.id AS endpoint_id FROM replays r JOIN endpoints p ON p.endpoint = r.endpoint WHERE r.replay = +?";

type Job = ReplayRow & { deleted_at: number | null };
type Wanted = {
  readonly matches: TypeMatcher;
  readonly statuses: readonly DeliveryStatus[];
  readonly missing: boolean;
};

/** One step of a replay: looks at up to `looksMax` events. Its place is kept in the same transaction, so a crash
 * neither skips an event nor queues it twice. */
export function prepareReplayStep(ctx: Context) {
  const requeue = prepareRequeue(ctx);
  const candidates = prepareCandidates(ctx);
  const find = ctx.db.prepare<Job, [number]>(
    `SELECT r.*, p.id AS endpoint_id, p.deleted_at FROM replays r JOIN endpoints p ON p.endpoint = r.endpoint
     WHERE r.replay = +? AND r.completed_at IS NULL`,
  );
  const typeOf = ctx.db.prepare<{ type: string }, [number]>("SELECT type FROM events WHERE seq = +?");
  const deliveryOf = ctx.db.prepare<DeliveryRow, [number, number]>(
    "SELECT state, attempts, attempts_before FROM deliveries WHERE event = +? AND endpoint = +?",
  );
  const save = ctx.db.prepare<void, [number, number, number, number | null, number]>(
    "UPDATE replays SET done_to = ?, queued = queued + ?, updated_at = ?, completed_at = ? WHERE replay = +?",
  );
  const isWanted = (event: number, row: DeliveryRow | null, { matches, statuses, missing }: Wanted) => {
    if (!matches(typeOf.get(event)?.type ?? "")) return false;
    return missing ? row === null : row !== null && statuses.includes(deliveryStatus(row));
  };

  return ({ replay, looksMax }: { replay: number; looksMax: number }): { done: boolean } => {
    const job = find.get(replay);
    if (!job) return { done: true };
    const wanted: Wanted = {
      matches: typeMatcher(JSON.parse(job.event_types) as string[]),
      statuses: JSON.parse(job.statuses) as DeliveryStatus[],
      missing: job.missing_only !== 0,
    };
    const events = job.deleted_at === null ? candidates(job, wanted, looksMax) : [];
    let queued = 0;
    for (const event of events) {
      const row = deliveryOf.get(event, job.endpoint);
      if (!isWanted(event, row, wanted)) continue;
      requeue(job.org, event, job.endpoint, row === null);
      queued++;
    }
    const done = events.length < looksMax;
    const doneTo = done ? job.last_event : (events.at(-1) ?? job.last_event);
    save.run(doneTo, queued, ctx.nowMs, done ? ctx.nowMs : null, replay);
    return { done };
  };
}

/** The next events to look at: for dead letters alone, an index names them; else every event of the organization. */
function prepareCandidates(ctx: Context) {
  const dead = ctx.db.prepare<{ event: number }, [number, number, number, number]>(
    "SELECT event FROM deliveries WHERE endpoint = +? AND state = 2 AND event > ? AND event <= ? ORDER BY event LIMIT +?",
  );
  const walk = new EventWalk(ctx.db);
  return (job: Job, { statuses, missing }: Wanted, limit: number): readonly number[] => {
    if (!missing && statuses.length === 1 && statuses[0] === "dead_letter") {
      return dead.all(job.endpoint, job.done_to, job.last_event, limit).map((row) => row.event);
    }
    const range = { org: job.org, low: job.done_to, high: job.last_event + 1 };
    return walk.seqs({ ...range, order: "ASC", statuses: Object.values(status) }, limit);
  };
}
