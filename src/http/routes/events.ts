// /api/events: where everything begins, and the hot path: what one POST costs is what the server can take.

import { Elysia } from "elysia";
import { rfc3339 } from "../../base/time.ts";
import type { Ingested } from "../../store/store.ts";
import { CLOUD_EVENT_MEDIA_TYPE, CloudEvent } from "../../wire/cloud_event.ts";
import { DeletedEvents, DeleteEvents } from "../../wire/delete_events.ts";
import { AcceptedEvent, EventWithDeliveries, NewEvent, PAYLOAD_BYTES_MAX } from "../../wire/event.ts";
import { readBytes, requireJson } from "../body.ts";
import { type Answer, type Call, json, type Kit, noContent } from "../call.ts";
import { cloudEventMode, parseCloudEvent } from "../cloud_events.ts";
import type { Deps } from "../deps.ts";
import { type EventInput, parseEvent, payloadTooLarge } from "../event_input.ts";
import { eventJson } from "../event_json.ts";
import { operation } from "../operation.ts";
import { HttpProblem } from "../problem.ts";
import { RATE_HEADERS, rateHeaders, tooMany, withHeaders } from "../rate.ts";
import { hook } from "../route.ts";
import { refusedProblem, requireRoom, stored, timed } from "../stored.ts";

/** Room for type, dedup_id and white space beside the largest payload. */
const BODY_BYTES_MAX = 2 * PAYLOAD_BYTES_MAX;

const EVENT_ID = { id: ["The event's id.", "01a1fd3a-0340-7000-8f4e-3b8d1c6a9e52"] } as const;

const send = operation({
  id: "sendEvent",
  tag: "Events",
  summary: "Send an event",
  description:
    "Stores one event, with its dedup record and its deliveries. **202 means that it is on disk**: it is in the inbox " +
    "at once, and its webhook is tried within milliseconds. Delivery is at least once.\n\n" +
    "To try again safely after a lost answer, send a `dedup_id`: the second one is refused with 409, which carries " +
    "the id of the first.\n\n" +
    "**CloudEvents 1.0** are taken as well, structured (`application/cloudevents+json`) and binary (`ce-` headers, the " +
    "body is the data: JSON as it is, `text/*` as a string, all else as a string of Base64). `type` is the type, " +
    "`source` and `id` make the dedup id, `data` is the payload; other attributes are accepted and not stored.",
  access: "publish",
  headers: {
    "Idempotency-Key": [
      "Stands in for `dedup_id`, when the body has none.",
      "order-1042-created",
      "^[\\x20-\\x7e]{1,255}$",
    ],
    "ce-specversion": ["Of a CloudEvent in binary mode, with `ce-id`, `ce-source` and `ce-type`.", "1.0"],
    "ce-id": ["Of a CloudEvent in binary mode.", "A234-1234-1234"],
    "ce-source": ["Of a CloudEvent in binary mode.", "https://example.com/orders"],
    "ce-type": ["Of a CloudEvent in binary mode.", "com.example.order.created"],
  },
  body: NewEvent,
  otherBodies: { [CLOUD_EVENT_MEDIA_TYPE]: CloudEvent },
  readsBody: true,
  answers: {
    202: { description: "The event is stored.", schema: AcceptedEvent, headers: RATE_HEADERS },
  },
  problems: ["duplicate_event", "payload_too_large", "rate_limited", "overloaded", "storage_unavailable"],
});

const show = operation({
  id: "getEvent",
  tag: "Events",
  summary: "Show an event and its deliveries",
  description: "Right after the 202 it is there.",
  access: "consume",
  params: EVENT_ID,
  answers: { 200: { description: "The event.", schema: EventWithDeliveries } },
  problems: ["not_found"],
});

const remove = operation({
  id: "deleteEvent",
  tag: "Events",
  summary: "Delete an event",
  description:
    "It is gone from the inbox and from every list, and its deliveries that wait are cancelled; an attempt that is " +
    "under way may still arrive. Its `dedup_id` stays taken for the rest of the 24 hours.",
  access: "manage",
  params: EVENT_ID,
  answers: { 204: { description: "It is deleted." } },
  problems: ["not_found", "overloaded", "storage_unavailable"],
});

const removeMany = operation({
  id: "deleteEvents",
  tag: "Events",
  summary: "Delete many events",
  description: "Up to 1,000 at once, each as by `DELETE /api/events/:id`. Ids that are not found are told.",
  access: "manage",
  body: DeleteEvents,
  answers: { 200: { description: "The counts.", schema: DeletedEvents } },
  problems: ["overloaded", "storage_unavailable"],
});

