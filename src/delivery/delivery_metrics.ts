// What the delivery thread counts. It keeps a registry of its own, which the main thread asks for at a scrape.

import Counter from "prom-client/lib/counter.js";
import Histogram from "prom-client/lib/histogram.js";
import Registry from "prom-client/lib/registry.js";
import type { SettleOp } from "../store/sqlite/op.ts";
import type { AttemptOutcome } from "../webhook/verdict.ts";

/** The `status` label of webhook_deliveries_total, by what an attempt came to. */
const statusOf = {
  delivered: "delivered",
  retry: "failed",
  gone: "failed",
  dead_letter: "dead_letter",
} as const;

export function createDeliveryMetrics() {
  const registry = new Registry();
  const latency = new Histogram({
    name: "webhook_delivery_latency_seconds",
    help: "Duration of one webhook attempt, from connecting to the end of the answer.",
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30],
    registers: [registry],
  });
  const deliveries = new Counter({
    name: "webhook_deliveries_total",
    help: "Webhook attempts by what they came to: delivered, failed (another is due) or dead_letter.",
    labelNames: ["status"],
    registers: [registry],
  });
  for (const status of ["delivered", "failed", "dead_letter"]) deliveries.inc({ status }, 0);
  return {
    registry,
    onAttempt(outcome: AttemptOutcome, result: SettleOp["outcome"]): void {
      latency.observe(outcome.durationMs / 1000);
      deliveries.inc({ status: statusOf[result] });
    },
  };
}
