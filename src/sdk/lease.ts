// The four calls of a lease: take, acknowledge, release, extend.

import type { Ask, Connection } from "./connection.ts";
import { type AnyTypes, type InboxEvent, inboxEvent } from "./event.ts";
import { eventTexts } from "./inbox.ts";

export interface LeaseOptions {
  /** 1 to 1000; 10 unless told. */
  readonly max?: number;
  /** How long nobody else gets the events, 1 to 3600; 300 unless told. */
  readonly leaseSeconds?: number;
  readonly type?: string;
  /** Waits so long (0 to 30 s) when there is nothing. */
  readonly waitSeconds?: number;
  readonly signal?: AbortSignal;
}

export interface Lease<Types extends object = AnyTypes> {
  /** Null when there was nothing to lease. */
  readonly id: string | null;
  readonly leasedUntil: string | null;
  /** The oldest first. */
  readonly events: readonly InboxEvent<Types>[];
}

/** Not repeated after a lost answer: its events come back when the lease runs out. */
export async function takeLease<Types extends object = AnyTypes>(
  connection: Connection,
  { max, leaseSeconds, type, waitSeconds, signal }: LeaseOptions = {},
): Promise<Lease<Types>> {
  const { text, body } = await connection.ask({
    method: "POST",
    path: "/api/inbox/lease",
    body: JSON.stringify({ max, lease_seconds: leaseSeconds, type, wait: waitSeconds }),
    isIdempotent: false,
    ...(waitSeconds === undefined ? {} : { waitSeconds }),
    signal,
  });
  const { lease_id, leased_until } = body;
  return {
    id: typeof lease_id === "string" ? lease_id : null,
    leasedUntil: typeof leased_until === "string" ? leased_until : null,
    events: eventTexts(text, body).map((one) => inboxEvent<Types>(one.text, one.parsed)),
  };
}

/** These events, or all of the lease, are done. How many became so. */
export async function ackLease(
  connection: Connection,
  leaseId: string,
  eventIds?: readonly string[],
): Promise<number> {
  return await count(connection, "ack", "acknowledged", { lease_id: leaseId, event_ids: eventIds });
}

/** These events, or all of the lease, are handed to the next who asks, after `delaySeconds`. */
export async function releaseLease(
  connection: Connection,
  leaseId: string,
  eventIds?: readonly string[],
  delaySeconds = 0,
): Promise<number> {
  const body = { lease_id: leaseId, event_ids: eventIds, delay_seconds: delaySeconds };
  return await count(connection, "release", "released", body);
}

/** The lease runs out `leaseSeconds` from now. */
export async function extendLease(
  connection: Connection,
  leaseId: string,
  leaseSeconds: number,
): Promise<number> {
  return await count(connection, "extend", "extended", { lease_id: leaseId, lease_seconds: leaseSeconds });
}

async function count(connection: Connection, verb: string, counted: string, body: object): Promise<number> {
  const path = `/api/inbox/${verb}`;
  const ask: Ask = { method: "POST", path, body: JSON.stringify(body), isIdempotent: true };
  return Number((await connection.ask(ask)).body[counted] ?? 0);
}
