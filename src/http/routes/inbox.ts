// /api/inbox: a page of events, newest or oldest first. Payloads are spliced into the answer as they are.

import { Elysia } from "elysia";
import { InboxPage, InboxQuery } from "../../wire/inbox.ts";
import { type EventStatus, eventStatuses } from "../../wire/tiers.ts";
import type { Kit } from "../call.ts";
import { decodeCursor, encodeCursor } from "../cursor.ts";
import type { Deps } from "../deps.ts";
import { pageJson } from "../event_json.ts";
import { operation } from "../operation.ts";
import { hook } from "../route.ts";
import { timed } from "../stored.ts";

const read = operation({
  id: "readInbox",
  tag: "Inbox",
  summary: "Read the inbox",
  description:
    "Events of the organization, page by page. A walk by `cursor` sees each event that was there at its start exactly " +
    "once, while new ones arrive. Keep the other parameters as they were; only `limit` may change on the way.",
  access: "consume",
  query: InboxQuery,
  answers: { 200: { description: "A page of events.", schema: InboxPage } },
});

export function inboxRoutes(kit: Kit, { store, metrics }: Deps) {
  return new Elysia().get(
    "/api/inbox",
    kit.handle(read, ({ query, principal: { org } }) => {
      const { order, limit, type = null, since: sinceMs = null, until: untilMs = null } = query;
      const statuses = statusesOf(query.status);
      const walk = JSON.stringify(["inbox", org, order, statuses, type, sinceMs, untilMs]);
      const afterSeq = decodeCursor(walk, query.cursor)?.row ?? null;
      const page = timed(metrics.db.inbox, () =>
        store.inbox({ org, statuses, type, sinceMs, untilMs, order, limit, afterSeq }),
      );
      const nextCursor = page.nextSeq === null ? null : encodeCursor(walk, page.nextSeq);
      return { status: 200, body: pageJson(page.events, nextCursor) };
    }),
    hook(read),
  );
}

function statusesOf(status: InboxQuery["status"]): readonly EventStatus[] {
  if (status === undefined) return [];
  return status === "undelivered" ? eventStatuses.filter((one) => one !== "delivered") : [status];
}
