// Which web pages may call the API: none, unless CORS_ORIGINS names their origin (or is `*`). Nothing is sent with
// cookies, so credentials are never allowed.

export type HeaderFields = Readonly<Record<string, string>>;

/** Date: a client that puts the inbox and a stream together goes by the server's clock. */
const EXPOSED =
  "X-Request-Id, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, Retry-After, ETag, Date";
const REQUEST_HEADERS =
  "Content-Type, X-API-Key, Authorization, Idempotency-Key, X-Request-Id, Last-Event-ID, ce-specversion, ce-id, " +
  "ce-source, ce-type";
const PREFLIGHT_SECONDS = "600";

const NONE: HeaderFields = {};
/** A cache must not hand one origin's answer to another. */
const VARY: HeaderFields = { vary: "Origin" };

/** The CORS headers of an answer, by its request's headers. */
export type Cors = (headers: Headers) => HeaderFields;

/** Null when no origin is allowed at all. */
export function createCors(origins: readonly string[]): Cors | null {
  if (origins.length === 0) return null;
  if (origins.includes("*")) {
    const open = { "access-control-allow-origin": "*", "access-control-expose-headers": EXPOSED };
    return (headers) => (headers.has("origin") ? open : NONE);
  }
  const allowed = new Set(origins);
  return (headers) => {
    const origin = headers.get("origin");
    if (origin === null || !allowed.has(origin)) return VARY;
    return { ...VARY, "access-control-allow-origin": origin, "access-control-expose-headers": EXPOSED };
  };
}

/** What a preflight is told besides, once its origin is allowed. */
export function preflightHeaders(cors: HeaderFields | undefined, methods: string): HeaderFields {
  if (cors?.["access-control-allow-origin"] === undefined) return NONE;
  return {
    "access-control-allow-methods": methods,
    "access-control-allow-headers": REQUEST_HEADERS,
    "access-control-max-age": PREFLIGHT_SECONDS,
  };
}
