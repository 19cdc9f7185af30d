// /api/deliveries: what became of each event at each endpoint, and sending one again.

import { Elysia } from "elysia";
import type { DeliveryKey, DeliveryWithAttempts as StoredDelivery } from "../../store/store.ts";
import { Delivery, DeliveryPage, DeliveryQuery, DeliveryWithAttempts } from "../../wire/delivery.ts";
import { type Answer, type Call, json, type Kit } from "../call.ts";
import { decodeCursor, encodeCursor } from "../cursor.ts";
import { attemptTold, deliveryTold } from "../delivery_told.ts";
import type { Deps } from "../deps.ts";
import { operation } from "../operation.ts";
import { pagePieces } from "../pieces.ts";
import { HttpProblem } from "../problem.ts";
import { hook } from "../route.ts";
import { stored, timed, timedSteps } from "../stored.ts";

const DELIVERY_ID = { id: ["The delivery's id.", "01a1fd3a-0340-7000-8f4e-3b8d1c6a9e54"] } as const;

const list = operation({
  id: "listDeliveries",
  tag: "Deliveries",
  summary: "List deliveries and their attempts",
  description:
    "Those of the newest event first, each with every attempt. A walk by `cursor` sees each delivery that was there at its start exactly " +
    "once. Keep the other parameters as they were; only `limit` may change on the way. A page may be short, or empty, " +
    "with `has_more` true.",
  access: "manage",
  query: DeliveryQuery,
  answers: { 200: { description: "A page of deliveries.", schema: DeliveryPage } },
});

const show = operation({
  id: "getDelivery",
  tag: "Deliveries",
  summary: "Show a delivery and every attempt",
  description: "When each attempt began, how long it took, and what the endpoint answered.",
  access: "manage",
  params: DELIVERY_ID,
  answers: { 200: { description: "The delivery.", schema: DeliveryWithAttempts } },
  problems: ["not_found"],
});

const retry = operation({
  id: "retryDelivery",
  tag: "Deliveries",
  summary: "Send a delivery again",
  description:
    "Whatever its status is, also `delivered`: it is due now, with the same `webhook-id`, and the schedule of retries " +
    "begins anew. To a disabled endpoint it is sent when that is enabled.",
  access: "manage",
  params: DELIVERY_ID,
  answers: { 202: { description: "It is in the queue.", schema: Delivery } },
  problems: ["not_found", "endpoint_deleted", "overloaded", "storage_unavailable"],
});

export function deliveryRoutes(kit: Kit, deps: Deps) {
  return new Elysia()
    .get(
      "/api/deliveries",
      kit.handle(list, (call) => listDeliveries(kit, deps, call)),
      hook(list),
    )
    .get(
      "/api/deliveries/:id",
      kit.handle(show, (call) => showDelivery(deps, call)),
      hook(show),
    )
    .post(
      "/api/deliveries/:id/retry",
      kit.handle(retry, (call) => retryDelivery(deps, call)),
      hook(retry),
    );
}

function listDeliveries(
  kit: Kit,
  { store, metrics, largeAnswers }: Deps,
  call: Call<typeof list>,
): Answer | Promise<Answer> {
  const { query, principal } = call;
  const { org } = principal;
  const { limit, cursor, status = null, since: sinceMs = null, until: untilMs = null } = query;
  const { endpoint_id: endpointId = null, event_id: eventId = null } = query;
  const walk = JSON.stringify(["deliveries", org, endpointId, status, eventId, sinceMs, untilMs]);
  const key = decodeCursor(walk, cursor);
  const after = key === null ? null : { event: key.row, endpoint: key.within };
  const filters = { endpointId, eventId, status, sinceMs, untilMs };
  const bites = timedSteps(metrics.db.event, store.deliveries({ org, ...filters, limit, after }));
  const cursorAfter = ({ event, endpoint }: DeliveryKey) => encodeCursor(walk, event, endpoint);
  const told = (delivery: StoredDelivery) => JSON.stringify(wholeTold(delivery));
  const pieces = pagePieces("deliveries", bites, told, cursorAfter);
  return largeAnswers.answer(kit, call, pieces);
}

function showDelivery({ store, metrics }: Deps, { params, principal }: Call<typeof show>): Answer {
  const delivery = timed(metrics.db.event, () => store.delivery(principal.org, params.id ?? ""));
  if (delivery === null) throw noSuchDelivery();
  return json(200, wholeTold(delivery));
}

function wholeTold(delivery: StoredDelivery) {
  return { ...deliveryTold(delivery), attempts_made: delivery.attemptsMade.map(attemptTold) };
}

async function retryDelivery(deps: Deps, call: Call<typeof retry>): Promise<Answer> {
  const { store, metrics, log } = deps;
  const { params, principal, requestId } = call;
  const { org, organization } = principal;
  const id = params.id ?? "";
  const outcome = stored(await timed(metrics.db.event, () => store.retryDelivery(org, id)));
  if (outcome === "not_found") throw noSuchDelivery();
  if (outcome === "endpoint_deleted") throw new HttpProblem("endpoint_deleted");
  const ids = { organization_id: organization.id, event_id: outcome.eventId, delivery_id: id };
  log.info({ request_id: requestId, ...ids }, "delivery to be sent again");
  return json(202, deliveryTold(outcome));
}

function noSuchDelivery(): HttpProblem {
  return new HttpProblem("not_found", { detail: "There is no such delivery." });
}
