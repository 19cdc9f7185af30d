// The audit record: one row for each change of a key, an endpoint or an organization, in the transaction of the change
// itself, so that neither is on disk without the other. Surprise: it outlives what it tells of, an erased organization
// too, so it holds ids and what changed, and no name, URL or secret.

import type { AuditAction } from "../../wire/audit.ts";
import type { Actor, EndpointSettings, Organization } from "../store.ts";
import type { Context } from "./context.ts";
import type { Changed } from "./endpoints.ts";
import type { OpResult, RareOp } from "./op.ts";

/** What the program does by itself. */
export const BY_SERVER: Actor = { kind: "server", keyId: null, address: null, requestId: null };

type Note = {
  readonly action: AuditAction;
  /** Null: the organization itself. */
  readonly subjectId: string | null;
  readonly details?: Readonly<Record<string, unknown>>;
};

/** Writes one entry; `organizationId` of an organization that is there. */
export function prepareRecord(ctx: Context): (organizationId: string, by: Actor, note: Note) => void {
  const insert = ctx.db.prepare<void, (string | number | null)[]>(
    `INSERT INTO audit (at, action, actor, key_id, address, request_id, organization_id, subject_id, details)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  );
  return (organizationId, by, { action, subjectId, details = {} }) => {
    const actor = [by.kind, by.keyId, by.address, by.requestId];
    insert.run(ctx.nowMs, action, ...actor, organizationId, subjectId, JSON.stringify(details));
  };
}

/** What the server itself did to an endpoint. */
export function prepareRecordOfEndpoint(
  ctx: Context,
): (endpoint: number, note: Omit<Note, "subjectId">) => void {
  const record = prepareRecord(ctx);
  const find = ctx.db.prepare<{ id: string; organization: string }, [number]>(
    `SELECT p.id, o.id AS organization FROM endpoints p JOIN organizations o ON o.org = p.org
     WHERE p.endpoint = +?`,
  );
  return (endpoint, note) => {
    const row = find.get(endpoint);
    if (row) record(row.organization, BY_SERVER, { ...note, subjectId: row.id });
  };
}

/** Where a caller was, and the words that he chose himself, go with his organization. */
export function prepareForgetCallers(ctx: Context): (org: number) => void {
  const forget = ctx.db.prepare<void, [number]>(
    `UPDATE audit SET address = NULL, request_id = NULL
     WHERE organization_id = (SELECT id FROM organizations WHERE org = +?)`,
  );
  return (org) => void forget.run(org);
}

/** Records what an op did, once it is applied. What is refused is done to nothing, and not recorded. */
export function prepareAudit(ctx: Context): (op: RareOp, by: Actor, result: OpResult) => void {
  const record = prepareRecord(ctx);
  const find = ctx.db.prepare<{ id: string }, [number]>("SELECT id FROM organizations WHERE org = +?");
  return (op, by, result) => {
    const note = noteOf(op, result);
    if (note === null) return;
    const org = "org" in op ? op.org : (result as Organization).org;
    const id = find.get(org)?.id;
    if (id !== undefined) record(id, by, note);
  };
}

const REFUSALS: ReadonlySet<OpResult> = new Set(["not_found", "too_many", "last_manage_key"]);

/** Null: nothing that is recorded. */
function noteOf(op: RareOp, result: OpResult): Note | null {
  if (REFUSALS.has(result)) return null;
  switch (op.op) {
    case "createOrganization":
      return { action: "organization.created", subjectId: op.key.keyId, details: { tier: op.tier } };
    case "updateOrganization": {
      const { tier, rateLimitPerMinute: rate_limit_per_minute, disabled } = op;
      const details = { tier, rate_limit_per_minute, disabled };
      return { action: "organization.updated", subjectId: null, details };
    }
    case "startErase":
      return { action: "organization.erase_started", subjectId: null };
    case "noteExport":
      return { action: "organization.exported", subjectId: null };
    case "createKey":
      return { action: "key.created", subjectId: op.key.keyId, details: { scopes: op.key.scopes } };
    case "rotateKey":
      return { action: "key.rotated", subjectId: op.oldKeyId, details: { new_key_id: op.keyId } };
    case "deleteKey":
      return { action: "key.deleted", subjectId: op.keyId };
    default:
      return noteOfEndpoint(op, result);
  }
}

function noteOfEndpoint(op: RareOp, result: OpResult): Note | null {
  switch (op.op) {
    case "createEndpoint":
      return { action: "endpoint.created", subjectId: op.id };
    case "putDefaultEndpoint": {
      const { id } = (result as Changed).endpoint;
      const isNew = id === op.id;
      const details = isNew ? { name: "default" } : { changed: ["url"] };
      return { action: isNew ? "endpoint.created" : "endpoint.updated", subjectId: id, details };
    }
    case "updateEndpoint": {
      const changed = Object.keys(op.change).map((name) => WIRE_NAMES[name as keyof EndpointSettings]);
      return { action: "endpoint.updated", subjectId: op.id, details: { changed } };
    }
    case "deleteEndpoint":
      return { action: "endpoint.deleted", subjectId: op.id };
    case "enableEndpoint":
      return { action: "endpoint.enabled", subjectId: op.id };
    case "disableEndpoint":
      return { action: "endpoint.disabled", subjectId: op.id, details: { reason: "manual" } };
    case "rotateSecret":
      return { action: "endpoint.secret_rotated", subjectId: op.id };
    default:
      return null;
  }
}

/** The settings as people name them. */
const WIRE_NAMES: Readonly<Record<keyof EndpointSettings, string>> = {
  url: "url",
  description: "description",
  eventTypes: "event_types",
  headers: "headers",
  maxInFlight: "max_in_flight",
  rateLimitPerSecond: "rate_limit_per_second",
  ordered: "ordered",
  timeoutMs: "timeout_ms",
};
