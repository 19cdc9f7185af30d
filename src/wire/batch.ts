// Many events in one request, and what became of each.

import { z } from "zod";
import { NewEvent } from "./event.ts";

export const BATCH_EVENTS_MAX = 1_000;
/** Bytes of a batch's body. */
export const BATCH_BYTES_MAX = 8 * 1024 * 1024;

const LIST_DETAIL = "It must be a list of events.";
const COUNT_DETAIL = `It must hold 1 to ${BATCH_EVENTS_MAX} events.`;

/** What the documentation says of a batch. */
export const NewEvents = z
  .strictObject({
    events: z
      .array(NewEvent)
      .min(1)
      .max(BATCH_EVENTS_MAX)
      .meta({ description: "1 to 1,000 events, each as `POST /api/events` takes it." }),
  })
  .meta({
    id: "NewEvents",
    description: "Events to store and deliver. The whole body may have 8 MiB.",
    examples: [
      {
        events: [
          { type: "order.created", payload: { order_id: 1042 } },
          { type: "order.paid", payload: { order_id: 1042, total: 99.5 } },
        ],
      },
    ],
  });

/** The batch itself: its events are looked at one by one, so that a bad one does not spoil the rest. */
export const BatchEnvelope = z.strictObject({
  events: z.array(z.unknown(), LIST_DETAIL).min(1, COUNT_DETAIL).max(BATCH_EVENTS_MAX, COUNT_DETAIL),
});

const BatchResult = z
  .object({
    status: z.enum(["accepted", "duplicate", "rejected"]).meta({
      description:
        "`accepted`: it is on disk. `duplicate`: an event with its `dedup_id` was accepted before, within 24 hours or " +
        "in this same batch. `rejected`: something is wrong with it; sending it again does not help.",
    }),
    id: z
      .string()
      .optional()
      .meta({
        description: "With `accepted`: its id. With `duplicate`: the id of the first event.",
        format: "uuid",
        examples: ["01a1fd3a-0340-7000-8f4e-3b8d1c6a9e52"],
      }),
    code: z.enum(["duplicate_event", "validation_failed", "payload_too_large"]).optional().meta({
      description: "With `duplicate` and `rejected`: the code that `POST /api/events` would have answered.",
    }),
    detail: z
      .string()
      .optional()
      .meta({ description: "With `duplicate` and `rejected`: what is wrong, and what to do." }),
  })
  .meta({ id: "BatchResult", description: "What became of one event." });

const count = (description: string, example: number) => z.int().meta({ description, examples: [example] });

export const BatchAnswer = z
  .object({
    accepted: count("How many are on disk now.", 2),
    duplicates: count("How many were there before.", 0),
    rejected: count("How many were refused.", 0),
    results: z
      .array(BatchResult)
      .meta({ description: "One for each event, in the order in which they were sent." }),
  })
  .meta({ id: "BatchAnswer", description: "All that is `accepted` is on disk, in one transaction." });
