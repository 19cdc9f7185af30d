// /api/inbox/lease and what follows: events handed to one consumer for a time, for many consumers beside each other.
// Surprise: a lease that ran out is no mistake as long as nobody else took its events; only what another consumer has by
// now is refused (409), and what can be done is done beside it.

import { Elysia } from "elysia";
import { rfc3339 } from "../../base/time.ts";
import type { LeaseOutcome, Lease as StoredLease, Written } from "../../store/store.ts";
import {
  AckedLease,
  AckLease,
  ExtendedLease,
  ExtendLease,
  Lease,
  ReleasedLease,
  ReleaseLease,
  TakeLease,
} from "../../wire/lease.ts";
import { type Answer, type Call, json, type Kit } from "../call.ts";
import type { Deps } from "../deps.ts";
import { leasedEventJson } from "../event_json.ts";
import type { Pieces } from "../large_answers.ts";
import { operation } from "../operation.ts";
import { rowPieces } from "../pieces.ts";
import { HttpProblem } from "../problem.ts";
import { hook } from "../route.ts";
import { stored, timed } from "../stored.ts";
import type { Question } from "../waiting.ts";

const take = operation({
  id: "leaseEvents",
  tag: "Inbox",
  summary: "Lease events",
  description:
    "Hands out the oldest events that are `pending` or `failed` and that nobody has. Until the lease is released or runs " +
    "out they are handed to nobody else, also over a restart of the server: so many consumers can share the work. " +
    "Acknowledge by `POST /api/inbox/ack` when an event is dealt with; what is not acknowledged comes back, with " +
    "`lease_count` raised. A lease does not stop webhooks. It ends before its payloads pass 8 MiB, and may have less than there is.\n\n" +
    "With `wait` the answer comes as soon as there is something: a new event, a released one, or one whose lease ran out.",
  access: "consume",
  body: TakeLease,
  bodyIsOptional: true,
  answers: { 200: { description: "The events, or none.", schema: Lease } },
  problems: ["too_many_waiters", "overloaded", "storage_unavailable"],
});

const ack = operation({
  id: "ackLease",
  tag: "Inbox",
  summary: "Acknowledge leased events",
  description:
    "All of the lease, or those named: they become `delivered`, and what is still to be tried for them is cancelled. " +
    "Again: the same answer. After the lease ran out it still works for what nobody else took; the rest is 409 " +
    "`lease_expired` with `lost`.",
  access: "consume",
  body: AckLease,
  answers: { 200: { description: "The counts.", schema: AckedLease } },
  problems: ["not_found", "lease_expired", "overloaded", "storage_unavailable"],
});

const release = operation({
  id: "releaseLease",
  tag: "Inbox",
  summary: "Release leased events",
  description:
    "All of the lease, or those named, are handed to the next consumer that asks: at once, or after `delay_seconds`.",
  access: "consume",
  body: ReleaseLease,
  answers: { 200: { description: "The counts.", schema: ReleasedLease } },
  problems: ["not_found", "lease_expired", "overloaded", "storage_unavailable"],
});

const extend = operation({
  id: "extendLease",
  tag: "Inbox",
  summary: "Extend a lease",
  description:
    "It runs out `lease_seconds` from now. One that has run out gets back what nobody else took; the rest is 409 " +
    "`lease_expired` with `lost`.",
  access: "consume",
  body: ExtendLease,
  answers: { 200: { description: "Until when.", schema: ExtendedLease } },
  problems: ["not_found", "lease_expired", "overloaded", "storage_unavailable"],
});

export function leaseRoutes(kit: Kit, deps: Deps) {
  return new Elysia()
    .post(
      "/api/inbox/lease",
      kit.handle(take, (call) => takeLease(kit, deps, call)),
      hook(take),
    )
    .post(
      "/api/inbox/ack",
      kit.handle(ack, (call) => ackLease(deps, call)),
      hook(ack),
    )
    .post(
      "/api/inbox/release",
      kit.handle(release, (call) => releaseLease(deps, call)),
      hook(release),
    )
    .post(
      "/api/inbox/extend",
      kit.handle(extend, (call) => extendLease(deps, call)),
      hook(extend),
    );
}

