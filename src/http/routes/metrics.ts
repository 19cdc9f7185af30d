// /metrics: Prometheus text of all threads, put together at the scrape.

import { Elysia } from "elysia";
import { METRICS_MEDIA_TYPE, mergeMetrics } from "../../base/metrics.ts";
import type { Kit } from "../call.ts";
import type { Deps } from "../deps.ts";
import { operation } from "../operation.ts";
import { hook } from "../route.ts";

const scrape = operation({
  id: "metrics",
  tag: "Operation",
  summary: "Metrics for Prometheus",
  access: "metrics",
  answers: { 200: { description: "Prometheus text.", mediaType: METRICS_MEDIA_TYPE } },
});

export function metricsRoutes(kit: Kit, { metrics, threadMetrics }: Deps) {
  return new Elysia().get(
    "/metrics",
    kit.handle(scrape, async () => {
      const [own, others] = await Promise.all([metrics.registry.getMetricsAsJSON(), threadMetrics()]);
      const body = await mergeMetrics([own, ...others]);
      return { status: 200, body, mediaType: METRICS_MEDIA_TYPE };
    }),
    hook(scrape),
  );
}
