// What a webhook request says: its body and its headers. The payload is spliced in as the JSON text that came in and is
// never parsed, because parsing would change what was published (9007199254740993, 1.0, 1e400, key order, escapes).

export interface WebhookEvent {
  id: string;
  type: string;
  /** When the event was accepted, Unix milliseconds. */
  timestampMs: number;
  /** The payload's own JSON text. */
  data: string;
}

export interface HeaderInput {
  id: string;
  type: string;
  /** 1 for the first try. */
  attemptNumber: number;
  /** Of this attempt, Unix seconds: the one that was signed. */
  timestampSeconds: number;
  signature: string;
  /** Of this product, for `user-agent`. */
  version: string;
  /** The endpoint's own headers. Ours win: one that is reserved is left out. */
  extra?: Readonly<Record<string, string>>;
}

/** `name`: which header is at fault; null when it is all of them together. */
export type CheckedHeaders = { ok: true } | { ok: false; name: string | null; detail: string };

/**
 * Ours, those that frame the message, and those that are for the next hop only (RFC 9110, 7.6.1; RFC 7230, A.1.2): an
 * endpoint that sets one could forge an event or smuggle a request.
 */
const RESERVED_HEADERS: ReadonlySet<string> = new Set([
  ...["content-type", "user-agent", "x-event-id", "x-event-type", "x-attempt"],
  ...["host", "content-length", "content-encoding", "content-range", "transfer-encoding"],
  ...["connection", "keep-alive", "te", "trailer", "upgrade", "http2-settings"],
  ...["proxy-connection", "proxy-authorization", "proxy-authenticate", "expect", "accept-encoding"],
]);
/** Standard Webhooks may name more of them than it does now. */
const RESERVED_PREFIX = "webhook-";
/** With `: ` and the line end of each. Most servers take 16 KB of headers or more; ours beside these have 600 bytes. */
const HEADERS_BYTES_MAX = 8 * 1024;
const HEADER_EXTRA_BYTES = 4;
const TOO_LONG = "The headers have more than 8 KB in all.";

const HEADER_NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** ASCII: what lies beyond could be meant, and written, in two encodings. */
const HEADER_VALUE = /^[\t\x20-\x7e]*$/;

/** The body's text, in the contract's key order: `{"id","type","timestamp","data"}`; `timestamp` is RFC 3339, UTC, ms. */
export function webhookBody({ id, type, timestampMs, data }: WebhookEvent): string {
  const timestamp = new Date(timestampMs).toISOString();
  return `{"id":${JSON.stringify(id)},"type":${JSON.stringify(type)},"timestamp":"${timestamp}","data":${data}}`;
}

/** All headers of an attempt but those of the connection (`host`, `content-length`, ...), which the sender knows. */
export function webhookHeaders(input: HeaderInput): Record<string, string> {
  return {
    ...unreserved(input.extra),
    "content-type": "application/json",
    "user-agent": `ZapierTriggers/${input.version}`,
    "x-event-id": input.id,
    "x-event-type": input.type,
    "x-attempt": String(input.attemptNumber),
    "webhook-id": input.id,
    "webhook-timestamp": String(input.timestampSeconds),
    "webhook-signature": input.signature,
  };
}

/** Whether an endpoint's own headers can be sent as they are, for the call that sets them; values are not repeated. */
export function checkExtraHeaders(extra: Readonly<Record<string, string>>): CheckedHeaders {
  const seen = new Set<string>();
  let bytes = 0;
  for (const [name, value] of Object.entries(extra)) {
    const fault = headerFault(name, value);
    if (fault !== null) return { ok: false, name, detail: fault };
    const lowerCase = name.toLowerCase();
    if (seen.has(lowerCase))
      return { ok: false, name, detail: `The header ${name} is there twice: letters of any case are one.` };
    seen.add(lowerCase);
    // They are ASCII: a character is a byte.
    bytes += name.length + value.length + HEADER_EXTRA_BYTES;
  }
  return bytes <= HEADERS_BYTES_MAX ? { ok: true } : { ok: false, name: null, detail: TOO_LONG };
}

function headerFault(name: string, value: string): string | null {
  if (!HEADER_NAME.test(name)) return "A header's name is letters, digits and !#$%&'*+-.^_`|~ (RFC 9110).";
  if (isReserved(name)) return `The header ${name} is set by the service or belongs to the connection.`;
  if (!HEADER_VALUE.test(value)) {
    return `The value of ${name} has a line break or a character outside ASCII.`;
  }
  if (value !== value.trim()) return `The value of ${name} begins or ends with white space: HTTP drops it.`;
  return null;
}

function unreserved(extra: Readonly<Record<string, string>> | undefined): Record<string, string> {
  if (extra === undefined) return {};
  return Object.fromEntries(Object.entries(extra).filter(([name]) => !isReserved(name)));
}

function isReserved(name: string): boolean {
  const lowerCase = name.toLowerCase();
  return RESERVED_HEADERS.has(lowerCase) || lowerCase.startsWith(RESERVED_PREFIX);
}