export function eventRoutes(kit: Kit, deps: Deps) {
  const { store, metrics } = deps;

  return new Elysia()
    .post(
      "/api/events",
      kit.handle(send, (call) => sendEvent(deps, call)),
      hook(send),
    )
    .get(
      "/api/events/:id",
      kit.handle(show, ({ params, principal: { org } }) => {
        const event = timed(metrics.db.event, () => store.event(org, params.id ?? ""));
        if (event === null) throw noSuchEvent();
        return { status: 200, body: eventJson(event) };
      }),
      hook(show),
    )
    .delete(
      "/api/events/:id",
      kit.handle(remove, (call) => deleteEvent(deps, call)),
      hook(remove),
    )
    .post(
      "/api/events/delete",
      kit.handle(removeMany, (call) => deleteEvents(deps, call)),
      hook(removeMany),
    );
}

async function sendEvent(deps: Deps, call: Call<typeof send>): Promise<Answer> {
  const { store, metrics, eventLimiter } = deps;
  const { org, organization } = call.principal;
  const limit = organization.rateLimitPerMinute;
  let event: EventInput;
  try {
    requireRoom(store);
    event = await readEvent(call.request, call.nowMs);
  } catch (error) {
    // A refusal carries the rate limit's headers too. Now, not when the request came: a slow body must not set
    // the limiter's clock back.
    throw withHeaders(error, rateHeaders(eventLimiter.take(org, limit, 0, performance.now())));
  }
  const takenMs = performance.now();
  const allowance = eventLimiter.take(org, limit, 1, takenMs);
  const storingMs = performance.now();
  metrics.rateLimitCheck.observe(takenMs, storingMs);
  const headers = rateHeaders(allowance);
  if (!allowance.allowed) {
    metrics.rateLimitExceeded.inc();
    throw tooMany(allowance, headers);
  }
  const outcome = await store.ingest({ org, ...event });
  const storedMs = performance.now();
  metrics.db.ingest.observe(storingMs, storedMs);
  if (outcome.kind !== "accepted") throw notStored(deps, outcome, event.dedupId, headers);
  metrics.eventsIngested.inc();
  metrics.ingestion.observe(call.startedMs, storedMs);
  return accepted(outcome, headers);
}

async function readEvent(request: Request, nowMs: number): Promise<EventInput> {
  const { headers } = request;
  const mode = cloudEventMode(headers);
  if (mode === null) requireJson(headers);
  const bytes = await readBytes(request, BODY_BYTES_MAX, payloadTooLarge);
  return mode === null ? parseEvent(bytes, headers, nowMs) : parseCloudEvent(mode, bytes, headers);
}

function notStored(
  { metrics }: Deps,
  outcome: Exclude<Ingested, { kind: "accepted" }>,
  dedupId: string | null,
  headers: Readonly<Record<string, string>>,
): HttpProblem {
  if (outcome.kind !== "duplicate") return refusedProblem(outcome, headers);
  metrics.eventsDeduplicated.inc();
  const extra = { event_id: outcome.eventId, dedup_id: dedupId };
  return new HttpProblem("duplicate_event", { extra, headers });
}

async function deleteEvent({ store, metrics, log }: Deps, call: Call<typeof remove>): Promise<Answer> {
  const { params, principal, requestId } = call;
  const { org, organization } = principal;
  const id = params.id ?? "";
  const outcome = stored(await timed(metrics.db.event, () => store.deleteEvent(org, id)));
  if (outcome === "not_found") throw noSuchEvent();
  log.info({ request_id: requestId, organization_id: organization.id, event_id: id }, "event deleted");
  return noContent;
}

async function deleteEvents({ store, metrics, log }: Deps, call: Call<typeof removeMany>): Promise<Answer> {
  const { body, principal, requestId } = call;
  const { org, organization } = principal;
  const ids = [...new Set(body.event_ids)];
  const { deleted, notFound } = stored(await timed(metrics.db.event, () => store.deleteEvents(org, ids)));
  log.info({ request_id: requestId, organization_id: organization.id, deleted }, "events deleted");
  return json(200, { deleted, not_found: notFound });
}

/** The latest time that was written out: at 50 000 events a second 50 share each millisecond. */
let latest = { ms: 0, text: rfc3339(0) };

function accepted(
  { id, createdAtMs }: Extract<Ingested, { kind: "accepted" }>,
  headers: Readonly<Record<string, string>>,
): Answer {
  if (latest.ms !== createdAtMs) latest = { ms: createdAtMs, text: rfc3339(createdAtMs) };
  return {
    status: 202,
    body: `{"id":"${id}","status":"accepted","created_at":"${latest.text}"}`,
    headers,
  };
}

function noSuchEvent(): HttpProblem {
  return new HttpProblem("not_found", { detail: "There is no such event." });
}
