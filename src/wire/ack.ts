// Acknowledging events: "I have it, stop sending it".

import { z } from "zod";
import { id, time } from "./text.ts";

export const ACK_EVENTS_MAX = 1_000;

export const AckEvents = z
  .strictObject({
    event_ids: z
      .array(
        z.string("It must be a string.").max(64, "It is no event id."),
        "It must be a list of event ids.",
      )
      .min(1, "It must hold at least one id.")
      .max(ACK_EVENTS_MAX, `It must hold at most ${ACK_EVENTS_MAX} ids.`)
      .meta({
        description: "Ids of events, as the inbox tells them.",
        examples: [["01a1fd3a-0340-7000-8f4e-3b8d1c6a9e52"]],
      }),
  })
  .meta({ id: "AckEvents", description: "Events to acknowledge." });

export const AckedEvent = z
  .object({
    id: id("The event's id."),
    status: z.literal("delivered"),
    acknowledged_at: time("When it was acknowledged first."),
  })
  .meta({ id: "AckedEvent", description: "The event is acknowledged." });

export const AckedEvents = z
  .object({
    acknowledged: z.int().meta({
      description: "How many of them are acknowledged now, those included that were before.",
      examples: [1],
    }),
    not_found: z
      .array(z.string())
      .meta({ description: "The ids that are none of this organization's events.", examples: [[]] }),
  })
  .meta({ id: "AckedEvents", description: "The result, in counts." });
