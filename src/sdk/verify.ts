// For a receiver of webhooks: whether a request comes from this service, and was not changed or kept back on its way.
// Standard Webhooks (https://www.standardwebhooks.com), by WebCrypto, so that it runs in Bun, Node 20 and browsers.
// Surprise: the body must be the bytes that came in. What was parsed and written again has another signature.

import { memberText } from "./json_text.ts";

export type WebhookProblem =
  | "missing_header"
  | "bad_timestamp"
  | "too_old"
  | "too_new"
  | "wrong_signature"
  | "malformed_body";

/** A webhook that must not be trusted: answer 400 and do nothing else. */
export class WebhookError extends Error {
  override readonly name = "WebhookError";
  readonly code: WebhookProblem;

  constructor(code: WebhookProblem, detail: string) {
    super(detail);
    this.code = code;
  }
}

export interface WebhookRequest {
  /** `whsec_...` as the endpoint's creation told it; several while one is exchanged. */
  readonly secret: string | readonly string[];
  /** Of the request: `Headers`, or an object with lower-case names, as Node has it. */
  readonly headers: Headers | Readonly<Record<string, string | readonly string[] | undefined>>;
  readonly body: string | Uint8Array | ArrayBuffer;
  /** How far its time may be from now; 300 s unless told. */
  readonly toleranceSeconds?: number;
  /** Now, unless told. */
  readonly nowMs?: number;
}

export interface Webhook {
  /** The event's id, the same on each try: what was seen before is to be answered with 200 and left. */
  readonly id: string;
  readonly type: string;
  /** When the event was accepted, RFC 3339. */
  readonly timestamp: string;
  readonly payload: unknown;
  /** The payload's JSON text as it was sent. */
  readonly payloadText: string;
}

const TOLERANCE_SECONDS = 300;

/** The webhook of a request. Rejects with a WebhookError; with a TypeError when the secret is none. */
export async function verifyWebhook(request: WebhookRequest): Promise<Webhook> {
  const id = header(request, "webhook-id");
  const timestamp = header(request, "webhook-timestamp");
  const given = header(request, "webhook-signature");
  checkTime(timestamp, request);
  const { secret } = request;
  const body = typeof request.body === "string" ? encoder.encode(request.body) : new Uint8Array(request.body);
  const content = joined(encoder.encode(`${id}.${timestamp}.`), body);
  const signatures = given.split(" ").filter((one) => one.startsWith("v1,"));
  for (const one of typeof secret === "string" ? [secret] : secret) {
    const expected = await signature(one, content);
    if (signatures.some((candidate) => isSame(candidate, expected))) return webhookOf(body);
  }
  throw new WebhookError("wrong_signature", "No signature of the header webhook-signature fits.");
}

const encoder = new TextEncoder();

function header({ headers }: WebhookRequest, name: string): string {
  const value = headers instanceof Headers ? headers.get(name) : headers[name];
  if (typeof value === "string" && value !== "") return value;
  throw new WebhookError("missing_header", `The header ${name} is missing.`);
}

function checkTime(
  text: string,
  { toleranceSeconds = TOLERANCE_SECONDS, nowMs = Date.now() }: WebhookRequest,
) {
  if (!/^\d{1,12}$/.test(text))
    throw new WebhookError("bad_timestamp", "The header webhook-timestamp is no time.");
  const ageSeconds = Math.floor(nowMs / 1_000) - Number(text);
  if (ageSeconds > toleranceSeconds)
    throw new WebhookError("too_old", `The webhook is older than ${toleranceSeconds} s.`);
  if (ageSeconds < -toleranceSeconds)
    throw new WebhookError("too_new", "The webhook's time is ahead of this machine's clock.");
}

async function signature(secret: string, content: Uint8Array<ArrayBuffer>): Promise<string> {
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  const key = await crypto.subtle.importKey("raw", keyBytes(secret), algorithm, false, ["sign"]);
  const bytes = new Uint8Array(await crypto.subtle.sign("HMAC", key, content));
  return `v1,${btoa(String.fromCharCode(...bytes))}`;
}

/** The error does not repeat the secret. */
function keyBytes(secret: string): Uint8Array<ArrayBuffer> {
  try {
    const text = atob(secret.replace(/^whsec_/, ""));
    if (text !== "") return Uint8Array.from(text, (character) => character.charCodeAt(0));
  } catch {
    // Falls through.
  }
  throw new TypeError("the signing secret is not whsec_ and base64");
}

/** Takes as long for a first wrong character as for a last. Of base64 text: what does not fit exactly is wrong. */
function isSame(candidate: string, expected: string): boolean {
  let difference = candidate.length ^ expected.length;
  for (let at = 0; at < expected.length; at++)
    difference |= candidate.charCodeAt(at) ^ expected.charCodeAt(at);
  return difference === 0;
}

function joined(first: Uint8Array, second: Uint8Array): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(first.length + second.length);
  all.set(first);
  all.set(second, first.length);
  return all;
}

function webhookOf(body: Uint8Array): Webhook {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(body);
    const { id, type, timestamp, data } = JSON.parse(text) as Record<string, unknown>;
    const payloadText = memberText(text, "data");
    if (typeof id === "string" && typeof type === "string" && payloadText !== null)
      return { id, type, timestamp: String(timestamp), payload: data, payloadText };
  } catch {
    // Falls through.
  }
  throw new WebhookError("malformed_body", "The signature fits, but the body is no webhook of this service.");
}
