// What an operation is, told once: the same value checks the request, names the scope, and documents the call.

import type { z } from "zod";
import type { Scope } from "../wire/tiers.ts";
import type { ProblemCode } from "./problem.ts";

/**
 * Who may call: a key with that scope, any key, the operator, whoever has the metrics token (or all, when there is
 * none), or all.
 */
export type Access = Scope | "any_key" | "admin" | "metrics" | "open";

export const tags = [
  ["Keys", "Make an organization and its keys, exchange them, delete them."],
  ["Events", "Send events. An answer of 202 means that the event is on disk, and that it will be delivered."],
  ["Inbox", "Read events and acknowledge them: for consumers that poll, with or without a webhook."],
  [
    "Webhook",
    "One URL for all events, signed, and tried again until they are taken: the endpoint called `default`.",
  ],
  [
    "Endpoints",
    "As many URLs as you like, each with the types of events that it gets, its own secret, headers and limits.",
  ],
  ["Deliveries", "What became of each event at each endpoint, and sending again what was not taken."],
  ["Administration", "For the operator: list, change, export and erase organizations."],
  ["Operation", "Health, readiness and metrics."],
] as const;
export type Tag = (typeof tags)[number][0];

/** An answer that is no problem. Without a schema it has no body. */
export type AnswerKind = {
  readonly description: string;
  readonly schema?: z.ZodType;
  /** JSON, unless told. */
  readonly mediaType?: string;
  readonly headers?: readonly HeaderName[];
};

export type HeaderName = "X-RateLimit-Limit" | "X-RateLimit-Remaining" | "X-RateLimit-Reset";

export type Operation = {
  readonly id: string;
  readonly tag: Tag;
  readonly summary: string;
  readonly description?: string;
  readonly access: Access;
  /** Path parameters: what each is, and an example. */
  readonly params?: Readonly<Record<string, readonly [description: string, example: string]>>;
  readonly query?: z.ZodObject;
  /** Request headers: what each is, an example, and the pattern of its value (any text, unless told). */
  readonly headers?: Readonly<
    Record<string, readonly [description: string, example: string, pattern?: string]>
  >;
  readonly body?: z.ZodType;
  /** Other media types than JSON that are taken, for a handler that reads the body itself. */
  readonly otherBodies?: Readonly<Record<string, z.ZodType>>;
  /** No body at all stands for `{}`. */
  readonly bodyIsOptional?: boolean;
  /** The handler reads the body itself. */
  readonly readsBody?: boolean;
  readonly answers: Readonly<Record<number, AnswerKind>>;
  /** Beside those that follow from the rest; see `problemsOf`. */
  readonly problems?: readonly ProblemCode[];
};

/** Keeps the precise type of an operation, from which the type of its calls follows. */
export function operation<const O extends Operation>(told: O): O {
  return told;
}

const KEY_PROBLEMS: readonly ProblemCode[] = [
  "missing_api_key",
  "invalid_api_key",
  "expired_api_key",
  "organization_disabled",
  "too_many_attempts",
];
const BODY_PROBLEMS: readonly ProblemCode[] = [
  "malformed_json",
  "invalid_utf8",
  "unsupported_media_type",
  "validation_failed",
];

/** Every problem that an operation may answer. */
export function problemsOf(told: Operation): readonly ProblemCode[] {
  const { access, body, query, readsBody = false, problems = [] } = told;
  const byAccess: Record<Access, readonly ProblemCode[]> = {
    publish: [...KEY_PROBLEMS, "insufficient_scope"],
    consume: [...KEY_PROBLEMS, "insufficient_scope"],
    manage: [...KEY_PROBLEMS, "insufficient_scope"],
    any_key: KEY_PROBLEMS,
    admin: ["admin_token_required", "foreign_host"],
    metrics: ["metrics_token_required"],
    open: [],
  };
  const byBody = body === undefined ? [] : BODY_PROBLEMS;
  const bySize: readonly ProblemCode[] = body === undefined || readsBody ? [] : ["body_too_large"];
  const byQuery: readonly ProblemCode[] = query === undefined ? [] : ["validation_failed"];
  const all = [...byBody, ...byAccess[access], ...bySize, ...byQuery, ...problems, "internal_error"] as const;
  return [...new Set(all)];
}
