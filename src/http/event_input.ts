// From the bytes of a body to an event for the store. Surprise: the body is looked at twice. `JSON.parse` finds out
// whether it is valid and what its type is; the payload that is stored is cut out of the text itself (raw_json.ts), so
// that it stays as it was written.

import { assert } from "../base/assert.ts";
import { parseRfc3339 } from "../base/time.ts";
import type { NewEvent as StoredEvent } from "../store/store.ts";
import { DELIVER_AHEAD_MS_MAX, isDedupId, isNewEvent, NewEvent, PAYLOAD_BYTES_MAX } from "../wire/event.ts";
import { containerText } from "../wire/raw_json.ts";
import { decodeText, parseJson, validate } from "./body.ts";
import { HttpProblem, invalid } from "./problem.ts";

export type EventInput = Omit<StoredEvent, "org">;

const IDEMPOTENCY_KEY_DETAIL =
  "The header Idempotency-Key must have 1 to 255 characters of ASCII, or send dedup_id.";
const ONE_KEY_DETAIL =
  "The header Idempotency-Key is for one event: in a batch, give each event a dedup_id of its own.";

/** One event as JSON. */
export function parseEvent(bytes: Uint8Array, headers: Headers, nowMs: number): EventInput {
  const text = decodeText(bytes, headers);
  const value = parseJson(text, headers);
  // Beside the payload an event has only texts; one that has more is refused.
  const payload = containerText(text, "payload");
  const event = eventInput(value, payload, nowMs);
  return event.dedupId === null ? { ...event, dedupId: idempotencyKey(headers) } : event;
}

/** A parsed event, and the text of its payload: null when it has none. */
export function eventInput(value: unknown, payload: string | null, nowMs: number): EventInput {
  // The schema says what is wrong; it refuses what isNewEvent refuses.
  const event = isNewEvent(value) ? value : validate(NewEvent, value);
  assert(payload !== null, "a validated event has a payload");
  requireSize(payload);
  const { type, dedup_id = null, deliver_at } = event;
  const deliverAtMs = deliver_at === undefined ? null : futureMs(deliver_at, nowMs);
  return { type, dedupId: dedup_id, payload, deliverAtMs };
}

/** Null for a time that has come. */
function futureMs(time: string, nowMs: number): number | null {
  const ms = parseRfc3339(time);
  assert(ms !== null, "a validated time can be read");
  if (ms <= nowMs) return null;
  if (ms > nowMs + DELIVER_AHEAD_MS_MAX) throw invalid("/deliver_at", "It must be at most 90 days ahead.");
  return ms;
}

/** 413 when a payload's text has too many bytes. A UTF-16 unit is at most three of them. */
export function requireSize(payload: string): void {
  if (payload.length * 3 <= PAYLOAD_BYTES_MAX) return;
  if (Buffer.byteLength(payload) > PAYLOAD_BYTES_MAX) throw payloadTooLarge();
}

export function payloadTooLarge(): HttpProblem {
  return new HttpProblem("payload_too_large", { extra: { limit_bytes: PAYLOAD_BYTES_MAX } });
}

function idempotencyKey(headers: Headers): string | null {
  const key = headers.get("idempotency-key");
  if (key === null) return null;
  // Headers come as Latin-1: what is not ASCII may have been meant as UTF-8, and would be another id than in a body.
  if (isDedupId(key) && /^[\x20-\x7e]+$/.test(key)) return key;
  throw invalid("/dedup_id", IDEMPOTENCY_KEY_DETAIL);
}

/** A header that is ignored would let the retry of a batch store all of it twice. */
export function requireNoIdempotencyKey(headers: Headers): void {
  if (headers.has("idempotency-key")) throw invalid("/dedup_id", ONE_KEY_DETAIL);
}
