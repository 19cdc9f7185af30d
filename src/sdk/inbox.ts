// Walking the inbox page by page. Its events come with their own JSON texts, for the payload's sake.

import type { Connection } from "./connection.ts";
import { notThisService } from "./error.ts";
import { type AnyTypes, type EventStatus, type InboxEvent, inboxEvent, isTold } from "./event.ts";
import { elementTexts, memberText } from "./json_text.ts";

export interface InboxOptions {
  /** `undelivered`: pending, failed and dead_letter. */
  readonly status?: EventStatus | "undelivered";
  /** A type, or the beginning of one with `*` at its end. */
  readonly type?: string;
  /** Accepted at this time or later. */
  readonly since?: Date | string;
  /** Accepted before this time. */
  readonly until?: Date | string;
  /** `desc`, the newest first, unless told. */
  readonly order?: "asc" | "desc";
  /** Events in one call, 1 to 1000; 100 unless told. */
  readonly pageSize?: number;
  /** Waits so long (0 to 30 s) for a first event when there is none. */
  readonly waitSeconds?: number;
  readonly signal?: AbortSignal;
}

/** Every event that was there when the walk began, once. Rejects with the signal's reason when it is aborted. */
export async function* walkInbox<Types extends object = AnyTypes>(
  connection: Connection,
  options: InboxOptions = {},
): AsyncGenerator<InboxEvent<Types>> {
  for await (const { text, parsed } of inboxTexts(connection, options)) yield inboxEvent<Types>(text, parsed);
}

/** The same, as JSON texts. */
export async function* inboxTexts(
  connection: Connection,
  { status, type, since, until, order, pageSize, waitSeconds, signal }: InboxOptions,
): AsyncGenerator<{ text: string; parsed: unknown }> {
  const query = {
    status,
    type,
    since: timeText(since),
    until: timeText(until),
    order,
    limit: pageSize,
    wait: waitSeconds,
  };
  for (let cursor: string | undefined; ; ) {
    const wait = { ...(waitSeconds === undefined ? {} : { waitSeconds }), signal };
    const ask = { method: "GET", path: "/api/inbox", isIdempotent: true, ...wait } as const;
    const { text, body } = await connection.ask({ ...ask, query: { ...query, cursor } });
    yield* eventTexts(text, body);
    if (body.has_more !== true || typeof body.next_cursor !== "string") return;
    cursor = body.next_cursor;
  }
}

/** The events of an answer with a list `events`, each with its own text. */
export function eventTexts(text: string, { events }: Record<string, unknown>) {
  if (!Array.isArray(events) || !events.every(isTold)) throw notThisService(200);
  const texts = elementTexts(memberText(text, "events") ?? "[]");
  return events.map((parsed: unknown, at) => ({ text: texts[at] ?? "{}", parsed }));
}

function timeText(time: Date | string | undefined): string | undefined {
  return time instanceof Date ? time.toISOString() : time;
}
