// What the main thread counts, under the names that dashboards use. Surprise: the delivery thread keeps its own
// registry (webhook_*), and both are put together at a scrape. prom-client's default metrics are left out: under Bun
// half of them are constants, and the event loop's lag comes out as 9e12.

import { readdirSync } from "node:fs";
import AggregatorRegistry from "prom-client/lib/cluster.js";
import Counter from "prom-client/lib/counter.js";
import Gauge from "prom-client/lib/gauge.js";
import Registry from "prom-client/lib/registry.js";
import { descriptorsMax } from "./descriptors.ts";
import { DISK_BUCKETS, Latency, MICRO_BUCKETS, registerLatencies } from "./latency.ts";

/** Calls into the store whose duration is told apart. */
export const dbOperations = [
  "ingest",
  "ack",
  "inbox",
  "event",
  "keys",
  "organizations",
  "webhook",
  /** One transaction of the writer, whatever is in it; the others include their waiting for it. */
  "commit",
] as const;
export type DbOperation = (typeof dbOperations)[number];

/** What is read from the store for gauges, at a scrape. */
export type GaugeSource = () => {
  readonly queuedEvents: number;
  readonly deliveriesDue: number;
  readonly oldestDueSeconds: number;
  readonly databaseBytes: number;
  readonly databaseFreeBytes: number;
  readonly walBytes: number;
  readonly freeDiskBytes: number;
};

export type Metrics = ReturnType<typeof createMetrics>;

/** Metrics with a registry of their own; `gauges` and `keyHashes` (argon2id, since the start) are asked at each scrape. */
export function createMetrics(gauges: GaugeSource, keyHashes: () => number) {
  const registry = new Registry();
  registerProcess(registry);
  const hashes =
    "Hashes of API key secrets that were computed: one per key and five minutes, unless somebody guesses.";
  readCounter(registry, "key_hashes_total", hashes, keyHashes);
  registerGauges(registry, gauges);
  return { registry, ...counters(registry), ...latencies(registry) };
}

function counters(registry: Registry) {
  const counter = (name: string, help: string) => new Counter({ name, help, registers: [registry] });
  const lookups = labelled(
    registry,
    "cache_lookups_total",
    "Lookups of an API key in the cache of verified keys.",
    "result",
    ["hit", "miss"],
  );
  const validationErrors = labelled(
    registry,
    "validation_errors_total",
    "Requests refused for what was in them, by problem code.",
    "type",
    ["malformed_json", "validation_failed", "payload_too_large", "unsupported_media_type"],
  );
  return {
    eventsIngested: counter("events_ingested_total", "Events accepted and stored."),
    eventsDeduplicated: counter("events_deduplicated_total", "Events refused because of their dedup_id."),
    rateLimitExceeded: counter("rate_limit_exceeded_total", "Requests refused by a rate limit."),
    onCacheLookup: (result: "hit" | "miss"): void => lookups[result].inc(),
    onValidationError: (code: string): void => validationErrors.all.inc({ type: code }),
  };
}

/** A counter with one label, its known values there from the start, and bound for cheap counting. */
function labelled<V extends string>(
  registry: Registry,
  name: string,
  help: string,
  label: string,
  values: readonly V[],
) {
  const all = new Counter({ name, help, labelNames: [label], registers: [registry] });
  const bound = Object.fromEntries(values.map((value) => [value, all.labels({ [label]: value })]));
  for (const one of Object.values(bound)) one.inc(0);
  return { all, ...(bound as Record<V, Counter.Internal>) };
}

