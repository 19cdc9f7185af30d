// An endpoint as it is told: never its secrets, and of its own headers only the names. Logs have its id and no more:
// a URL may have a token in it.

import { rfc3339 } from "../base/time.ts";
import type { Endpoint } from "../store/store.ts";
import type { Endpoint as EndpointTold } from "../wire/endpoint.ts";
import type { Principal } from "./auth.ts";
import type { Deps } from "./deps.ts";
import { HttpProblem } from "./problem.ts";
import { timeOrNull } from "./time_told.ts";

/** The path parameter of the calls to one endpoint. */
export const ENDPOINT_ID = { id: ["The endpoint's id.", "01a1fd3a-0340-7000-8f4e-3b8d1c6a9e53"] } as const;

/** `nowMs`: a pause that is over is not told. */
export function endpointTold(endpoint: Endpoint, nowMs: number): EndpointTold {
  const { pausedUntilMs } = endpoint;
  return {
    id: endpoint.id,
    name: endpoint.name,
    url: endpoint.url,
    description: endpoint.description,
    event_types: [...endpoint.eventTypes],
    header_names: [...endpoint.headerNames],
    max_in_flight: endpoint.maxInFlight,
    rate_limit_per_second: endpoint.rateLimitPerSecond,
    ordered: endpoint.ordered,
    timeout_ms: endpoint.timeoutMs,
    status: endpoint.disabledAtMs === null ? "active" : "disabled",
    disabled_at: timeOrNull(endpoint.disabledAtMs),
    disabled_reason: endpoint.disabledReason,
    consecutive_failures: endpoint.failures,
    failing_since: timeOrNull(endpoint.failingSinceMs),
    paused_until: pausedUntilMs !== null && pausedUntilMs > nowMs ? rfc3339(pausedUntilMs) : null,
    created_at: rfc3339(endpoint.createdAtMs),
    updated_at: rfc3339(endpoint.updatedAtMs),
  };
}

export function noSuchEndpoint(): HttpProblem {
  return new HttpProblem("not_found", { detail: "There is no such endpoint." });
}

/** Who did what to which endpoint. */
export function logEndpoint(
  { log }: Pick<Deps, "log">,
  { principal, requestId }: { readonly principal: Principal; readonly requestId: string },
  endpointId: string,
  what: string,
): void {
  const { organization } = principal;
  log.info({ request_id: requestId, organization_id: organization.id, endpoint_id: endpointId }, what);
}
