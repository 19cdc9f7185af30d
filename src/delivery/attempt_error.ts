// What an attempt that got no whole answer says about why: a kind that the verdict and the metrics know, and a sentence
// for people. An error's own message is never passed on: it may name addresses that only the operator should see.
import { blockedDetail } from "../webhook/guard.ts";
import type { AttemptErrorKind, AttemptOutcome } from "../webhook/verdict.ts";

export type AttemptError = NonNullable<AttemptOutcome["error"]>;

/** Where it was to go. */
interface Destination {
  protocol: "http:" | "https:";
  host: string;
}

export function problem(kind: AttemptErrorKind, message: string = MESSAGES[kind]): AttemptError {
  return { kind, message };
}

/** Why a name led nowhere. */
export function unresolved(kind: "dns_failed" | "blocked_address", to: Destination): AttemptError {
  if (kind === "blocked_address") return problem(kind, blockedDetail(to.host, to.protocol));
  return problem(kind, `The name ${to.host} could not be resolved.`);
}

/** What became of a connection; null: the other side closed it. */
export function lost(error: Error | null): AttemptError {
  const kind = kindOf(error);
  const code = codeOf(error);
  if (kind === "connection_failed" && code !== "") return problem(kind, `The connection failed (${code}).`);
  if (kind === "tls_failed") return problem(kind, `No trusted TLS connection could be made (${code}).`);
  return problem(kind);
}

function kindOf(error: Error | null): AttemptErrorKind {
  if (error === null) return "connection_reset";
  const code = codeOf(error);
  const known = KIND_OF_CODE[code];
  if (known !== undefined) return known;
  // OpenSSL's names for certificate faults share no prefix: CERT_HAS_EXPIRED, UNABLE_TO_..., SELF_SIGNED_..., ERR_TLS_...
  return code === "" || /^E[A-Z0-9]+$/.test(code) ? "connection_failed" : "tls_failed";
}

function codeOf(error: Error | null): string {
  return error !== null && "code" in error && typeof error.code === "string" ? error.code : "";
}

const KIND_OF_CODE: Readonly<Record<string, AttemptErrorKind>> = {
  ECONNREFUSED: "connection_refused",
  ECONNRESET: "connection_reset",
  EPIPE: "connection_reset",
  ERR_SOCKET_CLOSED: "connection_reset",
  ETIMEDOUT: "timeout",
};

const MESSAGES: Readonly<Record<AttemptErrorKind, string>> = {
  invalid_request:
    "The request could not be written: a header of the endpoint has a name or value that cannot be sent.",
  blocked_address: "The address is blocked.",
  dns_failed: "The name could not be resolved.",
  connection_refused: "The connection was refused.",
  connection_reset: "The connection was closed before an answer came.",
  connection_failed: "The connection failed.",
  tls_failed: "No trusted TLS connection could be made.",
  timeout: "The connection took too long.",
  bad_response: "The answer was not valid HTTP.",
  cancelled: "The attempt was cancelled because the server is stopping.",
};
