// /api/events/batch: up to a thousand events in one request and one transaction. Surprise: an event that is refused is
// told in the answer and spoils no other; only what concerns all of them (rate limit, full disk) refuses the request.

import { Elysia } from "elysia";
import type { Judged } from "../../store/store.ts";
import {
  BATCH_BYTES_MAX,
  BATCH_EVENTS_MAX,
  BatchAnswer,
  BatchEnvelope,
  NewEvents,
} from "../../wire/batch.ts";
import { CLOUD_EVENTS_BATCH_MEDIA_TYPE, CloudEvents } from "../../wire/cloud_event.ts";
import { elementMemberTexts } from "../../wire/raw_json.ts";
import {
  bodyTooLarge,
  decodeText,
  mediaTypeOf,
  parseJson,
  readBytes,
  requireJson,
  validate,
} from "../body.ts";
import { type Answer, type Call, json, type Kit } from "../call.ts";
import { structuredInput } from "../cloud_events.ts";
import type { Deps } from "../deps.ts";
import { type EventInput, eventInput, requireNoIdempotencyKey } from "../event_input.ts";
import { operation } from "../operation.ts";
import { HttpProblem, invalid, type ProblemCode } from "../problem.ts";
import { batchTooMany, RATE_HEADERS, rateHeaders, withHeaders } from "../rate.ts";
import { hook } from "../route.ts";
import { refusedProblem, requireRoom } from "../stored.ts";

const send = operation({
  id: "sendEvents",
  tag: "Events",
  summary: "Send many events",
  description:
    "Stores up to 1,000 events in one transaction. `results` tells for each, in order, what became of it: a bad or " +
    "duplicate event does not spoil the rest, so look at `rejected`, also when the status is 202. Give each event a " +
    "`dedup_id` and a retry of the whole batch is safe; the header `Idempotency-Key` is refused here.\n\n" +
    "Every well-formed event counts against the limit of a minute, duplicates too. When they do not all fit, the answer " +
    "is 429 and nothing is stored: `fits_now` says how many would fit.",
  access: "publish",
  body: NewEvents,
  otherBodies: { [CLOUD_EVENTS_BATCH_MEDIA_TYPE]: CloudEvents },
  readsBody: true,
  answers: {
    202: {
      description: "What became of each event.",
      schema: BatchAnswer,
      headers: RATE_HEADERS,
    },
  },
  problems: ["body_too_large", "rate_limited", "overloaded", "storage_unavailable"],
});

/** An event of a batch, or why it is none. */
type Item = EventInput | HttpProblem;
type Result = { status: string; id?: string; code?: ProblemCode; detail?: string };

export function batchRoutes(kit: Kit, deps: Deps) {
  return new Elysia().post(
    "/api/events/batch",
    kit.handle(send, (call) => sendEvents(deps, call)),
    hook(send),
  );
}

async function sendEvents(deps: Deps, call: Call<typeof send>): Promise<Answer> {
  const { store, metrics, eventLimiter } = deps;
  const { request, principal, startedMs } = call;
  const { org, organization } = principal;
  const limit = organization.rateLimitPerMinute;
  let items: readonly Item[];
  try {
    requireRoom(store);
    items = await readItems(request, call.nowMs);
  } catch (error) {
    throw withHeaders(error, rateHeaders(eventLimiter.take(org, limit, 0, performance.now())));
  }
  const events = items.flatMap((item) => (item instanceof HttpProblem ? [] : [{ org, ...item }]));
  const takenMs = performance.now();
  const allowance = eventLimiter.take(org, limit, events.length, takenMs);
  const storingMs = performance.now();
  metrics.rateLimitCheck.observe(takenMs, storingMs);
  const headers = rateHeaders(allowance);
  if (!allowance.allowed) {
    metrics.rateLimitExceeded.inc();
    throw batchTooMany(allowance, headers, events.length);
  }
  const outcome = events.length === 0 ? [] : await store.ingestBatch(events);
  if ("kind" in outcome) throw refusedProblem(outcome, headers);
  const storedMs = performance.now();
  metrics.db.ingest.observe(storingMs, storedMs);
  metrics.ingestion.observe(startedMs, storedMs);
  return { ...json(202, told(items, outcome, deps.metrics)), headers };
}

async function readItems(request: Request, nowMs: number): Promise<readonly Item[]> {
  const { headers } = request;
  const isCloudEvents = mediaTypeOf(headers) === CLOUD_EVENTS_BATCH_MEDIA_TYPE;
  requireJson(headers, isCloudEvents ? CLOUD_EVENTS_BATCH_MEDIA_TYPE : "application/json");
  if (!isCloudEvents) requireNoIdempotencyKey(headers);
  const bytes = await readBytes(request, BATCH_BYTES_MAX, () => bodyTooLarge(BATCH_BYTES_MAX));
  const text = decodeText(bytes, headers);
  const value = parseJson(text, headers);
  const [values, list, member] = isCloudEvents
    ? ([cloudEventsOf(value), null, "data"] as const)
    : ([eventsOf(value), "events", "payload"] as const);
  const texts = elementMemberTexts(text, list, member) ?? [];
  const input = isCloudEvents ? structuredInput : eventInput;
  return values.map((one, at) => itemOf(() => input(one, texts[at] ?? null, nowMs)));
}

function itemOf(parse: () => EventInput): Item {
  try {
    return parse();
  } catch (error) {
    if (error instanceof HttpProblem) return error;
    throw error;
  }
}

/** The schema says what is wrong; a thousand events need not be copied by it when nothing is. */
function eventsOf(value: unknown): readonly unknown[] {
  if (typeof value === "object" && value !== null && Object.keys(value).length === 1 && "events" in value) {
    const { events } = value;
    if (Array.isArray(events) && events.length > 0 && events.length <= BATCH_EVENTS_MAX) return events;
  }
  return validate(BatchEnvelope, value).events;
}

/** Empty is a batch too, by the standard. */
function cloudEventsOf(value: unknown): readonly unknown[] {
  if (!Array.isArray(value)) throw invalid("", "It must be a list of CloudEvents.");
  if (value.length <= BATCH_EVENTS_MAX) return value;
  throw invalid("", `It must hold at most ${BATCH_EVENTS_MAX} events.`);
}

function told(items: readonly Item[], stored: readonly Judged[], metrics: Deps["metrics"]) {
  let next = 0;
  const results = items.map((item): Result => {
    if (item instanceof HttpProblem) {
      metrics.onValidationError(item.problem);
      return { status: "rejected", code: item.problem, detail: item.detail };
    }
    return storedResult(stored[next++]);
  });
  const count = (status: string) => results.filter((result) => result.status === status).length;
  const [accepted, duplicates, rejected] = [count("accepted"), count("duplicate"), count("rejected")];
  metrics.eventsIngested.inc(accepted);
  metrics.eventsDeduplicated.inc(duplicates);
  return { accepted, duplicates, rejected, results };
}

function storedResult(outcome: Judged | undefined): Result {
  if (outcome === undefined) throw new Error("the store answers each event of a batch");
  if (outcome.kind === "accepted") return { status: "accepted", id: outcome.id };
  const code = "duplicate_event";
  return { status: "duplicate", id: outcome.eventId, code, detail: DUPLICATE_DETAIL };
}

const DUPLICATE_DETAIL =
  "An event with this dedup_id was accepted within the last 24 hours, or before in this batch: id is its id.";
