// Acknowledging events: "I have it, stop sending it".

import { z } from "zod";
import { eventIds, id, time } from "./text.ts";

export const AckEvents = z
  .strictObject({ event_ids: eventIds("Ids of events, as the inbox tells them.") })
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
