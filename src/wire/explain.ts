// Why an event went where it went, or did not: one answer for each endpoint.

import { z } from "zod";
import { id, timeOrNull } from "./text.ts";
import { deliveryStatuses, eventStatuses } from "./tiers.ts";

/** Stable words, each with what it means. They are decided in src/webhook/explain.ts. */
const reasons = {
  delivered: "the endpoint took it",
  acknowledged: "a consumer acknowledged the event before it was delivered",
  endpoint_deleted: "the endpoint was deleted before it was delivered",
  type_not_matched: "no pattern in `event_types` matches the event's type",
  created_later: "the endpoint was made after the event was accepted",
  changed_later: "the patterns match now, but did not when the event was accepted",
  attempts_exhausted: "all attempts failed",
  endpoint_disabled: "held until the endpoint is enabled",
  delivery_disabled: "held: the operator switched all delivery off",
  waits_for_earlier: "the endpoint is ordered, and an earlier event is to be delivered before",
  breaker_open: "many attempts in a row failed, so one probe at a time is sent",
  paused: "the endpoint asked to wait (Retry-After)",
  retry_scheduled: "the last attempt failed and the next one is not due yet",
  due_now: "an attempt is due or under way",
} as const;
export const explainReasons = Object.keys(reasons) as readonly (keyof typeof reasons)[];

const REASON_TEXT = Object.entries(reasons)
  .map(([reason, meaning]) => `\`${reason}\`: ${meaning}.`)
  .join(" ");

const EndpointExplanation = z
  .object({
    endpoint_id: id("The endpoint."),
    webhook_url: z
      .string()
      .meta({ description: "The endpoint's URL.", examples: ["https://example.com/hook"] }),
    matched: z.boolean().meta({
      description:
        "Whether the event is meant for this endpoint: because its patterns matched when the event was accepted, or " +
        "because of a replay. Only then is there a delivery.",
      examples: [true],
    }),
    reason: z
      .enum(explainReasons)
      .meta({ description: `A stable word. ${REASON_TEXT}`, examples: ["retry_scheduled"] }),
    detail: z.string().meta({
      description: "The same as a sentence, with numbers and times, and what can be done.",
      examples: ["Attempt 2 is due at 2026-11-21T08:31:00.000Z. The last one failed: 500."],
    }),
    status: z
      .enum(deliveryStatuses)
      .nullable()
      .meta({ description: "The delivery's status; null when it did not match.", examples: ["failed"] }),
    attempts: z.int().meta({ description: "Attempts so far.", examples: [1] }),
    next_attempt_at: timeOrNull(
      "The earliest time of the next attempt; null when none is to come, or when something has to happen before.",
    ),
  })
  .meta({ id: "EndpointExplanation", description: "How one endpoint stands to the event." });

export const Explanation = z
  .object({
    event_id: id("The event's id."),
    type: z.string().meta({ description: "The event's type.", examples: ["order.created"] }),
    status: z.enum(eventStatuses).meta({ description: "The event's status.", examples: ["failed"] }),
    detail: z.string().meta({
      description: "The whole in a sentence or two; also why an event is meant for nobody.",
      examples: ["It is meant for 1 of 2 endpoints: waiting for 1."],
    }),
    endpoints: z.array(EndpointExplanation).meta({
      description: "Every endpoint of the organization, and the deleted ones that it was meant for.",
    }),
  })
  .meta({ id: "Explanation", description: "Where an event goes, and why." });
export type Explanation = z.output<typeof Explanation>;
