// Everything that can be refused, in one table, and its form on the wire: application/problem+json (RFC 9457).
// The OpenAPI document is made from the same table. `detail` is always written here or at the place that refuses: an
// exception's own text never leaves the process.

/** What a code stands for. `meaning` is for the documentation; it is also the detail where no better one is given. */
export type ProblemKind = { readonly status: number; readonly title: string; readonly meaning: string };

export const problemKinds = {
  malformed_json: {
    status: 400,
    title: "Malformed JSON",
    meaning: "The body is not JSON. Check quotes, commas and brackets.",
  },
  invalid_utf8: {
    status: 400,
    title: "Invalid UTF-8",
    meaning: "The body is not UTF-8. Send JSON as UTF-8.",
  },
  malformed_request: {
    status: 400,
    title: "Malformed request",
    meaning: "The request could not be read. Check its URL and its headers.",
  },
  missing_api_key: {
    status: 401,
    title: "API key missing",
    meaning: "Send your API key as X-API-Key: KEY, or as Authorization: Bearer KEY.",
  },
  invalid_api_key: {
    status: 401,
    title: "API key invalid",
    meaning: "This API key is unknown, mistyped or deleted. Check that all 64 characters were copied.",
  },
  expired_api_key: {
    status: 401,
    title: "API key expired",
    meaning: "This API key has expired, or was rotated. Use the new key.",
  },
  organization_disabled: {
    status: 401,
    title: "Organization disabled",
    meaning: "The organization of this key is disabled. The operator of this server can enable it again.",
  },
  admin_token_required: {
    status: 401,
    title: "Admin token required",
    meaning:
      "This call is for the operator: send Authorization: Bearer ADMIN_TOKEN, as the server was given it.",
  },
  metrics_token_required: {
    status: 401,
    title: "Metrics token required",
    meaning: "Send Authorization: Bearer METRICS_TOKEN, as the server was given it.",
  },
  insufficient_scope: {
    status: 403,
    title: "Scope missing",
    meaning: "This key may not do that. Use a key with the scope that `required_scope` names.",
  },
  foreign_host: {
    status: 403,
    title: "Host not allowed",
    meaning:
      "Without ADMIN_TOKEN this call is only for this machine, under a name such as localhost or 127.0.0.1. Call it " +
      "so, or set ADMIN_TOKEN.",
  },
  route_not_found: {
    status: 404,
    title: "No such path",
    meaning: "There is nothing at this path. /docs lists what there is.",
  },
  not_found: {
    status: 404,
    title: "Not found",
    meaning: "There is no such thing in this organization.",
  },
  method_not_allowed: {
    status: 405,
    title: "Method not allowed",
    meaning: "This path does not take this method. The header Allow lists those it takes.",
  },
  slow_reader: {
    status: 408,
    title: "Slow reader",
    meaning:
      "Nothing was taken from this stream for a minute while events waited. Connect again with the last id: nothing is " +
      "lost.",
  },
  duplicate_event: {
    status: 409,
    title: "Duplicate event",
    meaning:
      "An event with this dedup_id was accepted within the last 24 hours: `event_id` is its id. Nothing was stored.",
  },
  last_manage_key: {
    status: 409,
    title: "Last manage key",
    meaning: "This is the last key with the scope manage. Make another one first, or rotate this one.",
  },
  too_many_keys: {
    status: 409,
    title: "Too many keys",
    meaning: "An organization can have 1,000 keys. Delete one that is not used any more.",
  },
  too_many_endpoints: {
    status: 409,
    title: "Too many endpoints",
    meaning: "An organization can have 1,000 endpoints. Delete one that is not needed any more.",
  },
  endpoint_deleted: {
    status: 409,
    title: "Endpoint deleted",
    meaning:
      "The endpoint of this delivery was deleted. A replay with missing_only sends the event to another one: POST " +
      "/api/endpoints/:id/replay.",
  },
  lease_expired: {
    status: 409,
    title: "Lease expired",
    meaning:
      "The lease had run out, and another consumer has the events in `lost` by now: leave them to him. What was still " +
      "yours is done.",
  },
  delivery_disabled: {
    status: 409,
    title: "Delivery disabled",
    meaning:
      "The operator started this server with DISABLE_WEBHOOK_DELIVERY: nothing is sent, not even a test.",
  },
  payload_too_large: {
    status: 413,
    title: "Payload too large",
    meaning:
      "The payload's JSON text has more than `limit_bytes` bytes. Send a reference to the data instead.",
  },
  body_too_large: {
    status: 413,
    title: "Body too large",
    meaning: "The request's body has more than `limit_bytes` bytes.",
  },
  unsupported_media_type: {
    status: 415,
    title: "Unsupported media type",
    meaning: "Send the body as JSON, with the header Content-Type: application/json, and not compressed.",
  },
  validation_failed: {
    status: 422,
    title: "Validation failed",
    meaning: "`errors` lists what is wrong, each with a JSON pointer to its place.",
  },
  rate_limited: {
    status: 429,
    title: "Rate limited",
    meaning:
      "This is more than the limit of one minute. Try again after the seconds in the header Retry-After.",
  },
  too_many_attempts: {
    status: 429,
    title: "Too many attempts",
    meaning:
      "Too many keys are being checked, or too many wrong ones came from your address. Nothing was found out about " +
      "this key: try it again after the seconds in the header Retry-After.",
  },
  too_many_tests: {
    status: 429,
    title: "Too many tests",
    meaning: "Too many tests are under way. Try again after the seconds in the header Retry-After.",
  },
  too_many_waiters: {
    status: 429,
    title: "Too many waiters",
    meaning:
      "1,000 calls of this organization (10,000 of all) are waiting already. Ask without `wait`, or wait in fewer " +
      "places.",
  },
  too_many_streams: {
    status: 429,
    title: "Too many streams",
    meaning: "2,000 streams of this organization (10,000 of all) are open already. Close those nobody reads.",
  },
  internal_error: {
    status: 500,
    title: "Internal error",
    meaning: "The server made a mistake. Its log tells more under the request id in the header X-Request-Id.",
  },
  overloaded: {
    status: 503,
    title: "Overloaded",
    meaning: "Too much waits to be written. Nothing was stored; try again after the seconds in Retry-After.",
  },
  storage_unavailable: {
    status: 503,
    title: "Storage unavailable",
    meaning:
      "The disk is full or cannot be written. Nothing was stored; reads still work. Try again after the seconds in " +
      "Retry-After.",
  },
  not_ready: {
    status: 503,
    title: "Not ready",
    meaning: "`reasons` lists the checks that failed.",
  },
} as const satisfies Record<string, ProblemKind>;

