// /api/endpoints: where events are sent. Surprise: the secret is in the answer that makes an endpoint and nowhere
// else, and the values of its headers in none.

import { Elysia } from "elysia";
import { z } from "zod";
import type { Endpoint as StoredEndpoint } from "../../store/store.ts";
import { ChangeEndpoint, CreatedEndpoint, Endpoint, EndpointPage, NewEndpoint } from "../../wire/endpoint.ts";
import { listQuery } from "../../wire/text.ts";
import { actorOf } from "../actor.ts";
import { type Answer, type Call, json, type Kit, noContent } from "../call.ts";
import { decodeCursor, encodeCursor } from "../cursor.ts";
import type { Deps } from "../deps.ts";
import { changedSettings, newSettings } from "../endpoint_settings.ts";
import { ENDPOINT_ID, endpointTold, logEndpoint, noSuchEndpoint } from "../endpoint_told.ts";
import { listJson } from "../list_json.ts";
import { operation } from "../operation.ts";
import { HttpProblem } from "../problem.ts";
import { hook } from "../route.ts";
import { stored, timed } from "../stored.ts";

const create = operation({
  id: "createEndpoint",
  tag: "Endpoints",
  summary: "Make an endpoint",
  description:
    "From now on each new event whose type matches one of `event_types` is sent to this URL, signed as Standard " +
    "Webhooks says (https://www.standardwebhooks.com). The answer has the secret to check the signature with, and is " +
    "the only one that does. Events that were accepted before can be sent by a replay with `missing_only`.",
  access: "manage",
  body: NewEndpoint,
  answers: { 201: { description: "The endpoint and its secret.", schema: CreatedEndpoint } },
  problems: ["too_many_endpoints", "overloaded", "storage_unavailable"],
});

const list = operation({
  id: "listEndpoints",
  tag: "Endpoints",
  summary: "List endpoints",
  description: "The oldest first.",
  access: "manage",
  query: z.strictObject(listQuery),
  answers: { 200: { description: "A page of endpoints.", schema: EndpointPage } },
});

const show = operation({
  id: "getEndpoint",
  tag: "Endpoints",
  summary: "Show an endpoint",
  description: "Its settings and its health; never its secret or the values of its headers.",
  access: "manage",
  params: ENDPOINT_ID,
  answers: { 200: { description: "The endpoint.", schema: Endpoint } },
  problems: ["not_found"],
});

const change = operation({
  id: "changeEndpoint",
  tag: "Endpoints",
  summary: "Change an endpoint",
  description:
    "Only what is named is changed; null puts a setting back to its default. Holds from the next attempt on, also " +
    "for events that wait. `event_types` are looked at when an event is accepted: what was accepted before stays " +
    "where it is.",
  access: "manage",
  params: ENDPOINT_ID,
  body: ChangeEndpoint,
  answers: { 200: { description: "The endpoint as it is now.", schema: Endpoint } },
  problems: ["not_found", "overloaded", "storage_unavailable"],
});

const remove = operation({
  id: "deleteEndpoint",
  tag: "Endpoints",
  summary: "Delete an endpoint",
  description:
    "Deliveries that wait are cancelled; the events stay in the inbox. What was delivered stays told.",
  access: "manage",
  params: ENDPOINT_ID,
  answers: { 204: { description: "It is deleted." } },
  problems: ["not_found", "overloaded", "storage_unavailable"],
});

export function endpointRoutes(kit: Kit, deps: Deps) {
  return new Elysia()
    .post(
      "/api/endpoints",
      kit.handle(create, (call) => createEndpoint(kit, deps, call)),
      hook(create),
    )
    .get(
      "/api/endpoints",
      kit.handle(list, (call) => listEndpoints(deps, call)),
      hook(list),
    )
    .get(
      "/api/endpoints/:id",
      kit.handle(show, (call) => showEndpoint(deps, call)),
      hook(show),
    )
    .patch(
      "/api/endpoints/:id",
      kit.handle(change, (call) => changeEndpoint(kit, deps, call)),
      hook(change),
    )
    .delete(
      "/api/endpoints/:id",
      kit.handle(remove, (call) => deleteEndpoint(kit, deps, call)),
      hook(remove),
    );
}

async function createEndpoint(kit: Kit, deps: Deps, call: Call<typeof create>): Promise<Answer> {
  const { store, metrics, egress } = deps;
  const settings = newSettings(call.body, egress);
  const make = () => store.createEndpoint(call.principal.org, settings, actorOf(kit, deps, call));
  const made = stored(await timed(metrics.db.webhook, make));
  if (made === "too_many") throw new HttpProblem("too_many_endpoints");
  logEndpoint(deps, call, made.id, "endpoint made");
  return json(201, { ...endpointTold(made, call.nowMs), signing_secret: settings.signingSecret });
}

function listEndpoints({ store, metrics }: Deps, call: Call<typeof list>): Answer {
  const { query, principal, nowMs } = call;
  const { org } = principal;
  const { limit, cursor } = query;
  const walk = JSON.stringify(["endpoints", org]);
  const after = decodeCursor(walk, cursor)?.row ?? 0;
  const rows = endpointsFrom(store, org, after, Math.min(limit + 1, ROWS_AT_ONCE));
  const told = (one: StoredEndpoint) => endpointTold(one, nowMs);
  const cursorAfter = ({ endpoint }: StoredEndpoint) => encodeCursor(walk, endpoint);
  const page = () => listJson("endpoints", rows, limit, told, cursorAfter);
  return { status: 200, body: timed(metrics.db.webhook, page) };
}

/** Few at a time, for the sake of a page that ends early: a row may have 40 KB. */
const ROWS_AT_ONCE = 100;

function* endpointsFrom(store: Deps["store"], org: number, after: number, atOnce: number) {
  for (let last: number | undefined = after; last !== undefined; ) {
    const rows = store.endpoints(org, last, atOnce);
    yield* rows;
    last = rows.length < atOnce ? undefined : rows.at(-1)?.endpoint;
  }
}

function showEndpoint({ store, metrics }: Deps, call: Call<typeof show>): Answer {
  const { params, principal, nowMs } = call;
  const endpoint = timed(metrics.db.webhook, () => store.endpoint(principal.org, params.id ?? ""));
  if (endpoint === null) throw noSuchEndpoint();
  return json(200, endpointTold(endpoint, nowMs));
}

async function changeEndpoint(kit: Kit, deps: Deps, call: Call<typeof change>): Promise<Answer> {
  const { store, metrics, egress } = deps;
  const { params, principal, body, nowMs } = call;
  const changes = changedSettings(body, egress);
  const by = actorOf(kit, deps, call);
  const update = () => store.updateEndpoint(principal.org, params.id ?? "", changes, by);
  const changed = stored(await timed(metrics.db.webhook, update));
  if (changed === "not_found") throw noSuchEndpoint();
  logEndpoint(deps, call, changed.id, "endpoint changed");
  return json(200, endpointTold(changed, nowMs));
}

async function deleteEndpoint(kit: Kit, deps: Deps, call: Call<typeof remove>): Promise<Answer> {
  const { store, metrics } = deps;
  const id = call.params.id ?? "";
  const run = () => store.deleteEndpoint(call.principal.org, id, actorOf(kit, deps, call));
  const outcome = stored(await timed(metrics.db.webhook, run));
  if (outcome === "not_found") throw noSuchEndpoint();
  logEndpoint(deps, call, id, "endpoint deleted");
  return noContent;
}
