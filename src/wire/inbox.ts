// Reading the inbox: its filters and its pages.

import { z } from "zod";
import { InboxEvent } from "./event.ts";
import { waitSeconds } from "./lease.ts";
import { listEnd, listQuery, timeInput } from "./text.ts";
import { eventStatuses } from "./tiers.ts";
import { TYPE_PATTERN } from "./type_pattern.ts";

const inboxType = z
  .string()
  .regex(TYPE_PATTERN, "It must be an event type, or the beginning of one with * at its end: order.*")
  .optional()
  .meta({ description: "Only events of this type; with `*` at its end, of all types that begin so." });

export const InboxQuery = z.strictObject({
  status: z
    .enum(
      [...eventStatuses, "undelivered"],
      "It must be pending, failed, dead_letter, delivered or undelivered.",
    )
    .optional()
    .meta({
      description: "Only events of this status. `undelivered` means pending, failed and dead_letter.",
    }),
  type: inboxType,
  since: timeInput("Only events accepted at this time or later.").optional(),
  until: timeInput("Only events accepted before this time.").optional(),
  order: z
    .enum(["asc", "desc"], "It must be asc or desc.")
    .default("desc")
    .meta({ description: "`desc`: the newest first. `asc`: the oldest first." }),
  wait: waitSeconds,
  ...listQuery,
});
export type InboxQuery = z.output<typeof InboxQuery>;

export const InboxPage = z
  .object({
    events: z.array(InboxEvent),
    ...listEnd,
  })
  .meta({
    id: "InboxPage",
    description:
      "A page of the inbox. It ends early before it passes 8 MiB, and sooner while many large answers are being read.",
  });

export const StreamQuery = z.strictObject({
  type: inboxType,
  last_event_id: z
    .string()
    .max(200, "It must be the id of an event of this stream.")
    .optional()
    .meta({
      description:
        "Continues behind the event with this `id`, as the header `Last-Event-ID` does; the header wins. For the first " +
        "connection of a client that cannot set headers.",
    }),
});
