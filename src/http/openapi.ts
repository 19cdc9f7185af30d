// The OpenAPI document without a server: for `zapier-triggers openapi`.

import { createMetrics } from "../base/metrics.ts";
import { VERSION } from "../base/version.ts";
import { createRoutes } from "./app.ts";
import type { Deps } from "./deps.ts";
import { documentOf } from "./document.ts";

/** The OpenAPI 3.1 document of this version. */
export async function openapiDocument(): Promise<object> {
  return documentOf(createRoutes(withoutServer()), VERSION);
}

/** Routes are only looked at, never called: what they would need at a call is not there. */
function withoutServer(): Deps {
  const absent = new Proxy({}, { get: () => absent }) as never;
  return {
    config: {
      host: "127.0.0.1",
      adminToken: null,
      metricsToken: null,
      corsOrigins: [],
      disableWebhookDelivery: false,
    },
    store: absent,
    authenticator: absent,
    hashGate: absent,
    eventLimiter: absent,
    keyLimiter: absent,
    egress: absent,
    waiting: absent,
    largeAnswers: absent,
    streams: absent,
    metrics: createMetrics(
      () => absent,
      () => 0,
    ),
    threadMetrics: async () => [],
    testEndpoint: async () => ({ kind: "busy" }),
    deliveryLagSeconds: async () => 0,
    log: absent,
    version: VERSION,
    startedAtMs: 0,
  };
}
