// The HTTP side as one Elysia app: all routes, and what answers the rest. Surprise: Bun's own body limit is lifted.
// It would answer 413 without a document; body.ts has the limit, and a body that is not read is not kept in memory.

import { Elysia } from "elysia";
import { Kit } from "./call.ts";
import type { Deps } from "./deps.ts";
import { createFallback } from "./fallback.ts";
import { hidden } from "./route.ts";
import { ackRoutes } from "./routes/ack.ts";
import { adminOrganizationRoutes } from "./routes/admin_organizations.ts";
import { auditRoutes } from "./routes/audit.ts";
import { batchRoutes } from "./routes/batch.ts";
import { deliveryRoutes } from "./routes/deliveries.ts";
import { docsRoutes } from "./routes/docs.ts";
import { endpointActionRoutes } from "./routes/endpoint_actions.ts";
import { endpointRoutes } from "./routes/endpoints.ts";
import { eventRoutes } from "./routes/events.ts";
import { explainRoutes } from "./routes/explain.ts";
import { healthRoutes } from "./routes/health.ts";
import { inboxRoutes } from "./routes/inbox.ts";
import { keyRoutes } from "./routes/keys.ts";
import { leaseRoutes } from "./routes/leases.ts";
import { metricsRoutes } from "./routes/metrics.ts";
import { replayRoutes } from "./routes/replays.ts";
import { streamRoutes } from "./routes/stream.ts";
import { webhookConfigRoutes } from "./routes/webhook_config.ts";

/** Below the 30 s within which a stop must end; a client that sends nothing for so long is gone. */
const IDLE_SECONDS_MAX = 25;

const options = {
  strictPath: true,
  normalize: false,
  // A Host of up to three characters is one too.
  handler: { standardHostname: false },
  serve: {
    // Elysia's default of true lets a second server share the port, silently.
    reusePort: false,
    maxRequestBodySize: Number.MAX_SAFE_INTEGER,
    idleTimeout: IDLE_SECONDS_MAX,
  },
} as const;

/** The app, ready for `listen({ hostname, port })`. One per process: caches and limits are in `deps`. */
export function createApp(deps: Deps) {
  const app = new Elysia(options);
  const kit = new Kit(deps, {
    addressOf: (request) => app.server?.requestIP(request)?.address ?? "",
    // 0: for ever.
    keepSilent: (request, kept) => app.server?.timeout(request, kept ? 0 : IDLE_SECONDS_MAX),
  });
  const api = routesOf(deps, kit);
  return app
    .use(api)
    .use(docsRoutes(kit, deps, api))
    .all(
      "/*",
      createFallback(kit, () => app.routes),
      hidden,
    );
}

/** The documented routes alone. */
export function createRoutes(deps: Deps) {
  return routesOf(deps, new Kit(deps, { addressOf: () => "", keepSilent: () => {} }));
}

function routesOf(deps: Deps, kit: Kit) {
  return new Elysia(options)
    .use(eventRoutes(kit, deps))
    .use(batchRoutes(kit, deps))
    .use(inboxRoutes(kit, deps))
    .use(streamRoutes(kit, deps))
    .use(leaseRoutes(kit, deps))
    .use(ackRoutes(kit, deps))
    .use(webhookConfigRoutes(kit, deps))
    .use(endpointRoutes(kit, deps))
    .use(endpointActionRoutes(kit, deps))
    .use(deliveryRoutes(kit, deps))
    .use(replayRoutes(kit, deps))
    .use(explainRoutes(kit, deps))
    .use(keyRoutes(kit, deps))
    .use(adminOrganizationRoutes(kit, deps))
    .use(auditRoutes(kit, deps))
    .use(healthRoutes(kit, deps))
    .use(metricsRoutes(kit, deps));
}
