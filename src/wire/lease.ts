// Leases: events that are handed to one consumer for a time, and what it does with them.

import { z } from "zod";
import { InboxEvent } from "./event.ts";
import { eventIds, time, timeOrNull, wholeNumber } from "./text.ts";
import { TYPE_PATTERN } from "./type_pattern.ts";

export const WAIT_SECONDS_MAX = 30;

const TYPE_DETAIL = "It must be an event type, or the beginning of one with * at its end: order.*";

export const waitSeconds = wholeNumber(0, WAIT_SECONDS_MAX, {
  description:
    "Seconds to wait when there is nothing: the answer comes as soon as there is something, or empty at the end.",
  examples: [20],
}).default(0);

const leaseSeconds = wholeNumber(1, 3_600, {
  description: "For how long nobody else gets them.",
  examples: [300],
});

const leaseId = z
  .string("It must be a string.")
  .max(64, "It is no lease id.")
  .meta({
    description: "The `lease_id` of the answer that handed out the events.",
    examples: ["01a1fd3a-0340-7000-8f4e-3b8d1c6a9e52"],
  });

const leasedIds = eventIds("Events of the lease; all of it when left out.").optional();

export const TakeLease = z
  .strictObject({
    max: wholeNumber(1, 1_000, { description: "At most so many events.", examples: [10] }).default(10),
    lease_seconds: leaseSeconds.default(300),
    type: z
      .string("It must be a string.")
      .regex(TYPE_PATTERN, TYPE_DETAIL)
      .optional()
      .meta({ description: "Only events of this type; with `*` at its end, of all types that begin so." }),
    wait: waitSeconds,
  })
  .meta({ id: "TakeLease", description: "What to lease.", examples: [{ max: 10, lease_seconds: 300 }] });

export const Lease = z
  .object({
    lease_id: z
      .string()
      .nullable()
      .meta({
        description: "To acknowledge, release or extend by. Null when there was nothing.",
        format: "uuid",
        examples: ["01a1fd3a-0340-7000-8f4e-3b8d1c6a9e52"],
      }),
    leased_until: timeOrNull("When the lease runs out. Null when there was nothing."),
    events: z
      .array(
        InboxEvent.extend({
          lease_count: z
            .int()
            .meta({ description: "How often it was leased by now, this time included.", examples: [1] }),
        }).meta({ id: "LeasedEvent", description: "An event of a lease." }),
      )
      .meta({ description: "The oldest first." }),
  })
  .meta({
    id: "Lease",
    description: "Events that nobody else is handed until the lease is released or over.",
  });

const notFound = z
  .array(z.string())
  .meta({ description: "The ids that are not of this lease, or were deleted.", examples: [[]] });
const count = (description: string) => z.int().meta({ description, examples: [10] });

export const AckLease = z
  .strictObject({ lease_id: leaseId, event_ids: leasedIds })
  .meta({ id: "AckLease", description: "What to acknowledge." });

export const AckedLease = z
  .object({ acknowledged: count("How many were acknowledged."), not_found: notFound })
  .meta({ id: "AckedLease", description: "They are done: `delivered`, and handed out no more." });

export const ReleaseLease = z
  .strictObject({
    lease_id: leaseId,
    event_ids: leasedIds,
    delay_seconds: wholeNumber(0, 86_400, {
      description: "For so long nobody is handed them.",
      examples: [60],
    }).default(0),
  })
  .meta({ id: "ReleaseLease", description: "What to give back." });

export const ReleasedLease = z
  .object({ released: count("How many were given back."), not_found: notFound })
  .meta({ id: "ReleasedLease", description: "They are handed to the next consumer that asks." });

export const ExtendLease = z
  .strictObject({ lease_id: leaseId, lease_seconds: leaseSeconds })
  .meta({ id: "ExtendLease", description: "How much longer." });

export const ExtendedLease = z
  .object({
    extended: count("How many events the lease holds on to."),
    leased_until: time("When the lease runs out now."),
  })
  .meta({ id: "ExtendedLease", description: "The lease goes on." });
