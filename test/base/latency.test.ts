// Histograms of our own, as Prometheus reads them, and the merging of registries.

import { expect, test } from "bun:test";
import { Registry } from "prom-client";
import { Latency, registerLatencies } from "../../src/base/latency.ts";
import { createMetrics, mergeMetrics } from "../../src/base/metrics.ts";

const noGauges = () => ({
  queuedEvents: 1,
  deliveriesDue: 2,
  oldestDueSeconds: 3,
  databaseBytes: 4,
  databaseFreeBytes: 0,
  walBytes: 5,
  freeDiskBytes: 6,
});

test("a latency is counted in each bucket that is not below it, and its sum and count are told", async () => {
  const registry = new Registry();
  const latency = new Latency([0.001, 0.01, 0.1]);
  registerLatencies(registry, { name: "x_seconds", help: "X." }, { "": latency });
  for (const ms of [0.5, 1, 5, 5_000]) latency.observe(10_000, 10_000 + ms);
  expect(await registry.metrics()).toBe(
    [
      "# HELP x_seconds X.",
      "# TYPE x_seconds histogram",
      'x_seconds_bucket{le="0.001"} 2',
      'x_seconds_bucket{le="0.01"} 3',
      'x_seconds_bucket{le="0.1"} 3',
      'x_seconds_bucket{le="+Inf"} 4',
      "x_seconds_sum 5.0065",
      "x_seconds_count 4",
      "",
    ].join("\n"),
  );
});

test("series of several registries are summed where they are the same, and kept where they are not", async () => {
  const [one, two] = [createMetrics(noGauges, () => 0), createMetrics(noGauges, () => 0)];
  one.db.inbox.observe(0, 1);
  two.db.inbox.observe(0, 1);
  two.onValidationError("new_code");
  const json = await Promise.all([one, two].map(({ registry }) => registry.getMetricsAsJSON()));
  const text = await mergeMetrics(json);
  expect(text).toContain('db_operations_latency_seconds_count{operation="inbox"} 2');
  expect(text).toContain('validation_errors_total{type="new_code"} 1');
});

test("gauges are read once for each scrape", async () => {
  let reads = 0;
  const { registry } = createMetrics(
    () => {
      reads++;
      return noGauges();
    },
    () => 0,
  );
  expect(await registry.metrics()).toContain("wal_size_bytes 5");
  await registry.metrics();
  expect(reads).toBe(2);
});
