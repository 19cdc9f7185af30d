// Deleting many events in one request.

import { z } from "zod";
import { eventIds } from "./text.ts";

export const DeleteEvents = z
  .strictObject({ event_ids: eventIds("Ids of the events to delete.") })
  .meta({ id: "DeleteEvents", description: "Events to delete." });

export const DeletedEvents = z
  .object({
    deleted: z.int().meta({ description: "How many were deleted.", examples: [1] }),
    not_found: z
      .array(z.string())
      .meta({ description: "The ids that are none of this organization's events.", examples: [[]] }),
  })
  .meta({ id: "DeletedEvents", description: "The result, in counts." });
