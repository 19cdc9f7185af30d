// Events on their way out and back. The wire has snake_case, a program camelCase; the payload comes twice: parsed,
// and as the text that was sent, since a number beyond double precision survives only in the text.

import { memberText } from "./json_text.ts";

/** Event types and their payloads: `{ "order.created": { order: number } }`. Without one, payloads are unknown. */
export type AnyTypes = Record<string, unknown>;

interface Sending {
  /** Your own id of the event. With it a second sending is no second event (24 hours), and may be tried again. */
  readonly dedupId?: string;
  /** Hidden and not delivered before; at most 90 days ahead. */
  readonly deliverAt?: Date | string;
}

/** `payloadText` is JSON text that goes out as it is, instead of `payload`. */
type Payload<P> =
  | { readonly payload: P; readonly payloadText?: never }
  | { readonly payloadText: string; readonly payload?: never };

export type NewEvent<Types extends object = AnyTypes> = {
  [T in keyof Types & string]: Sending & { readonly type: T } & Payload<Types[T]>;
}[keyof Types & string];

export type EventStatus = "pending" | "failed" | "dead_letter" | "delivered";

interface Told {
  readonly id: string;
  readonly dedupId: string | null;
  /** The payload's JSON text as it was sent. */
  readonly payloadText: string;
  readonly status: EventStatus;
  /** Of all its webhooks together. */
  readonly attempts: number;
  readonly responseStatus: number | null;
  readonly lastError: string | null;
  /** RFC 3339. */
  readonly createdAt: string;
  readonly updatedAt: string;
  readonly nextAttemptAt: string | null;
  /** How often it was leased, this time included; null outside a lease. */
  readonly leaseCount: number | null;
}

export type InboxEvent<Types extends object = AnyTypes> = {
  [T in keyof Types & string]: Told & { readonly type: T; readonly payload: Types[T] };
}[keyof Types & string];

/** The JSON text of a new event. Throws a TypeError when the payload has none. */
export function eventText<Types extends object>(event: NewEvent<Types>): string {
  const { type, dedupId, deliverAt } = event;
  const members = [`"type":${JSON.stringify(type)}`, `"payload":${payloadTextOf(event)}`];
  if (dedupId !== undefined) members.push(`"dedup_id":${JSON.stringify(dedupId)}`);
  if (deliverAt !== undefined) members.push(`"deliver_at":${JSON.stringify(deliverAt)}`);
  return `{${members.join(",")}}`;
}

function payloadTextOf({ payload, payloadText }: { payload?: unknown; payloadText?: string }): string {
  if (payloadText === undefined) {
    const text: string | undefined = JSON.stringify(payload);
    if (text === undefined) throw new TypeError("the payload is nothing that JSON can say");
    return text;
  }
  try {
    // Text that is no JSON value would reach into the event around it.
    JSON.parse(payloadText);
  } catch {
    throw new TypeError("the payload is not JSON");
  }
  return payloadText;
}

/** An event from its JSON text; `parsed` is what JSON.parse made of it. */
export function inboxEvent<Types extends object>(text: string, parsed: unknown): InboxEvent<Types> {
  const told = parsed as Record<string, unknown>;
  const event = {
    id: told.id,
    type: told.type,
    dedupId: told.dedup_id ?? null,
    payload: told.payload,
    payloadText: memberText(text, "payload") ?? "null",
    status: told.status,
    attempts: told.attempts ?? 0,
    responseStatus: told.response_status ?? null,
    lastError: told.last_error ?? null,
    createdAt: told.created_at,
    updatedAt: told.updated_at,
    nextAttemptAt: told.next_attempt_at ?? null,
    leaseCount: told.lease_count ?? null,
  };
  // The server's word: nothing is checked beyond its being an event.
  return event as InboxEvent<Types>;
}

/** Whether it is an event at all. */
export function isTold(parsed: unknown): boolean {
  return typeof parsed === "object" && parsed !== null && "id" in parsed && "type" in parsed;
}
