// The audit record: who changed keys, endpoints and organizations. Told to the operator alone.

import { z } from "zod";
import { id, idInput, listEnd, listQuery, time, timeInput } from "./text.ts";

export const actorKinds = ["key", "admin", "open_mode", "command_line", "server"] as const;
export type ActorKind = (typeof actorKinds)[number];

export const auditActions = [
  "organization.created",
  "organization.updated",
  "organization.exported",
  "organization.erase_started",
  "organization.erased",
  "key.created",
  "key.rotated",
  "key.deleted",
  "endpoint.created",
  "endpoint.updated",
  "endpoint.deleted",
  "endpoint.enabled",
  "endpoint.disabled",
  "endpoint.secret_rotated",
] as const;
export type AuditAction = (typeof auditActions)[number];

const examples = {
  key: "A1b2C3d4",
  address: "127.0.0.1",
  request: "01a1fd3a-0340-7000-8f4e-3b8d1c6a9e55",
} as const;

export const AuditEntry = z
  .object({
    at: time("When it was done."),
    action: z.enum(auditActions).meta({ description: "What was done.", examples: ["key.created"] }),
    actor: z.enum(actorKinds).meta({
      description:
        "Who did it: a `key`, the operator with ADMIN_TOKEN (`admin`) or without one in open mode (`open_mode`), " +
        "`keys create` on the machine itself (`command_line`), or the `server`, which disables an endpoint.",
      examples: ["admin"],
    }),
    key_id: z
      .string()
      .nullable()
      .meta({ description: "The public id of the key that did it.", examples: [examples.key] }),
    address: z
      .string()
      .nullable()
      .meta({ description: "Where the call came from.", examples: [examples.address] }),
    request_id: z
      .string()
      .nullable()
      .meta({ description: "The call's `X-Request-Id`, as in the log.", examples: [examples.request] }),
    organization_id: id("The organization that it was done to; it may be erased."),
    subject_id: z
      .string()
      .nullable()
      .meta({
        description: "The key or the endpoint that it was done to; null: the organization itself.",
        examples: [examples.key],
      }),
    details: z.record(z.string(), z.unknown()).meta({
      description: "What was changed; never a secret, a URL or a name.",
      examples: [{ tier: "pro" }],
    }),
  })
  .meta({ id: "AuditEntry", description: "One entry of the audit record." });

export const AuditPage = z
  .object({ entries: z.array(AuditEntry), ...listEnd })
  .meta({ id: "AuditPage", description: "A page of the audit record, the newest entry first." });

export const AuditQuery = z.strictObject({
  organization_id: idInput("Only what was done to this organization.").optional(),
  since: timeInput("Only what was done at this time or later.").optional(),
  until: timeInput("Only what was done before this time.").optional(),
  ...listQuery,
});
