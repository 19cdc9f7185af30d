// Puts the HTTP side together and listens. Loaded while the other threads start: its code is most of the program's.

import type { Log } from "../base/log.ts";
import { createMetrics, gauge } from "../base/metrics.ts";
import { VERSION } from "../base/version.ts";
import type { Config } from "../config.ts";
import type { Store } from "../store/store.ts";
import { egressOf } from "../webhook/guard.ts";
import { createApp } from "./app.ts";
import { createAuthenticator } from "./auth.ts";
import type { Deps, TestResult } from "./deps.ts";
import { HashGate } from "./key_hash.ts";
import { LargeAnswers } from "./large_answers.ts";
import { createAddressLimiter, Limiter } from "./limit.ts";
import { Streams } from "./streams.ts";
import { Turns } from "./turns.ts";
import { Waiting } from "./waiting.ts";

/**
 * A client that sends at exactly its rate arrives with the network's jitter: without some grace its 101st event in
 * 60 s, 5 ms early, would be refused.
 */
const RATE_GRACE_MS = 500;
/** Requests in flight get this long at the stop; what hangs longer (a slow upload) is cut off. */
const DRAIN_MS = 10_000;

/** What is asked of the delivery thread. */
export type DeliverySide = {
  metrics(): Promise<unknown>;
  lagSeconds(): Promise<number>;
  test(endpoint: number): Promise<Omit<Extract<TestResult, { kind: "sent" }>, "kind"> | null>;
};

export type HttpSide = {
  /** The writer committed a transaction: for the metrics. */
  onCommit(commitMs: number): void;
  /** Starts to listen; returns where, without a slash at the end. */
  listen(): string;
  /** Refuses new connections and answers what is in flight. */
  stop(): Promise<void>;
};

export function createHttpSide(config: Config, log: Log, store: Store, delivery: DeliverySide): HttpSide {
  const hashGate = new HashGate();
  const metrics = createMetrics(
    () => store.stats(),
    () => hashGate.hashesTotal,
  );
  const { onCacheLookup, registry } = metrics;
  // One line for all: two would take two slices of each round.
  const turns = new Turns();
  const waiting = new Waiting(store, turns);
  const streams = new Streams(store, turns);
  const largeAnswers = new LargeAnswers(turns, log);
  gauge(registry, "waiting_calls", "Calls that wait for events (long polls).", () => waiting.size);
  gauge(registry, "open_streams", "Streams of events that are open.", () => streams.size);
  gauge(registry, "large_answers", "Large answers that are being sent.", () => largeAnswers.size);
  const app = createApp({
    config,
    store,
    authenticator: createAuthenticator({ reads: store, gate: hashGate, onCacheLookup }),
    hashGate,
    eventLimiter: new Limiter<number>({ graceMs: RATE_GRACE_MS }),
    keyLimiter: createAddressLimiter(),
    egress: egressOf(config.webhookAllowPrivate),
    waiting,
    largeAnswers,
    streams,
    metrics,
    threadMetrics: async () => [await delivery.metrics()],
    deliveryLagSeconds: () => delivery.lagSeconds(),
    testEndpoint: createTester(config, delivery),
    log,
    version: VERSION,
    startedAtMs: Date.now(),
  });
  return {
    onCommit: (commitMs) => metrics.db.commit.observe(0, commitMs),
    listen() {
      app.listen({ hostname: config.host, port: config.port });
      const host = config.host.includes(":") ? `[${config.host}]` : config.host;
      return `http://${host}:${app.server?.port}`;
    },
    async stop() {
      waiting.close();
      streams.close();
      await Promise.race([app.server?.stop(), Bun.sleep(DRAIN_MS)]);
      await app.server?.stop(true);
    },
  };
}

/** Tests of one endpoint and over all: each may hold a connection for as long as its receiver hangs. */
const TESTS_PER_ENDPOINT_MAX = 2;
const TESTS_MAX = 64;

/** Between the look and the test: nothing was sent. */
const DELETED = { delivered: false, responseStatus: null, durationMs: 0, error: "The endpoint was deleted." };

function createTester(
  { disableWebhookDelivery }: Pick<Config, "disableWebhookDelivery">,
  delivery: DeliverySide,
): Deps["testEndpoint"] {
  const running = new Map<number, number>();
  let total = 0;
  return async (endpoint) => {
    if (disableWebhookDelivery) return { kind: "delivery_disabled" };
    const own = running.get(endpoint) ?? 0;
    if (own >= TESTS_PER_ENDPOINT_MAX || total >= TESTS_MAX) return { kind: "busy" };
    running.set(endpoint, own + 1);
    total++;
    try {
      return { kind: "sent", ...((await delivery.test(endpoint)) ?? DELETED) };
    } finally {
      total--;
      const rest = (running.get(endpoint) ?? 1) - 1;
      if (rest > 0) running.set(endpoint, rest);
      else running.delete(endpoint);
    }
  };
}
