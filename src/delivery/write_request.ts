// A request as it goes over the wire: what an endpoint's attempts share is written once, the rest for each. No header can
// hold a line's end, whoever made it, since each passes through `headerLine`.
import { type WebhookEvent, webhookBody, webhookHeaders } from "../webhook/request.ts";
import { signatureHeader } from "../webhook/sign.ts";

export interface RequestContent {
  /** 1 for the first try. */
  attemptNumber: number;
  event: WebhookEvent;
  /** At least one; during a secret's overlap the old one too. */
  secretKeys: readonly Uint8Array[];
  extraHeaders?: Readonly<Record<string, string>>;
}

/** Signs as of `nowMs`; null when a header has a name or a value that cannot be sent. `start` is a route's. */
export type WriteRequest = (content: RequestContent, start: string, nowMs: number) => string | Buffer | null;

const HEADER_NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const HEADER_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
const NOT_ASCII = /[^\0-\x7f]/;
const NO_HEADERS: Readonly<Record<string, string>> = {};

export function createRequestWriter(version: string): WriteRequest {
  const ownLines = createOwnLines(version);
  return ({ attemptNumber, event, secretKeys, extraHeaders = NO_HEADERS }, start, nowMs) => {
    const body = webhookBody(event);
    const timestampSeconds = Math.floor(nowMs / 1000);
    const signature = signatureHeader(secretKeys, event.id, timestampSeconds, body);
    const { id, type } = event;
    const headers = webhookHeaders({ id, type, attemptNumber, timestampSeconds, signature, version });
    const own = ownLines(extraHeaders);
    const lines = headerLines(headers);
    if (own === null || lines === null) return null;
    const head = `${start}${own.text}${lines}content-length: ${Buffer.byteLength(body)}\r\n\r\n`;
    return own.isAscii ? head + body : Buffer.concat([Buffer.from(head, "latin1"), Buffer.from(body)]);
  };
}

/** Text is written as UTF-8, of which ASCII is a part; any other character of a header is a byte of its own (Latin-1). */
type OwnLines = { text: string; isAscii: boolean };

/** An endpoint's own headers without those that are ours. Its attempts bring the same object, and it is not changed. */
function createOwnLines(version: string) {
  const known = new WeakMap<Readonly<Record<string, string>>, OwnLines | null>();
  return (extra: Readonly<Record<string, string>>): OwnLines | null => {
    const remembered = known.get(extra);
    if (remembered !== undefined) return remembered;
    const text = headerLines(withoutOurs(extra, version));
    const written = text === null ? null : { text, isAscii: !NOT_ASCII.test(text) };
    known.set(extra, written);
    return written;
  };
}

function withoutOurs(extra: Readonly<Record<string, string>>, version: string): Record<string, string> {
  const nothing = { id: "", type: "", attemptNumber: 0, timestampSeconds: 0, signature: "", version };
  const ours = webhookHeaders(nothing);
  const all = Object.entries(webhookHeaders({ ...nothing, extra }));
  return Object.fromEntries(all.filter(([name]) => !Object.hasOwn(ours, name)));
}

function headerLines(headers: Readonly<Record<string, string>>): string | null {
  let lines = "";
  for (const name in headers) {
    const line = headerLine(name, headers[name] ?? "");
    if (line === null) return null;
    lines += line;
  }
  return lines;
}

function headerLine(name: string, value: string): string | null {
  return HEADER_NAME.test(name) && HEADER_VALUE.test(value) ? `${name}: ${value}\r\n` : null;
}