export type ProblemCode = keyof typeof problemKinds;

export const PROBLEM_MEDIA_TYPE = "application/problem+json";

type Extra = Readonly<Record<string, unknown>>;
type Headers = Readonly<Record<string, string>>;

/** A request is refused. Thrown in this folder only, and turned into an answer at one place (call.ts). */
export class HttpProblem extends Error {
  readonly problem: ProblemCode;
  readonly detail: string;
  readonly extra: Extra;
  readonly headers: Headers;

  /** @param extra members beside the standard ones, such as `limit_bytes` */
  constructor(problem: ProblemCode, given: { detail?: string; extra?: Extra; headers?: Headers } = {}) {
    super(problem);
    this.problem = problem;
    this.detail = given.detail ?? problemKinds[problem].meaning;
    this.extra = given.extra ?? {};
    this.headers = given.headers ?? {};
  }

  get status(): number {
    return problemKinds[this.problem].status;
  }
}

/** One thing that is wrong with a body or a query. */
export type FieldError = { readonly pointer: string; readonly detail: string };

const POINTER_STEP_CHARACTERS_MAX = 200;

/** The JSON pointer (RFC 6901) of a place in a body. */
export function fieldPointer(path: readonly PropertyKey[]): string {
  return path.map(pointerStep).join("");
}

function pointerStep(key: PropertyKey): string {
  const text = String(key).slice(0, POINTER_STEP_CHARACTERS_MAX).replaceAll("~", "~0").replaceAll("/", "~1");
  return `/${text}`;
}

/** 422 with a list of what is wrong; the first of it is said in `detail` too. */
export function validationProblem(errors: readonly FieldError[]): HttpProblem {
  const [first, ...others] = errors;
  const more = others.length === 0 ? "" : ` (${others.length} more in errors)`;
  const detail = first === undefined ? undefined : `${first.pointer || "The body"}: ${first.detail}${more}`;
  return new HttpProblem("validation_failed", { ...(detail && { detail }), extra: { errors } });
}

/** 422 for one thing that a schema cannot tell. */
export function invalid(pointer: string, detail: string): HttpProblem {
  return validationProblem([{ pointer, detail }]);
}

/** The URI of a problem's type: a name, nothing lies behind it. */
export function problemType(code: ProblemCode): string {
  return `urn:zapier-triggers:problem:${code}`;
}

/** The JSON text of a problem document. */
export function problemText({ problem, detail, extra }: HttpProblem): string {
  const { status, title } = problemKinds[problem];
  return JSON.stringify({ type: problemType(problem), title, status, detail, code: problem, ...extra });
}

const EXAMPLE_EVENT_ID = "01a1fd3a-0340-7000-8f4e-3b8d1c6a9e52";
const exampleExtra: Partial<Record<ProblemCode, Extra>> = {
  insufficient_scope: { required_scope: "manage" },
  duplicate_event: { event_id: EXAMPLE_EVENT_ID, dedup_id: "order-1042-created" },
  lease_expired: { acknowledged: 9, lost: [EXAMPLE_EVENT_ID], not_found: [] },
  rate_limited: { limit: 100, fits_now: 0 },
  payload_too_large: { limit_bytes: 262_144 },
  body_too_large: { limit_bytes: 1_048_576 },
  validation_failed: { errors: [{ pointer: "/type", detail: "It must be a string." }] },
  not_ready: { reasons: [{ check: "disk_space", detail: "12 MiB are free, 64 are needed." }] },
};

/** A problem document as it may look, for the documentation. */
export function problemExample(code: ProblemCode): unknown {
  return JSON.parse(problemText(new HttpProblem(code, { extra: exampleExtra[code] ?? {} })));
}
