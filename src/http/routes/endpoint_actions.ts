// What is done with an endpoint: enable, disable, test, rotate its secret. Surprise: a test is answered when the
// endpoint has answered, which may take ten minutes; the connection is kept for so long.

import { Elysia } from "elysia";
import { rfc3339 } from "../../base/time.ts";
import { newSigningSecret } from "../../webhook/secret.ts";
import { Endpoint, EndpointTest, RotatedSecret, RotateSecret } from "../../wire/endpoint.ts";
import { actorOf } from "../actor.ts";
import { type Answer, type Call, json, type Kit } from "../call.ts";
import type { Deps, TestResult } from "../deps.ts";
import { ENDPOINT_ID, endpointTold, logEndpoint, noSuchEndpoint } from "../endpoint_told.ts";
import { operation } from "../operation.ts";
import { HttpProblem } from "../problem.ts";
import { hook } from "../route.ts";
import { stored, timed } from "../stored.ts";

const TEST_RETRY_AFTER = "1";

const enable = operation({
  id: "enableEndpoint",
  tag: "Endpoints",
  summary: "Enable an endpoint",
  description:
    "What was held goes out, the oldest event first, and its failures are forgotten. Enabling one that is active " +
    "does the latter.",
  access: "manage",
  params: ENDPOINT_ID,
  answers: { 200: { description: "The endpoint as it is now.", schema: Endpoint } },
  problems: ["not_found", "overloaded", "storage_unavailable"],
});

const disable = operation({
  id: "disableEndpoint",
  tag: "Endpoints",
  summary: "Disable an endpoint",
  description: "Nothing more is sent to it. What waits, and what comes, is held until it is enabled.",
  access: "manage",
  params: ENDPOINT_ID,
  answers: { 200: { description: "The endpoint as it is now.", schema: Endpoint } },
  problems: ["not_found", "overloaded", "storage_unavailable"],
});

const tryOut = operation({
  id: "testEndpoint",
  tag: "Endpoints",
  summary: "Send a test",
  description:
    "Sends a signed `webhook.test` now, also to a disabled endpoint, and answers what became of it when the endpoint " +
    "has answered, or its timeout is over. It is tried once, stored nowhere, and says nothing about the endpoint's " +
    "health.",
  access: "manage",
  params: ENDPOINT_ID,
  answers: { 200: { description: "What became of it.", schema: EndpointTest } },
  problems: ["not_found", "delivery_disabled", "too_many_tests"],
});

const rotate = operation({
  id: "rotateEndpointSecret",
  tag: "Endpoints",
  summary: "Exchange the signing secret",
  description:
    "From now on a new secret signs; for `overlap_seconds` the old one signs besides, so that a receiver that has " +
    "either of them takes the request. The new one is in this answer and nowhere else.",
  access: "manage",
  params: ENDPOINT_ID,
  body: RotateSecret,
  bodyIsOptional: true,
  answers: { 200: { description: "The new secret.", schema: RotatedSecret } },
  problems: ["not_found", "overloaded", "storage_unavailable"],
});

export function endpointActionRoutes(kit: Kit, deps: Deps) {
  return new Elysia()
    .post(
      "/api/endpoints/:id/enable",
      kit.handle(enable, (call) => setActive(kit, deps, call, true)),
      hook(enable),
    )
    .post(
      "/api/endpoints/:id/disable",
      kit.handle(disable, (call) => setActive(kit, deps, call, false)),
      hook(disable),
    )
    .post(
      "/api/endpoints/:id/test",
      kit.handle(tryOut, (call) => testEndpoint(kit, deps, call)),
      hook(tryOut),
    )
    .post(
      "/api/endpoints/:id/rotate-secret",
      kit.handle(rotate, (call) => rotateSecret(kit, deps, call)),
      hook(rotate),
    );
}

async function setActive(
  kit: Kit,
  deps: Deps,
  call: Call<typeof enable> | Call<typeof disable>,
  active: boolean,
): Promise<Answer> {
  const { store, metrics } = deps;
  const { org } = call.principal;
  const id = call.params.id ?? "";
  const by = actorOf(kit, deps, call);
  const write = () => (active ? store.enableEndpoint(org, id, by) : store.disableEndpoint(org, id, by));
  const endpoint = stored(await timed(metrics.db.webhook, write));
  if (endpoint === "not_found") throw noSuchEndpoint();
  logEndpoint(deps, call, id, active ? "endpoint enabled" : "endpoint disabled");
  return json(200, endpointTold(endpoint, call.nowMs));
}

async function testEndpoint(kit: Kit, deps: Deps, call: Call<typeof tryOut>): Promise<Answer> {
  const { store, metrics } = deps;
  const { request, params, principal } = call;
  const found = timed(metrics.db.webhook, () => store.endpoint(principal.org, params.id ?? ""));
  if (found === null) throw noSuchEndpoint();
  return json(200, testTold(await kit.patiently(request, () => deps.testEndpoint(found.endpoint))));
}

function testTold(result: TestResult) {
  if (result.kind === "delivery_disabled") throw new HttpProblem("delivery_disabled");
  if (result.kind === "busy") {
    throw new HttpProblem("too_many_tests", { headers: { "retry-after": TEST_RETRY_AFTER } });
  }
  const { delivered, responseStatus, durationMs, error } = result;
  return { delivered, response_status: responseStatus, duration_ms: Math.round(durationMs), error };
}

async function rotateSecret(kit: Kit, deps: Deps, call: Call<typeof rotate>): Promise<Answer> {
  const { store, metrics } = deps;
  const { params, principal, body, nowMs } = call;
  const input = { signingSecret: newSigningSecret(), oldExpiresAtMs: nowMs + body.overlap_seconds * 1_000 };
  const by = actorOf(kit, deps, call);
  const write = () => store.rotateSecret(principal.org, params.id ?? "", input, by);
  const endpoint = stored(await timed(metrics.db.webhook, write));
  if (endpoint === "not_found") throw noSuchEndpoint();
  logEndpoint(deps, call, endpoint.id, "endpoint secret rotated");
  return json(200, {
    endpoint_id: endpoint.id,
    signing_secret: input.signingSecret,
    old_secret_expires_at: rfc3339(input.oldExpiresAtMs),
  });
}