function latencies(registry: Registry) {
  const single = (name: string, help: string, bounds: readonly number[]) => {
    const latency = new Latency(bounds);
    registerLatencies(registry, { name, help }, { "": latency });
    return latency;
  };
  const db = Object.fromEntries(dbOperations.map((one) => [one, new Latency(DISK_BUCKETS)]));
  const help = "Duration of a call into the store, its waiting included.";
  registerLatencies(registry, { name: "db_operations_latency_seconds", help, label: "operation" }, db);
  return {
    db: db as Record<DbOperation, Latency>,
    ingestion: single(
      "event_ingestion_latency_seconds",
      "From the first look at an event's request to its answer, stored events only.",
      DISK_BUCKETS,
    ),
    auth: single(
      "auth_latency_seconds",
      "Duration of finding out who calls, successful calls only.",
      MICRO_BUCKETS,
    ),
    rateLimitCheck: single(
      "rate_limit_check_latency_seconds",
      "Duration of a rate limit check.",
      MICRO_BUCKETS,
    ),
  };
}

function registerGauges(registry: Registry, source: GaugeSource): void {
  const read = oncePerScrape(source);
  gauge(registry, "event_queue_size", "Events that wait to be written.", () => read().queuedEvents);
  gauge(registry, "deliveries_due", "Deliveries whose attempt is due.", () => read().deliveriesDue);
  const oldest = "For how long the oldest due delivery has been due; 0 when none is.";
  gauge(registry, "oldest_due_delivery_seconds", oldest, () => read().oldestDueSeconds);
  gauge(registry, "database_size_bytes", "Size of the database file.", () => read().databaseBytes);
  const freeHelp = "Bytes of the database file that hold nothing, and are used again before it grows.";
  gauge(registry, "database_free_bytes", freeHelp, () => read().databaseFreeBytes);
  gauge(registry, "wal_size_bytes", "Size of the write-ahead log.", () => read().walBytes);
  gauge(registry, "disk_free_bytes", "Free space where the database lies.", () => read().freeDiskBytes);
}

/** A scrape collects all gauges in one turn of the event loop. */
function oncePerScrape(source: GaugeSource): GaugeSource {
  let current: ReturnType<GaugeSource> | null = null;
  return () => {
    if (current === null) queueMicrotask(() => (current = null));
    current ??= source();
    return current;
  };
}

function registerProcess(registry: Registry): void {
  const memory = "Memory of the process.";
  gauge(registry, "process_resident_memory_bytes", memory, residentBytes);
  gauge(registry, "process_open_fds", "Open file descriptors: each connection is one.", openFds);
  const maxFds = descriptorsMax();
  const limit = "The most that may be open; connections are closed after each answer shortly before.";
  gauge(registry, "process_max_fds", limit, () => maxFds);
  const startedSeconds = Math.round(Date.now() / 1_000 - process.uptime());
  const started = "When the process started, in seconds since 1970.";
  gauge(registry, "process_start_time_seconds", started, () => startedSeconds);
  const cpu = "CPU time of the process, all of its threads.";
  readCounter(registry, "process_cpu_seconds_total", cpu, cpuSeconds);
}

/** A counter that somebody else keeps; `read` gives its whole value. */
function readCounter(registry: Registry, name: string, help: string, read: () => number): void {
  new Counter({
    name,
    help,
    registers: [registry],
    collect() {
      this.reset();
      this.inc(read());
    },
  });
}

/** A gauge that is read at each scrape. */
export function gauge(registry: Registry, name: string, help: string, read: () => number): void {
  new Gauge({
    name,
    help,
    registers: [registry],
    collect() {
      this.set(read());
    },
  });
}

function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000_000;
}

let resident = 0;

/** The latest that could be read: without a free file descriptor it cannot. */
function residentBytes(): number {
  try {
    resident = process.memoryUsage.rss();
  } catch {
    // The one before is good enough, and all else at /metrics is needed just then.
  }
  return resident;
}

/** Linux only; -1 elsewhere, and without a free descriptor to look with. */
function openFds(): number {
  try {
    return readdirSync("/proc/self/fd").length;
  } catch {
    return -1;
  }
}

/** Prometheus text of several registries, each as `registry.getMetricsAsJSON()` gave it; equal series are summed. */
export async function mergeMetrics(registries: readonly unknown[]): Promise<string> {
  return await AggregatorRegistry.aggregate(registries as object[]).metrics();
}

export const METRICS_MEDIA_TYPE = Registry.PROMETHEUS_CONTENT_TYPE;
