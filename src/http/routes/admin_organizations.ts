// /api/admin/organizations: the operator's view. Surprise: a change is told to the authenticator before it is
// answered, so that it holds for the very next request of that organization.

import { Elysia } from "elysia";
import { z } from "zod";
import { rfc3339 } from "../../base/time.ts";
import type { Organization as StoredOrganization } from "../../store/store.ts";
import { ChangeOrganization, Organization, OrganizationPage } from "../../wire/organization.ts";
import { listQuery } from "../../wire/text.ts";
import { actorOf } from "../actor.ts";
import { type Answer, type Call, json, type Kit, noContent } from "../call.ts";
import { decodeCursor, encodeCursor } from "../cursor.ts";
import type { Deps } from "../deps.ts";
import { listJson } from "../list_json.ts";
import { operation } from "../operation.ts";
import { linePieces } from "../pieces.ts";
import { HttpProblem } from "../problem.ts";
import { hook } from "../route.ts";
import { stored, timed } from "../stored.ts";

const id = { id: ["The organization's id.", "01a1fd3a-0340-7000-8f4e-3b8d1c6a9e52"] } as const;
const NDJSON = "application/x-ndjson";
const WALK = "organizations";

const list = operation({
  id: "listOrganizations",
  tag: "Administration",
  summary: "List organizations",
  description: "The oldest first.",
  access: "admin",
  query: z.strictObject(listQuery),
  answers: { 200: { description: "A page of organizations.", schema: OrganizationPage } },
});

const show = operation({
  id: "getOrganization",
  tag: "Administration",
  summary: "Show an organization",
  access: "admin",
  params: id,
  answers: { 200: { description: "The organization.", schema: Organization } },
  problems: ["not_found"],
});

const change = operation({
  id: "changeOrganization",
  tag: "Administration",
  summary: "Change tier or rate limit, disable or enable",
  description: "Holds from the next request on. Only what is named is changed.",
  access: "admin",
  params: id,
  body: ChangeOrganization,
  answers: { 200: { description: "The organization as it is now.", schema: Organization } },
  problems: ["not_found", "overloaded", "storage_unavailable"],
});

const erase = operation({
  id: "eraseOrganization",
  tag: "Administration",
  summary: "Erase an organization and everything of it",
  description: "Its keys, webhook, events and deliveries. There is no way back; export it first.",
  access: "admin",
  params: id,
  answers: { 204: { description: "It is erased." } },
  problems: ["not_found", "overloaded", "storage_unavailable"],
});

const exportAll = operation({
  id: "exportOrganization",
  tag: "Administration",
  summary: "Export everything of an organization",
  description:
    "One JSON object a line: the organization, its keys without their texts, its webhook, its events and every attempt.",
  access: "admin",
  params: id,
  answers: { 200: { description: "The lines, as a stream.", mediaType: NDJSON } },
  problems: ["not_found", "overloaded", "storage_unavailable"],
});

export function adminOrganizationRoutes(kit: Kit, deps: Deps) {
  return new Elysia()
    .get(
      "/api/admin/organizations",
      kit.handle(list, (call) => listOrganizations(deps, call)),
      hook(list),
    )
    .get(
      "/api/admin/organizations/:id",
      kit.handle(show, (call) => json(200, organizationTold(organizationOf(deps, call)))),
      hook(show),
    )
    .patch(
      "/api/admin/organizations/:id",
      kit.handle(change, (call) => changeOrganization(kit, deps, call)),
      hook(change),
    )
    .delete(
      "/api/admin/organizations/:id",
      kit.handle(erase, (call) => eraseOrganization(kit, deps, call)),
      hook(erase),
    )
    .get(
      "/api/admin/organizations/:id/export",
      kit.handle(exportAll, (call) => exportOrganization(kit, deps, call)),
      hook(exportAll),
    );
}

type Named = { readonly params: Readonly<Record<string, string>> };

function organizationOf({ store, metrics }: Deps, { params }: Named): StoredOrganization {
  const find = () => store.organizationById(params.id ?? "");
  const organization = timed(metrics.db.organizations, find);
  if (organization === null) throw notFound();
  return organization;
}

function listOrganizations({ store, metrics }: Deps, { query }: Call<typeof list>): Answer {
  const { limit, cursor } = query;
  const after = decodeCursor(WALK, cursor)?.row ?? 0;
  const found = timed(metrics.db.organizations, () => store.organizations(after, limit + 1));
  const cursorAfter = ({ org }: StoredOrganization) => encodeCursor(WALK, org);
  return { status: 200, body: listJson("organizations", found, limit, organizationTold, cursorAfter) };
}

async function changeOrganization(kit: Kit, deps: Deps, call: Call<typeof change>): Promise<Answer> {
  const { store, authenticator, metrics, log } = deps;
  const { org, id } = organizationOf(deps, call);
  const { tier, rate_limit_per_minute: rateLimitPerMinute, disabled } = call.body;
  const changes = {
    ...(tier !== undefined && { tier }),
    ...(rateLimitPerMinute !== undefined && { rateLimitPerMinute }),
    ...(disabled !== undefined && { disabled }),
  };
  const update = () => store.updateOrganization(org, changes, actorOf(kit, deps, call));
  const changed = stored(await timed(metrics.db.organizations, update));
  authenticator.invalidateOrganization(org);
  if (changed === "not_found") throw notFound();
  log.info({ request_id: call.requestId, organization_id: id, ...call.body }, "organization changed");
  return json(200, organizationTold(changed));
}

async function eraseOrganization(kit: Kit, deps: Deps, call: Call<typeof erase>): Promise<Answer> {
  const { store, authenticator, metrics, log } = deps;
  const { org, id } = organizationOf(deps, call);
  const run = () => store.eraseOrganization(org, actorOf(kit, deps, call));
  // A million events take 20 seconds.
  const outcome = await kit.patiently(call.request, () => timed(metrics.db.organizations, run));
  // Also when it was refused half-way: what is gone must not be let in by the cache.
  authenticator.invalidateOrganization(org);
  if (stored(outcome) === "not_found") throw notFound();
  log.info({ request_id: call.requestId, organization_id: id }, "organization erased");
  return noContent;
}

async function exportOrganization(kit: Kit, deps: Deps, call: Call<typeof exportAll>): Promise<Answer> {
  const { store, largeAnswers, log } = deps;
  const { org, id } = organizationOf(deps, call);
  stored(await store.noteExport(org, actorOf(kit, deps, call)));
  log.info({ request_id: call.requestId, organization_id: id }, "organization exported");
  return {
    status: 200,
    body: largeAnswers.background(call, linePieces(store.exportOrganization(org))),
    mediaType: NDJSON,
    headers: { "content-disposition": `attachment; filename="organization-${id}.ndjson"` },
  };
}

function organizationTold(organization: StoredOrganization) {
  return {
    organization_id: organization.id,
    organization_name: organization.name,
    tier: organization.tier,
    rate_limit_per_minute: organization.rateLimitPerMinute,
    disabled: organization.disabled,
    created_at: rfc3339(organization.createdAtMs),
    updated_at: rfc3339(organization.updatedAtMs),
  };
}

function notFound(): HttpProblem {
  return new HttpProblem("not_found", { detail: "There is no such organization." });
}
