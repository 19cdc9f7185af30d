// Replays: sending again what was accepted in a range of time, as a job that goes on after a restart.

import { Elysia } from "elysia";
import { rfc3339 } from "../../base/time.ts";
import type { Replay as StoredReplay } from "../../store/store.ts";
import { NewReplay, Replay } from "../../wire/replay.ts";
import { type Answer, type Call, json, type Kit } from "../call.ts";
import type { Deps } from "../deps.ts";
import { ENDPOINT_ID, noSuchEndpoint } from "../endpoint_told.ts";
import { operation } from "../operation.ts";
import { HttpProblem } from "../problem.ts";
import { hook } from "../route.ts";
import { stored, timed } from "../stored.ts";
import { timeOrNull } from "../time_told.ts";

const DEFAULT_STATUSES = ["dead_letter"] as const;

const create = operation({
  id: "replayEvents",
  tag: "Endpoints",
  summary: "Send events again",
  description:
    "Puts deliveries of a range of time back into the queue, each with its `webhook-id` and a new schedule of " +
    "retries: those that became dead letters, unless `status` names others; or, with `missing_only`, events that " +
    "this endpoint never got because it was made or changed after them. It is a job: 202 means that it is on disk, and " +
    "that it goes on after a restart. To a disabled endpoint it is all sent when that is enabled.",
  access: "manage",
  params: ENDPOINT_ID,
  body: NewReplay,
  answers: { 202: { description: "The replay has begun.", schema: Replay } },
  problems: ["not_found", "overloaded", "storage_unavailable"],
});

const show = operation({
  id: "getReplay",
  tag: "Endpoints",
  summary: "Show how far a replay is",
  description: "How much of it is in the queue. What became of each event, the list of deliveries tells.",
  access: "manage",
  params: { id: ["The replay's id.", "01a1fd3a-0340-7000-8f4e-3b8d1c6a9e55"] },
  answers: { 200: { description: "The replay.", schema: Replay } },
  problems: ["not_found"],
});

export function replayRoutes(kit: Kit, deps: Deps) {
  return new Elysia()
    .post(
      "/api/endpoints/:id/replay",
      kit.handle(create, (call) => createReplay(deps, call)),
      hook(create),
    )
    .get(
      "/api/replays/:id",
      kit.handle(show, (call) => showReplay(deps, call)),
      hook(show),
    );
}

async function createReplay(deps: Deps, call: Call<typeof create>): Promise<Answer> {
  const { store, metrics, log } = deps;
  const { params, principal, body, requestId } = call;
  const { org, organization } = principal;
  const { missing_only: missingOnly } = body;
  const input = {
    sinceMs: body.since,
    untilMs: body.until ?? null,
    statuses: missingOnly ? [] : (body.status ?? DEFAULT_STATUSES),
    eventTypes: body.event_types ?? null,
    missingOnly,
  };
  const make = () => store.createReplay(org, params.id ?? "", input);
  const replay = stored(await timed(metrics.db.webhook, make));
  if (replay === "not_found") throw noSuchEndpoint();
  const ids = { organization_id: organization.id, endpoint_id: replay.endpointId, replay_id: replay.id };
  log.info({ request_id: requestId, ...ids }, "replay begun");
  return json(202, replayTold(replay));
}

function showReplay({ store, metrics }: Deps, { params, principal }: Call<typeof show>): Answer {
  const replay = timed(metrics.db.webhook, () => store.replay(principal.org, params.id ?? ""));
  if (replay === null) throw new HttpProblem("not_found", { detail: "There is no such replay." });
  return json(200, replayTold(replay));
}

function replayTold(replay: StoredReplay) {
  return {
    id: replay.id,
    endpoint_id: replay.endpointId,
    status: replay.completedAtMs === null ? "running" : "completed",
    since: rfc3339(replay.sinceMs),
    until: rfc3339(replay.untilMs),
    statuses: replay.statuses,
    event_types: replay.eventTypes,
    missing_only: replay.missingOnly,
    queued: replay.queued,
    progress: replay.progress,
    created_at: rfc3339(replay.createdAtMs),
    updated_at: rfc3339(replay.updatedAtMs),
    completed_at: timeOrNull(replay.completedAtMs),
  };
}
