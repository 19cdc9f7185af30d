// CloudEvents 1.0 over HTTP: the structured mode (the whole event is JSON) and the binary mode (attributes are headers,
// the body is the data). Both end as the same event: source and id are its dedup id, data is its payload.

import { CLOUD_EVENT_MEDIA_TYPE, CloudEvent } from "../wire/cloud_event.ts";
import { DEDUP_ID_CHARACTERS_MAX } from "../wire/event.ts";
import { memberText } from "../wire/raw_json.ts";
import { isWithin } from "../wire/text.ts";
import { decodeText, mediaTypeOf, parseJson, requireJson, requireUtf8, validate } from "./body.ts";
import { type EventInput, requireSize } from "./event_input.ts";
import { type FieldError, HttpProblem, validationProblem } from "./problem.ts";

const REQUIRED = ["specversion", "id", "source", "type"] as const;

const HEADER_DETAIL =
  "It must be visible ASCII, with other characters as the percent-encoded bytes of their UTF-8 (CloudEvents HTTP 3.1.3.2).";
const BATCH_DETAIL = "A batch of CloudEvents goes to POST /api/events/batch.";

/** How a request carries a CloudEvent; null when it carries none. */
export function cloudEventMode(headers: Headers): "structured" | "binary" | null {
  if (headers.get("content-type") === "application/json" && !headers.has("ce-specversion")) {
    return headers.has("ce-type") ? "binary" : null;
  }
  const mediaType = mediaTypeOf(headers);
  if (mediaType.startsWith("application/cloudevents-batch")) {
    throw new HttpProblem("unsupported_media_type", { detail: BATCH_DETAIL });
  }
  if (mediaType.startsWith("application/cloudevents")) {
    requireJson(headers, CLOUD_EVENT_MEDIA_TYPE);
    return "structured";
  }
  return REQUIRED.some((name) => headers.has(`ce-${name}`)) ? "binary" : null;
}

/** The event of a request in that mode. */
export function parseCloudEvent(
  mode: "structured" | "binary",
  bytes: Uint8Array,
  headers: Headers,
): EventInput {
  if (mode === "binary") return binaryInput(bytes, headers);
  const text = decodeText(bytes, headers);
  const value = parseJson(text, headers);
  return structuredInput(value, memberText(text, "data"));
}

/** A parsed CloudEvent, and the text of its data: null when it has none. */
export function structuredInput(value: unknown, data: string | null): EventInput {
  const event = validate(CloudEvent, value);
  const { data_base64 } = event;
  const payload = typeof data_base64 === "string" ? JSON.stringify(data_base64) : (data ?? "null");
  return inputOf(event, payload);
}

function binaryInput(bytes: Uint8Array, headers: Headers): EventInput {
  const attributes = Object.fromEntries(
    REQUIRED.map((name) => [name, headerValue(headers, name)]).filter(([, value]) => value !== null),
  );
  let event: CloudEvent;
  try {
    event = validate(CloudEvent, attributes);
  } catch (error) {
    throw inHeaders(error);
  }
  return inputOf(event, payloadOf(bytes, headers));
}

function inputOf({ type, source, id }: CloudEvent, payload: string): EventInput {
  requireSize(payload);
  return { type, dedupId: dedupIdOf(source, id), payload, deliverAtMs: null };
}

/** A source has no space, so the first one ends it; and a text without one can only be a digest. */
function dedupIdOf(source: string, id: string): string {
  const whole = `${source} ${id}`;
  return isWithin(whole, DEDUP_ID_CHARACTERS_MAX)
    ? whole
    : new Bun.CryptoHasher("sha256").update(whole).digest("hex");
}

/** JSON as it is, text as a JSON string, all else as a JSON string of Base64. */
function payloadOf(bytes: Uint8Array, headers: Headers): string {
  if (bytes.length === 0) return "null";
  const mediaType = mediaTypeOf(headers);
  const isJson = mediaType === "" || /^[^/]+\/([^/]+\+)?json$/.test(mediaType);
  if (isJson) return jsonText(bytes, headers);
  if (!mediaType.startsWith("text/")) return JSON.stringify(Buffer.from(bytes).toString("base64"));
  requireUtf8(headers);
  return JSON.stringify(decodeText(bytes, headers));
}

function jsonText(bytes: Uint8Array, headers: Headers): string {
  requireUtf8(headers);
  const text = decodeText(bytes, headers);
  parseJson(text, headers);
  return text.replace(/^[ \t\r\n]+|[ \t\r\n]+$/g, "");
}

function headerValue(headers: Headers, name: string): string | null {
  const given = headers.get(`ce-${name}`);
  if (given === null) return null;
  const text = /^".*"$/.test(given) ? given.slice(1, -1).replace(/\\(.)/g, "$1") : given;
  try {
    if (/^[\x20-\x7e]*$/.test(text)) return decodeURIComponent(text);
  } catch {
    // A percent sign that encodes nothing, or bytes that are not UTF-8.
  }
  throw validationProblem([{ pointer: `/ce-${name}`, detail: HEADER_DETAIL }]);
}

/** The same refusal with pointers to the headers. */
function inHeaders(error: unknown): unknown {
  if (!(error instanceof HttpProblem) || !Array.isArray(error.extra.errors)) return error;
  const errors = error.extra.errors as readonly FieldError[];
  return validationProblem(
    errors.map(({ pointer, detail }) => ({ pointer: `/ce-${pointer.slice(1)}`, detail })),
  );
}
