// /api/ack: a consumer has the event. Its outstanding deliveries are cancelled; asking again changes nothing.

import { Elysia } from "elysia";
import { rfc3339 } from "../../base/time.ts";
import { AckEvents, AckedEvent, AckedEvents } from "../../wire/ack.ts";
import { json, type Kit } from "../call.ts";
import type { Deps } from "../deps.ts";
import { operation } from "../operation.ts";
import { HttpProblem } from "../problem.ts";
import { hook } from "../route.ts";
import { stored, timed } from "../stored.ts";

const ackOne = operation({
  id: "ackEvent",
  tag: "Inbox",
  summary: "Acknowledge an event",
  description:
    "The event becomes `delivered`, and what is still to be tried for it is cancelled. Again: the same answer. " +
    "It takes no body.",
  access: "consume",
  params: { event_id: ["The event's id.", "01a1fd3a-0340-7000-8f4e-3b8d1c6a9e52"] },
  answers: { 200: { description: "It is acknowledged.", schema: AckedEvent } },
  problems: ["not_found", "overloaded", "storage_unavailable"],
});

const ackMany = operation({
  id: "ackEvents",
  tag: "Inbox",
  summary: "Acknowledge many events",
  description:
    "Up to 1,000 at once. Ids that are not found are told; the others are acknowledged all the same.",
  access: "consume",
  body: AckEvents,
  answers: { 200: { description: "The counts.", schema: AckedEvents } },
  problems: ["overloaded", "storage_unavailable"],
});

export function ackRoutes(kit: Kit, { store, metrics }: Deps) {
  const ack = async (org: number, ids: readonly string[]) =>
    stored(await timed(metrics.db.ack, () => store.ack(org, ids)));

  return new Elysia()
    .post(
      "/api/ack/:event_id",
      kit.handle(ackOne, async ({ params, principal: { org } }) => {
        const [acked] = (await ack(org, [params.event_id ?? ""])).acknowledged;
        if (acked === undefined) throw new HttpProblem("not_found", { detail: "There is no such event." });
        const acknowledged_at = rfc3339(acked.acknowledgedAtMs);
        return json(200, { id: acked.id, status: "delivered", acknowledged_at });
      }),
      hook(ackOne),
    )
    .post(
      "/api/ack",
      kit.handle(ackMany, async ({ body, principal: { org } }) => {
        const { acknowledged, notFound } = await ack(org, [...new Set(body.event_ids)]);
        return json(200, { acknowledged: acknowledged.length, not_found: notFound });
      }),
      hook(ackMany),
    );
}
