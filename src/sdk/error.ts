// The one error of the client's calls. What the server refuses, it tells as a problem document (RFC 9457); what never
// became an answer has status 0 and a code of the client's own, so that a caller looks at one word in either case.

/** Codes that no server sends: there was no answer, or none of this service's. */
export type OwnCode = "unreachable" | "timeout" | "not_this_service" | "redirected";

interface Told {
  readonly status: number;
  readonly code: string;
  readonly detail: string;
  readonly retryAfterSeconds?: number | null;
  readonly requestId?: string | null;
  readonly problem?: Readonly<Record<string, unknown>>;
  readonly cause?: unknown;
}

export class TriggersError extends Error {
  override readonly name = "TriggersError";
  /** Of the answer; 0 when there was none. */
  readonly status: number;
  /** The problem's stable word, such as `duplicate_event`; `http_502` for an answer without one; or an `OwnCode`. */
  readonly code: string;
  /** What is wrong, and what to do. */
  readonly detail: string;
  readonly retryAfterSeconds: number | null;
  /** Names the call in the server's log. */
  readonly requestId: string | null;
  /** All members of the problem document, such as `errors` or `event_id`. */
  readonly problem: Readonly<Record<string, unknown>>;

  constructor(told: Told) {
    super(told.status === 0 ? told.detail : `${told.status} ${told.code}: ${told.detail}`, {
      cause: told.cause,
    });
    this.status = told.status;
    this.code = told.code;
    this.detail = told.detail;
    this.retryAfterSeconds = told.retryAfterSeconds ?? null;
    this.requestId = told.requestId ?? null;
    this.problem = told.problem ?? {};
  }
}

/** The same call may fare better later: nobody answered, or a server that is busy or being restarted. */
export function mayPass(error: unknown): error is TriggersError {
  if (!(error instanceof TriggersError)) return false;
  if (error.status === 0) return error.code === "unreachable" || error.code === "timeout";
  return error.status === 429 || error.status >= 500;
}

const DETAIL_CHARACTERS_MAX = 500;

/** What an answer that is no success says. */
export function refusal(answer: Response, text: string): TriggersError {
  const { status, headers } = answer;
  const problem = recordOf(text);
  const { code, detail } = problem;
  if (answer.type === "opaqueredirect" || (status >= 300 && status < 400)) return redirection(answer);
  return new TriggersError({
    status,
    code: typeof code === "string" ? code : `http_${status}`,
    detail:
      typeof detail === "string" ? detail : text.slice(0, DETAIL_CHARACTERS_MAX) || "No reason was given.",
    retryAfterSeconds: retryAfterSeconds(headers.get("retry-after")),
    requestId: headers.get("x-request-id"),
    problem,
  });
}

/** A success that does not look like one of this service. */
export function notThisService(status: number): TriggersError {
  const detail = "That is not how this service answers. Is it the right address?";
  return new TriggersError({ status, code: "not_this_service", detail });
}

function redirection({ status, headers }: Response): TriggersError {
  const location = headers.get("location");
  const where = location === null ? "elsewhere" : `to ${location}`;
  return new TriggersError({
    status,
    code: "redirected",
    detail: `The server points ${where}; the key is not taken there. Give the final address.`,
  });
}

function recordOf(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

/** Seconds or a date (RFC 9110, section 10.2.3); null when neither. */
function retryAfterSeconds(text: string | null): number | null {
  if (text === null) return null;
  if (/^\d{1,9}$/.test(text.trim())) return Number(text);
  const ms = Date.parse(text);
  return Number.isNaN(ms) ? null : Math.max(0, Math.ceil((ms - Date.now()) / 1_000));
}
