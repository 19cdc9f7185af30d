// Replays: sending again, to one endpoint, what was accepted in a range of time.

import { z } from "zod";
import { deliveryStatus } from "./delivery.ts";
import { id, time, timeInput, timeOrNull } from "./text.ts";
import { deliveryStatuses } from "./tiers.ts";
import { typePatterns } from "./type_pattern.ts";

const STATUSES_DETAIL = `It must hold 1 to ${deliveryStatuses.length} statuses.`;
const WITH_MISSING_DETAIL =
  "Leave it out with missing_only: what the endpoint misses has no delivery yet, and so no status to choose by.";

export const NewReplay = z
  .strictObject({
    since: timeInput("Events accepted at this time or later."),
    until: timeInput("Events accepted before this time. Without it: up to now.").optional(),
    status: z
      .array(deliveryStatus, "It must be a list of statuses.")
      .min(1, STATUSES_DETAIL)
      .max(deliveryStatuses.length, STATUSES_DETAIL)
      .refine((list) => new Set(list).size === list.length, "It must hold each status once.")
      .optional()
      .meta({
        description:
          'Which of the endpoint\'s deliveries are sent again: those of these statuses. Without it: `["dead_letter"]`. ' +
          "`delivered` sends again what was taken already. What is `pending` or `failed` is made due now.",
        uniqueItems: true,
        examples: [["dead_letter"]],
      }),
    event_types: typePatterns.optional().meta({
      description:
        "Only events of these types, in the patterns of an endpoint. Without it: all; with `missing_only`, those of " +
        "the endpoint's own `event_types`.",
      uniqueItems: true,
      examples: [["order.*"]],
    }),
    missing_only: z
      .boolean("It must be true or false.")
      .default(false)
      .meta({
        description:
          "True: only events that were never meant for this endpoint, because it was made or changed after them. " +
          "They get a delivery now.",
        examples: [false],
      }),
  })
  .refine(({ since, until }) => until === undefined || since <= until, {
    path: ["until"],
    message: "It must not lie before since.",
  })
  .refine(({ status, missing_only }) => status === undefined || !missing_only, {
    path: ["status"],
    message: WITH_MISSING_DETAIL,
  })
  .meta({
    id: "NewReplay",
    description: "What is to be sent again.",
    examples: [{ since: "2026-11-21T08:00:00.000Z", status: ["dead_letter"] }],
  });

export const Replay = z
  .object({
    id: id("The replay's id."),
    endpoint_id: id("The endpoint that gets the events."),
    status: z.enum(["running", "completed"]).meta({
      description:
        "`completed`: all of its deliveries are in the queue. Whether they were taken, each delivery tells.",
      examples: ["running"],
    }),
    since: time("Events accepted at this time or later."),
    until: time("Events accepted before this time; when none was given, the time of the call."),
    statuses: z.array(deliveryStatus).meta({
      description: "The statuses that were asked for; empty with `missing_only`.",
      examples: [["dead_letter"]],
    }),
    event_types: z.array(z.string()).meta({ description: "The patterns in force.", examples: [["*"]] }),
    missing_only: z
      .boolean()
      .meta({ description: "Whether only events without a delivery are sent.", examples: [false] }),
    queued: z.int().meta({ description: "Deliveries put into the queue so far.", examples: [1042] }),
    progress: z
      .number()
      .meta({ description: "How much of the range of time is done, from 0 to 1.", examples: [0.5] }),
    created_at: time("When it was asked for."),
    updated_at: time("When it got on last."),
    completed_at: timeOrNull("When it was completed; null while it runs."),
  })
  .meta({ id: "Replay", description: "A replay and how far it is. It goes on after a restart." });
