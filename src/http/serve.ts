// Puts the HTTP side together and listens. Loaded while the other threads start: its code is most of the program's.

import type { Log } from "../base/log.ts";
import { createMetrics } from "../base/metrics.ts";
import { VERSION } from "../base/version.ts";
import type { Config } from "../config.ts";
import type { Store } from "../store/store.ts";
import { egressOf } from "../webhook/guard.ts";
import { createApp } from "./app.ts";
import { createAuthenticator } from "./auth.ts";
import { HashGate } from "./key_hash.ts";
import { createAddressLimiter, Limiter } from "./limit.ts";

/**
 * A client that sends at exactly its rate arrives with the network's jitter: without some grace its 101st event in
 * 60 s, 5 ms early, would be refused.
 */
const RATE_GRACE_MS = 500;
/** Requests in flight get this long at the stop; what hangs longer (a slow upload) is cut off. */
const DRAIN_MS = 10_000;

export type HttpSide = {
  /** The writer committed a transaction: for the metrics. */
  onCommit(commitMs: number): void;
  /** Starts to listen; returns where, without a slash at the end. */
  listen(): string;
  /** Refuses new connections and answers what is in flight. */
  stop(): Promise<void>;
};

export function createHttpSide(
  config: Config,
  log: Log,
  store: Store,
  delivery: { metrics(): Promise<unknown>; lagSeconds(): Promise<number> },
): HttpSide {
  const hashGate = new HashGate();
  const metrics = createMetrics(
    () => store.stats(),
    () => hashGate.hashesTotal,
  );
  const { onCacheLookup } = metrics;
  const app = createApp({
    config,
    store,
    authenticator: createAuthenticator({ reads: store, gate: hashGate, onCacheLookup }),
    hashGate,
    eventLimiter: new Limiter<number>({ graceMs: RATE_GRACE_MS }),
    keyLimiter: createAddressLimiter(),
    egress: egressOf(config.webhookAllowPrivate),
    metrics,
    threadMetrics: async () => [await delivery.metrics()],
    deliveryLagSeconds: () => delivery.lagSeconds(),
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
      await Promise.race([app.server?.stop(), Bun.sleep(DRAIN_MS)]);
      await app.server?.stop(true);
    },
  };
}
