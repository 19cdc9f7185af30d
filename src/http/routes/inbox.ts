// /api/inbox: a page of events, newest or oldest first. Payloads are spliced into the answer as they are.

import { Elysia } from "elysia";
import type { InboxBite } from "../../store/store.ts";
import { InboxPage, InboxQuery } from "../../wire/inbox.ts";
import { type EventStatus, eventStatuses } from "../../wire/tiers.ts";
import type { Answer, Call, Kit } from "../call.ts";
import { decodeCursor, encodeCursor } from "../cursor.ts";
import type { Deps } from "../deps.ts";
import { inboxEventJson } from "../event_json.ts";
import { operation } from "../operation.ts";
import { pagePieces } from "../pieces.ts";
import { hook } from "../route.ts";
import { timedSteps } from "../stored.ts";
import type { Verdict, Waiting } from "../waiting.ts";

const read = operation({
  id: "readInbox",
  tag: "Inbox",
  summary: "Read the inbox",
  description:
    "Events of the organization, page by page. A walk by `cursor` sees each event that was there at its start exactly " +
    "once, while new ones arrive. Keep the other parameters as they were; only `limit` may change on the way.\n\n" +
    "With `wait` an empty page is answered later: as soon as there is an event for it, or at the end of that time. For " +
    "consumers that share the work there are leases (`POST /api/inbox/lease`), for those that follow all events the " +
    "stream (`GET /api/inbox/stream`).",
  access: "consume",
  query: InboxQuery,
  answers: { 200: { description: "A page of events.", schema: InboxPage } },
  problems: ["too_many_waiters"],
});

export function inboxRoutes(kit: Kit, deps: Deps) {
  return new Elysia().get(
    "/api/inbox",
    kit.handle(read, (call) => readInbox(kit, deps, call)),
    hook(read),
  );
}

function readInbox(kit: Kit, deps: Deps, call: Call<typeof read>): Answer | Promise<Answer> {
  const { store, metrics, waiting, largeAnswers } = deps;
  const { request, query, principal } = call;
  const { org } = principal;
  const { order, limit, type = null, since: sinceMs = null, until: untilMs = null } = query;
  const statuses = statusesOf(query.status);
  const walk = JSON.stringify(["inbox", org, order, statuses, type, sinceMs, untilMs]);
  const afterSeq = decodeCursor(walk, query.cursor)?.row ?? null;
  const asked = { org, statuses, type, sinceMs, untilMs, order, limit };
  const pageAfter = (seq: number | null) =>
    timedSteps(metrics.db.inbox, store.inbox({ ...asked, afterSeq: seq }));
  const answer = (bites: Iterable<InboxBite>) => {
    const pieces = pagePieces("events", bites, inboxEventJson, (seq) => encodeCursor(walk, seq));
    return largeAnswers.answer(kit, call, pieces);
  };
  if (query.wait === 0) return answer(pageAfter(afterSeq));
  const waitMs = query.wait * 1_000;
  const endMs = performance.now() + waitMs;
  const isOver = () => waiting.isClosed || request.signal.aborted || performance.now() >= endMs;
  const look = () => walkOn(waiting, pageAfter, afterSeq, isOver);
  const waited = { org, key: `${walk} ${limit} ${afterSeq}`, waitMs, signal: request.signal };
  return kit
    .patiently(request, () => waiting.wait(waited, { look, verdict, isScan: true }))
    .then((page) => answer(bitesOf(page)));
}

/** A page that has begun: its first bite with something on it, and what follows. */
type Begun = { readonly first: InboxBite; readonly rest: Iterable<InboxBite> };

function* bitesOf({ first, rest }: Begun): Generator<InboxBite> {
  yield first;
  if (!first.isLast) yield* rest;
}

/** The first bite with something on it, or the last one: of a rare type, whole pages may be empty before the end. */
async function walkOn(
  waiting: Waiting,
  pageAfter: (seq: number | null) => Generator<InboxBite>,
  afterSeq: number | null,
  isOver: () => boolean,
): Promise<Begun> {
  for (let bites = pageAfter(afterSeq); ; ) {
    const first = await waiting.inTurn(() => biteOf(bites));
    if (first.rows.length > 0 || first.next === null) return { first, rest: bites };
    if (isOver()) return { first: { ...first, isLast: true }, rest: bites };
    if (first.isLast) bites = pageAfter(first.next);
  }
}

function biteOf(bites: Generator<InboxBite>): InboxBite {
  const step = bites.next();
  if (step.done === true) throw new Error("the last bite was not marked as such");
  return step.value;
}

/** An empty page that is not the last one was looked at to the deadline: its cursor leads on. */
function verdict({ first }: Begun): Verdict {
  return first.rows.length === 0 && first.next === null ? "empty" : "more";
}

function statusesOf(status: InboxQuery["status"]): readonly EventStatus[] {
  if (status === undefined) return [];
  return status === "undelivered" ? eventStatuses.filter((one) => one !== "delivered") : [status];
}
