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

export type CheckedHeaders = { ok: true } | { ok: false; name: string; detail: string };

/** Ours, and those that frame the message: an endpoint that sets one could forge an event or smuggle a request. */
const RESERVED_HEADERS: ReadonlySet<string> = new Set([
  ...["content-type", "user-agent", "x-event-id", "x-event-type", "x-attempt"],
  ...["webhook-id", "webhook-timestamp", "webhook-signature"],
  ...["host", "content-length", "content-encoding", "transfer-encoding", "connection", "keep-alive"],
  ...["proxy-connection", "te", "trailer", "upgrade", "expect", "accept-encoding"],
]);

const HEADER_NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const HEADER_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;

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
  for (const [name, value] of Object.entries(extra)) {
    const detail = headerFault(name, value);
    if (detail !== null) return { ok: false, name, detail };
  }
  return { ok: true };
}

function headerFault(name: string, value: string): string | null {
  if (!HEADER_NAME.test(name)) return "A header's name is letters, digits and !#$%&'*+-.^_`|~ (RFC 9110).";
  if (RESERVED_HEADERS.has(name.toLowerCase())) return `The header ${name} is set by the service.`;
  if (!HEADER_VALUE.test(value))
    return `The value of ${name} has a line break or a character outside Latin-1.`;
  return null;
}

function unreserved(extra: Readonly<Record<string, string>> | undefined): Record<string, string> {
  if (extra === undefined) return {};
  return Object.fromEntries(
    Object.entries(extra).filter(([name]) => !RESERVED_HEADERS.has(name.toLowerCase())),
  );
}
