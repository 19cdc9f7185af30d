// /api/events: where everything begins, and the hot path: what one POST costs is what the server can take. Surprise:
// the body is looked at twice. `JSON.parse` finds out whether it is valid and what its type is; the payload that is
// stored is cut out of the text itself (raw_json.ts), so that it stays as it was written.

import { Elysia } from "elysia";
import { assert } from "../../base/assert.ts";
import { rfc3339 } from "../../base/time.ts";
import type { Ingested, NewEvent as StoredEvent } from "../../store/store.ts";
import {
  AcceptedEvent,
  EventWithDeliveries,
  isDedupId,
  isNewEvent,
  NewEvent,
  PAYLOAD_BYTES_MAX,
} from "../../wire/event.ts";
import { memberText } from "../../wire/raw_json.ts";
import { decodeText, parseJson, readBytes, requireJson, validate } from "../body.ts";
import { type Answer, type Call, type Kit, noContent } from "../call.ts";
import type { Deps } from "../deps.ts";
import { eventJson } from "../event_json.ts";
import type { Allowance } from "../limit.ts";
import { operation } from "../operation.ts";
import { HttpProblem, invalid } from "../problem.ts";
import { hook } from "../route.ts";
import { refusedProblem, stored, timed } from "../stored.ts";

const RATE_HEADERS = ["X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"] as const;
/** Room for type, dedup_id and white space beside the largest payload. */
const BODY_BYTES_MAX = 2 * PAYLOAD_BYTES_MAX;
const IDEMPOTENCY_KEY_DETAIL =
  "The header Idempotency-Key must have 1 to 255 characters of ASCII, or send dedup_id.";

const EVENT_ID = { id: ["The event's id.", "01a1fd3a-0340-7000-8f4e-3b8d1c6a9e52"] } as const;

const send = operation({
  id: "sendEvent",
  tag: "Events",
  summary: "Send an event",
  description:
    "Stores one event, with its dedup record and its deliveries. **202 means that it is on disk**: it is in the inbox " +
    "at once, and its webhook is tried within milliseconds. Delivery is at least once.\n\n" +
    "To try again safely after a lost answer, send a `dedup_id`: the second one is refused with 409, which carries " +
    "the id of the first.",
  access: "publish",
  headers: { "Idempotency-Key": ["Stands in for `dedup_id`, when the body has none.", "order-1042-created"] },
  body: NewEvent,
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

export function eventRoutes(kit: Kit, deps: Deps) {
  const { store, metrics, eventLimiter } = deps;

  return new Elysia()
    .post(
      "/api/events",
      kit.handle(send, async ({ request, principal, startedMs }) => {
        const { org, organization } = principal;
        const limit = organization.rateLimitPerMinute;
        let event: EventText;
        try {
          requireJson(request.headers);
          event = parseEvent(await readBytes(request, BODY_BYTES_MAX, payloadTooLarge), request.headers);
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
        if (!allowance.allowed) throw tooMany(allowance, headers);
        const outcome = await store.ingest({ org, ...event });
        const storedMs = performance.now();
        metrics.db.ingest.observe(storingMs, storedMs);
        if (outcome.kind !== "accepted") throw notStored(outcome, event.dedupId, headers);
        metrics.eventsIngested.inc();
        metrics.ingestion.observe(startedMs, storedMs);
        return accepted(outcome, headers);
      }),
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
    );

  function tooMany({ limit, retryAfterSeconds }: Allowance, headers: Readonly<Record<string, string>>) {
    metrics.rateLimitExceeded.inc();
    const detail = `This organization may send ${limit} events a minute. Try again in ${retryAfterSeconds} seconds.`;
    return new HttpProblem("rate_limited", {
      detail,
      headers: { ...headers, "retry-after": String(retryAfterSeconds) },
    });
  }

  function notStored(
    outcome: Exclude<Ingested, { kind: "accepted" }>,
    dedupId: string | null,
    headers: Readonly<Record<string, string>>,
  ): HttpProblem {
    if (outcome.kind !== "duplicate") return refusedProblem(outcome, headers);
    metrics.eventsDeduplicated.inc();
    const extra = { event_id: outcome.eventId, dedup_id: dedupId };
    return new HttpProblem("duplicate_event", { extra, headers });
  }
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

type EventText = Omit<StoredEvent, "org">;

function parseEvent(bytes: Uint8Array, headers: Headers): EventText {
  const text = decodeText(bytes, headers);
  const value = parseJson(text, headers);
  // The schema says what is wrong; it refuses what isNewEvent refuses.
  const event = isNewEvent(value) ? value : validate(NewEvent, value);
  const payload = memberText(text, "payload");
  assert(payload !== null, "a validated event has a payload");
  const isLarge = bytes.length > PAYLOAD_BYTES_MAX && Buffer.byteLength(payload) > PAYLOAD_BYTES_MAX;
  if (isLarge) throw payloadTooLarge();
  return { type: event.type, dedupId: event.dedup_id ?? idempotencyKey(headers), payload };
}

function idempotencyKey(headers: Headers): string | null {
  const key = headers.get("idempotency-key");
  if (key === null) return null;
  // Headers come as Latin-1: what is not ASCII may have been meant as UTF-8, and would be another id than in a body.
  if (isDedupId(key) && /^[\x20-\x7e]+$/.test(key)) return key;
  throw invalid("/dedup_id", IDEMPOTENCY_KEY_DETAIL);
}

function noSuchEvent(): HttpProblem {
  return new HttpProblem("not_found", { detail: "There is no such event." });
}

function payloadTooLarge(): HttpProblem {
  return new HttpProblem("payload_too_large", { extra: { limit_bytes: PAYLOAD_BYTES_MAX } });
}

function rateHeaders({ limit, remaining, resetSeconds }: Allowance): Record<string, string> {
  return {
    "x-ratelimit-limit": String(limit),
    "x-ratelimit-remaining": String(remaining),
    "x-ratelimit-reset": String(resetSeconds),
  };
}

function withHeaders(error: unknown, headers: Readonly<Record<string, string>>): unknown {
  if (!(error instanceof HttpProblem)) return error;
  const { problem, detail, extra } = error;
  return new HttpProblem(problem, { detail, extra, headers: { ...headers, ...error.headers } });
}
