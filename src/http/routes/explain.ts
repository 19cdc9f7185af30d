// GET /api/events/:id/explain: where an event goes, and why, in words. The decision is in src/webhook/explain.ts.

import { Elysia } from "elysia";
import type { EventEndpoint, EventWithDeliveries } from "../../store/store.ts";
import { explain, summarize } from "../../webhook/explain.ts";
import { Explanation } from "../../wire/explain.ts";
import { type Answer, type Call, json, type Kit } from "../call.ts";
import type { Deps } from "../deps.ts";
import { operation } from "../operation.ts";
import { HttpProblem } from "../problem.ts";
import { hook } from "../route.ts";
import { timed } from "../stored.ts";
import { timeOrNull } from "../time_told.ts";

const show = operation({
  id: "explainEvent",
  tag: "Events",
  summary: "Explain where an event goes, and why",
  description:
    "For each endpoint of the organization: whether the event is meant for it, what became of it there, and what " +
    "happens next and why. `reason` is a stable word for programs, `detail` a sentence for people. What each attempt " +
    "came to is in `GET /api/deliveries/:id`.",
  access: "consume",
  params: { id: ["The event's id.", "01a1fd3a-0340-7000-8f4e-3b8d1c6a9e52"] },
  answers: { 200: { description: "The explanation.", schema: Explanation } },
  problems: ["not_found"],
});

export function explainRoutes(kit: Kit, deps: Deps) {
  return new Elysia().get(
    "/api/events/:id/explain",
    kit.handle(show, (call) => explainEvent(deps, call)),
    hook(show),
  );
}

function explainEvent(deps: Deps, { params, principal, nowMs }: Call<typeof show>): Answer {
  const { store, metrics } = deps;
  const { org } = principal;
  const id = params.id ?? "";
  const event = timed(metrics.db.event, () => store.event(org, id));
  const found = timed(metrics.db.event, () => store.eventEndpoints(org, id));
  if (event === null || found === null) {
    throw new HttpProblem("not_found", { detail: "There is no such event." });
  }
  const endpoints = found.map((one) => endpointExplained(deps, event, one, nowMs));
  const told: Explanation = {
    event_id: event.id,
    type: event.type,
    status: event.status,
    detail: summarize(event, endpoints),
    endpoints,
  };
  return json(200, told);
}

function endpointExplained({ config }: Deps, event: EventWithDeliveries, one: EventEndpoint, nowMs: number) {
  const { endpoint, delivery } = one;
  const deliveryDisabled = config.disableWebhookDelivery;
  const { reason, detail, nextAttemptAtMs } = explain({ nowMs, deliveryDisabled, event, ...one });
  return {
    endpoint_id: endpoint.id,
    webhook_url: endpoint.url,
    matched: delivery !== null,
    reason,
    detail,
    status: delivery?.status ?? null,
    attempts: delivery?.attempts ?? 0,
    next_attempt_at: timeOrNull(nextAttemptAtMs),
  };
}
