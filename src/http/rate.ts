// The event limit of an organization in headers and refusals. One place, for single events and for batches.

import type { Allowance } from "./limit.ts";
import { HttpProblem } from "./problem.ts";

export const RATE_HEADERS = ["X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"] as const;

type HeaderFields = Readonly<Record<string, string>>;

export function rateHeaders({ limit, remaining, resetSeconds }: Allowance): Record<string, string> {
  return {
    "x-ratelimit-limit": String(limit),
    "x-ratelimit-remaining": String(remaining),
    "x-ratelimit-reset": String(resetSeconds),
  };
}

/** 429 for one event. */
export function tooMany(allowance: Allowance, headers: HeaderFields): HttpProblem {
  const { limit, retryAfterSeconds } = allowance;
  const detail = `This organization may send ${limit} events a minute. Try again in ${retryAfterSeconds} seconds.`;
  return limited(allowance, headers, detail);
}

/** 429 for a batch of `count` events. */
export function batchTooMany(allowance: Allowance, headers: HeaderFields, count: number): HttpProblem {
  const { limit, remaining, retryAfterSeconds, neverFits } = allowance;
  const allowed = `This organization may send ${limit} events a minute`;
  const detail = neverFits
    ? `${allowed}: a batch of ${count} can never fit. Send at most ${limit} at once; ${remaining} fit now. Nothing was stored.`
    : `${allowed}, and ${remaining} of the ${count} in this batch would fit now. Nothing was stored: try again in ` +
      `${retryAfterSeconds} seconds, or send fewer.`;
  return limited(allowance, headers, detail);
}

function limited(allowance: Allowance, headers: HeaderFields, detail: string): HttpProblem {
  const { limit, remaining, retryAfterSeconds } = allowance;
  return new HttpProblem("rate_limited", {
    detail,
    extra: { limit, fits_now: remaining },
    headers: { ...headers, "retry-after": String(retryAfterSeconds) },
  });
}

/** A refusal with headers besides its own; what is no refusal stays as it is. */
export function withHeaders(error: unknown, headers: HeaderFields): unknown {
  if (!(error instanceof HttpProblem)) return error;
  const { problem, detail, extra } = error;
  return new HttpProblem(problem, { detail, extra, headers: { ...headers, ...error.headers } });
}
