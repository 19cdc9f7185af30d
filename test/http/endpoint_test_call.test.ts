// POST /api/endpoints/:id/test, without the delivery behind it: what its results become, and that the connection is
// kept while it waits.

import { expect, test } from "bun:test";
import { createMetrics } from "../../src/base/metrics.ts";
import { Kit } from "../../src/http/call.ts";
import type { Deps, TestResult } from "../../src/http/deps.ts";
import { endpointActionRoutes } from "../../src/http/routes/endpoint_actions.ts";

const ID = "01a1fd3a-0340-7000-8f4e-3b8d1c6a9e53";

/** Calls the route, and tells how the connection was treated meanwhile. */
async function call(id: string, testEndpoint: Deps["testEndpoint"]) {
  const kept: (boolean | "tested")[] = [];
  const quiet = () => {};
  const deps = {
    config: { host: "127.0.0.1", adminToken: null, metricsToken: null, corsOrigins: [] },
    authenticator: {
      authenticate: () => ({ kind: "principal", org: 1, scopes: ["manage"], organization: {} }),
      drainUsed: () => [],
    },
    store: { endpoint: (_: number, asked: string) => (asked === ID ? { endpoint: 7 } : null) },
    metrics: createMetrics(
      () => ({}) as never,
      () => 0,
    ),
    log: { info: quiet, error: quiet, debug: quiet },
    testEndpoint: (endpoint: number) => {
      kept.push("tested");
      return testEndpoint(endpoint);
    },
  } as unknown as Deps;
  const kit = new Kit(deps, { addressOf: () => "127.0.0.1", keepSilent: (_, keep) => kept.push(keep) });
  const request = new Request(`http://localhost/api/endpoints/${id}/test`, { method: "POST" });
  const response = await endpointActionRoutes(kit, deps).handle(request);
  return { response, body: (await response.json()) as Record<string, unknown>, kept };
}

const sent = { kind: "sent", delivered: false, responseStatus: 500, durationMs: 12, error: "why" } as const;

test("a test that was sent tells what became of it, and the connection is kept meanwhile", async () => {
  const asked: number[] = [];
  const { response, body, kept } = await call(ID, async (endpoint) => {
    asked.push(endpoint);
    return sent;
  });
  expect(response.status).toBe(200);
  expect(body).toEqual({ delivered: false, response_status: 500, duration_ms: 12, error: "why" });
  expect(asked).toEqual([7]);
  expect(kept).toEqual([true, "tested", false]);
});

test.each<[TestResult, number, string]>([
  [{ kind: "delivery_disabled" }, 409, "delivery_disabled"],
  [{ kind: "busy" }, 429, "too_many_tests"],
])("a test that is refused (%p) is a problem", async (result, status, code) => {
  const { response, body, kept } = await call(ID, async () => result);
  expect([response.status, body.code]).toEqual([status, code]);
  expect(response.headers.get("retry-after")).toBe(status === 429 ? "1" : null);
  expect(kept).toEqual([true, "tested", false]);
});

test("the connection is not kept when the test breaks", async () => {
  const { response, kept } = await call(ID, () => Promise.reject(new Error("secret")));
  expect(response.status).toBe(500);
  expect(kept).toEqual([true, "tested", false]);
});

test("an endpoint that is not there is not tested", async () => {
  const { response, kept } = await call("x", async () => sent);
  expect([response.status, kept]).toEqual([404, []]);
});
