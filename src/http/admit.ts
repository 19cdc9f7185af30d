// Who may make a call, decided from headers alone, before query and body are looked at. A refusal is thrown.

import { timingSafeEqual } from "node:crypto";
import { isLoopback } from "../config.ts";
import type { AuthRefusal, Principal } from "./auth.ts";
import type { Deps } from "./deps.ts";
import type { Access } from "./operation.ts";
import { HttpProblem, type ProblemCode } from "./problem.ts";

export type Admission = Pick<Deps, "config" | "authenticator" | "metrics"> & {
  /** The server is reachable from this machine only, and has no ADMIN_TOKEN. */
  readonly isOpen: boolean;
  readonly addressOf: (request: Request) => string;
  /** To be told that a key was used at this time. */
  readonly onKeyUsed: (nowMs: number) => void;
};

type KeyAccess = Exclude<Access, "admin" | "metrics" | "open">;
/**
 * Who calls, as far as `access` asks: the principal of a key, null for everybody else who may. `startedMs` is when the
 * request came, by `performance.now()`.
 */
export function admit(
  admission: Admission,
  access: Access,
  request: Request,
  nowMs: number,
  startedMs: number,
): Principal | null | Promise<Principal> {
  switch (access) {
    case "open":
      return null;
    case "admin":
      return admitAdmin(admission, request);
    case "metrics":
      return admitMetrics(admission, request);
    default:
      return admitKey(admission, access, request, nowMs, startedMs);
  }
}

/**
 * The caller behind an API key, with the scope that is asked for. Settled at once when the key is cached.
 */
function admitKey(
  admission: Admission,
  access: KeyAccess,
  request: Request,
  nowMs: number,
  startedMs: number,
): Principal | Promise<Principal> {
  const { authenticator, addressOf } = admission;
  const outcome = authenticator.authenticate(request.headers, () => addressOf(request), nowMs);
  return outcome instanceof Promise
    ? outcome.then((settled) => settle(admission, access, settled, nowMs, startedMs))
    : settle(admission, access, outcome, nowMs, startedMs);
}

function settle(
  { metrics, onKeyUsed }: Admission,
  access: KeyAccess,
  outcome: Principal | AuthRefusal,
  nowMs: number,
  startedMs: number,
): Principal {
  if (outcome.kind !== "principal") throw authProblem(outcome);
  metrics.auth.observe(startedMs, performance.now());
  onKeyUsed(nowMs);
  if (access !== "any_key" && !outcome.scopes.includes(access)) throw scopeProblem(access);
  return outcome;
}

const codeOf = {
  missing: "missing_api_key",
  malformed: "invalid_api_key",
  conflicting: "invalid_api_key",
  unknown: "invalid_api_key",
  wrong_secret: "invalid_api_key",
  expired: "expired_api_key",
  disabled: "organization_disabled",
} as const satisfies Record<Exclude<AuthRefusal["kind"], "busy">, ProblemCode>;

const detailOf: Partial<Record<AuthRefusal["kind"], string>> = {
  malformed:
    "This is no API key of this server: it has 64 characters and begins with zap_live_ or zap_test_.",
  conflicting: "X-API-Key and Authorization hold two different keys. Send one of them.",
};

/** 401, or 429 when nothing was found out about the key. */
export function authProblem(refusal: AuthRefusal): HttpProblem {
  if (refusal.kind === "busy") {
    const headers = { "retry-after": String(refusal.retryAfterSeconds) };
    return new HttpProblem("too_many_attempts", { headers });
  }
  const code = codeOf[refusal.kind];
  // RFC 6750, 3.1: no error code when no credentials were sent.
  const error = refusal.kind === "missing" ? "" : ', error="invalid_token"';
  const detail = detailOf[refusal.kind];
  return new HttpProblem(code, { ...(detail && { detail }), headers: challenge("api", error) });
}

function scopeProblem(scope: string): HttpProblem {
  const detail = `This key does not have the scope ${scope}. Use one that has it, or make one: POST /api/keys.`;
  return new HttpProblem("insufficient_scope", { detail, extra: { required_scope: scope } });
}

/** The operator: ADMIN_TOKEN, or in open mode anyone on this machine. */
function admitAdmin({ config, isOpen }: Admission, request: Request): null {
  if (isOpen) {
    requireLoopbackHost(request.headers);
    return null;
  }
  if (config.adminToken !== null && isBearer(request.headers, config.adminToken)) return null;
  throw new HttpProblem("admin_token_required", { headers: challenge("admin") });
}

/** METRICS_TOKEN, when there is one. */
function admitMetrics({ config }: Admission, request: Request): null {
  if (config.metricsToken === null || isBearer(request.headers, config.metricsToken)) return null;
  throw new HttpProblem("metrics_token_required", { headers: challenge("metrics") });
}

/**
 * A web page whose name is made to resolve to 127.0.0.1 (DNS rebinding) calls from this machine too, but under its
 * own name.
 */
function requireLoopbackHost(headers: Headers): void {
  const host = headers.get("host") ?? "";
  const name = host.replace(/:\d*$/, "").replace(/^\[(.*)\]$/, "$1");
  if (!isLoopback(name)) throw new HttpProblem("foreign_host");
}

/** Compares digests: equal in length, so the time tells nothing about the token. */
function isBearer(headers: Headers, token: string): boolean {
  const given = /^bearer +(.+)$/i.exec(headers.get("authorization") ?? "")?.[1];
  return given !== undefined && timingSafeEqual(Bun.SHA256.hash(given), Bun.SHA256.hash(token));
}

function challenge(realm: string, error = ""): Record<string, string> {
  return { "www-authenticate": `Bearer realm="${realm}"${error}` };
}
