// /api/admin/audit: who changed keys, endpoints and organizations, and when.

import { Elysia } from "elysia";
import { rfc3339 } from "../../base/time.ts";
import type { AuditEntry } from "../../store/store.ts";
import { AuditPage, AuditQuery } from "../../wire/audit.ts";
import type { Answer, Call, Kit } from "../call.ts";
import { decodeCursor, encodeCursor } from "../cursor.ts";
import type { Deps } from "../deps.ts";
import { listJson } from "../list_json.ts";
import { operation } from "../operation.ts";
import { hook } from "../route.ts";
import { timed } from "../stored.ts";

const list = operation({
  id: "listAuditEntries",
  tag: "Administration",
  summary: "Read the audit record",
  description:
    "Every change of a key, an endpoint or an organization, the newest first: written in the transaction of the " +
    "change itself, and kept when what it tells of is gone. Of an erased organization only the ids stay.",
  access: "admin",
  query: AuditQuery,
  answers: { 200: { description: "A page of entries.", schema: AuditPage } },
});

export function auditRoutes(kit: Kit, deps: Deps) {
  return new Elysia().get(
    "/api/admin/audit",
    kit.handle(list, (call) => listEntries(deps, call)),
    hook(list),
  );
}

function listEntries({ store, metrics }: Deps, { query }: Call<typeof list>): Answer {
  const {
    limit,
    cursor,
    organization_id: organizationId = null,
    since: sinceMs = null,
    until: untilMs = null,
  } = query;
  const walk = JSON.stringify(["audit", organizationId, sinceMs, untilMs]);
  const beforeEntry = decodeCursor(walk, cursor)?.row ?? null;
  const filter = { organizationId, sinceMs, untilMs, beforeEntry, limit: limit + 1 };
  const found = timed(metrics.db.organizations, () => store.audit(filter));
  const cursorAfter = ({ entry }: AuditEntry) => encodeCursor(walk, entry);
  return { status: 200, body: listJson("entries", found, limit, entryTold, cursorAfter) };
}

function entryTold({ atMs, action, by, organizationId, subjectId, details }: AuditEntry) {
  return {
    at: rfc3339(atMs),
    action,
    actor: by.kind,
    key_id: by.keyId,
    address: by.address,
    request_id: by.requestId,
    organization_id: organizationId,
    subject_id: subjectId,
    details,
  };
}
