// Deliveries: one event on its way to one endpoint, and the attempts that were made.

import { z } from "zod";
import { id, idInput, listEnd, listQuery, time, timeInput, timeOrNull } from "./text.ts";
import { deliveryStatuses } from "./tiers.ts";

/** Members that an event and its deliveries tell alike. */
export const attempted = {
  attempts: z.int().meta({ description: "Delivery attempts so far.", examples: [0] }),
  response_status: z
    .int()
    .nullable()
    .meta({
      description: "HTTP status of the latest attempt; null before it, or when it got no answer.",
      examples: [null],
    }),
  last_error: z
    .string()
    .nullable()
    .meta({ description: "What went wrong in the latest attempt; null when nothing did.", examples: [null] }),
};
export const nextAttemptAt = timeOrNull("When the next attempt is due; null when none is.");

export const deliveryStatus = z.enum(deliveryStatuses, `It must be one of ${deliveryStatuses.join(", ")}.`);
const STATUS_TEXT =
  "`pending`: to be sent, and nothing was tried yet. `failed`: an attempt failed and another is due. `delivered`: " +
  "answered with 2xx. `dead_letter`: all attempts failed. `cancelled`: the event was acknowledged, or the endpoint " +
  "deleted, before it was delivered.";

const told = {
  id: id("The delivery's id."),
  event_id: id("The event's id: the `webhook-id` of every attempt."),
  event_type: z.string().meta({ description: "The event's type.", examples: ["order.created"] }),
  endpoint_id: id("The endpoint it goes to; it may have been deleted since."),
  webhook_url: z
    .string()
    .meta({ description: "The endpoint's URL, as it is now.", examples: ["https://example.com/hook"] }),
  status: deliveryStatus.meta({ description: STATUS_TEXT, examples: ["delivered"] }),
  ...attempted,
  next_attempt_at: nextAttemptAt,
  created_at: time("When its event was accepted."),
  updated_at: time("When it changed last."),
};

export const Delivery = z
  .object(told)
  .meta({ id: "Delivery", description: "One event on its way to one endpoint." });

const Attempt = z
  .object({
    attempt: z
      .int()
      .meta({ description: "From 1, as in the header `x-attempt` that was sent.", examples: [1] }),
    started_at: time("When it began."),
    duration_ms: z
      .int()
      .meta({ description: "From its beginning to the end of the answer.", examples: [87] }),
    response_status: z
      .int()
      .nullable()
      .meta({ description: "HTTP status of the answer; null when none came.", examples: [500] }),
    error_kind: z
      .string()
      .nullable()
      .meta({
        description:
          "Why it failed, a stable word: `http_status`, `redirect`, `gone`, `timeout`, `dns_failed`, " +
          "`connection_refused`, `connection_reset`, `connection_failed`, `tls_failed`, `blocked_address`, " +
          "`bad_response`, `invalid_request`. Null for a success.",
        examples: ["http_status"],
      }),
    error: z
      .string()
      .nullable()
      .meta({ description: "The same as a sentence.", examples: ["The endpoint answered 500."] }),
    response_excerpt: z
      .string()
      .nullable()
      .meta({
        description: "The first 1 KB of the answer's body; null when none came.",
        examples: ["Internal Server Error"],
      }),
  })
  .meta({ id: "Attempt", description: "One attempt to deliver." });

export const DeliveryWithAttempts = z
  .object({
    ...told,
    attempts_made: z
      .array(Attempt)
      .meta({ description: "Every attempt, the first one first; of more than 100 the last 100." }),
  })
  .meta({ id: "DeliveryWithAttempts", description: "A delivery and every attempt." });

export const DeliveryQuery = z.strictObject({
  endpoint_id: idInput("Only deliveries to this endpoint, which may have been deleted.").optional(),
  status: deliveryStatus.optional().meta({ description: "Only deliveries of this status." }),
  event_id: idInput("Only deliveries of this event.").optional(),
  since: timeInput("Only of events accepted at this time or later.").optional(),
  until: timeInput("Only of events accepted before this time.").optional(),
  ...listQuery,
});

export const DeliveryPage = z.object({ deliveries: z.array(DeliveryWithAttempts), ...listEnd }).meta({
  id: "DeliveryPage",
  description: "A page of deliveries, those of the newest event first. It ends early before it passes 8 MiB.",
});