async function takeLease(kit: Kit, deps: Deps, call: Call<typeof take>): Promise<Answer> {
  const { waiting, largeAnswers } = deps;
  const { request, body, principal } = call;
  const { org } = principal;
  const question = leaseQuestion(deps, org, body);
  const answer = (lease: StoredLease) => largeAnswers.answer(kit, call, leasePieces(lease));
  if (body.wait === 0) return answer(await question.look());
  const asked = { org, key: `lease ${body.type ?? ""}`, waitMs: body.wait * 1_000, signal: request.signal };
  const lease = await kit.patiently(request, () => waiting.wait(asked, question));
  return answer(lease);
}

function leasePieces({ id, untilMs, events }: StoredLease): Pieces {
  const head = JSON.stringify({ lease_id: id, leased_until: id === null ? null : rfc3339(untilMs) });
  return rowPieces(`${head.slice(0, -1)},"events":[`, events, leasedEventJson, "]}");
}

function leaseQuestion(
  { store, metrics, largeAnswers }: Deps,
  org: number,
  { max, lease_seconds, type }: Call<typeof take>["body"],
): Question<StoredLease> {
  const leaseMs = lease_seconds * 1_000;
  let asked = max;
  return {
    look: async () => {
      // What is leased is told to its end, and one event is never a large answer.
      asked = largeAnswers.isFull(org) ? 1 : max;
      return stored(
        await timed(metrics.db.inbox, () => store.lease(org, { max: asked, leaseMs, type: type ?? null })),
      );
    },
    verdict: ({ id, count }) => (id === null ? "empty" : count < asked ? "last" : "more"),
    freeAtMs: ({ nextFreeAtMs }) => nextFreeAtMs,
    undo: ({ id }) => void (id !== null && store.releaseLease(org, id, null, 0)),
  };
}

async function ackLease({ store, metrics }: Deps, { body, principal }: Call<typeof ack>): Promise<Answer> {
  const { lease_id: id } = body;
  const write = () => store.ackLease(principal.org, id, idsOf(body.event_ids));
  const { count, lost, notFound } = outcomeOf(await timed(metrics.db.ack, write));
  return answer({ acknowledged: count, not_found: notFound }, lost);
}

async function releaseLease(
  { store, metrics }: Deps,
  { body, principal }: Call<typeof release>,
): Promise<Answer> {
  const { lease_id: id, delay_seconds } = body;
  const write = () => store.releaseLease(principal.org, id, idsOf(body.event_ids), delay_seconds * 1_000);
  const { count, lost, notFound } = outcomeOf(await timed(metrics.db.ack, write));
  return answer({ released: count, not_found: notFound }, lost);
}

async function extendLease(
  { store, metrics }: Deps,
  { body, principal }: Call<typeof extend>,
): Promise<Answer> {
  const write = () => store.extendLease(principal.org, body.lease_id, body.lease_seconds * 1_000);
  const { count, lost, untilMs } = outcomeOf(await timed(metrics.db.ack, write));
  return answer({ extended: count, leased_until: rfc3339(untilMs) }, lost);
}

function idsOf(ids: readonly string[] | undefined): readonly string[] | null {
  return ids === undefined ? null : [...new Set(ids)];
}

function outcomeOf(written: Written<LeaseOutcome | "not_found">): LeaseOutcome {
  const outcome = stored(written);
  if (outcome !== "not_found") return outcome;
  throw new HttpProblem("not_found", { detail: "There is no such lease, or it was over long ago." });
}

function answer(done: Readonly<Record<string, unknown>>, lost: readonly string[]): Answer {
  if (lost.length > 0) throw new HttpProblem("lease_expired", { extra: { ...done, lost } });
  return json(200, done);
}
