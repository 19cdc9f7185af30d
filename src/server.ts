// The composition root: opens the store, starts delivery, builds the app, listens; stops in the reverse order.

import { newApiKey } from "./base/api_key.ts";
import { assert } from "./base/assert.ts";
import type { Log } from "./base/log.ts";
import { createMetrics } from "./base/metrics.ts";
import { VERSION } from "./base/version.ts";
import type { Config } from "./config.ts";
import type { DeliveryInit } from "./delivery/delivery.worker.ts";
import { startRetention } from "./delivery/retention.ts";
import { createApp } from "./http/app.ts";
import { createAuthenticator } from "./http/auth.ts";
import { HashGate, hashSecret } from "./http/key_hash.ts";
import { createAddressLimiter, Limiter } from "./http/limit.ts";
import { openStore } from "./store/sqlite/open.ts";
import type { SqliteStore } from "./store/sqlite/sqlite_store.ts";
import { type DeliveryThread, startDeliveryThread, startWriterThread } from "./threads.ts";
import { type Egress, parseEgress } from "./webhook/guard.ts";
import { type GeneratedKey, generatedKey } from "./wire/key.ts";
import { scopes, type Tier } from "./wire/tiers.ts";

export type Server = {
  /** Where it listens, without a slash at the end. */
  readonly url: string;
  /** Refuses new connections, answers what is in flight, settles, checkpoints and closes. */
  stop(): Promise<void>;
};

/**
 * A client that sends at exactly its rate arrives with the network's jitter: without some grace its 101st event in
 * 60 s, 5 ms early, would be refused.
 */
const RATE_GRACE_MS = 500;
/** Requests in flight get this long at the stop; what hangs longer (a slow upload) is cut off. */
const DRAIN_MS = 10_000;

/** Starts everything. Throws an error whose message is a whole sentence when it cannot. */
export async function startServer(config: Config, log: Log): Promise<Server> {
  const channel = new MessageChannel();
  const { store, lock, file } = await open(config, log, channel.port1);
  try {
    const init = deliveryInit(config, file, channel.port2);
    const delivery = await startDeliveryThread(init, log);
    const stopRetention = startRetention((beforeMs) => store.prune(beforeMs), config.retentionDays, log);
    const http = listen(config, log, store, delivery);
    lock.announce(http.url);
    void store.resume();
    const stop = async () => {
      await http.stop();
      stopRetention();
      await delivery.stop();
      await store.close();
      lock.release();
    };
    return { url: http.url, stop };
  } catch (error) {
    await store.close();
    lock.release();
    throw error;
  }
}

/** Makes an organization and its first key while no server runs on the data directory. */
export async function createKeyOffline(
  config: Config,
  input: { organizationName: string; tier: Tier },
  log: Log,
): Promise<GeneratedKey> {
  const { store, lock } = await open(config, log, new MessageChannel().port1);
  try {
    const { apiKey, keyId, secret } = newApiKey("live");
    const key = { keyId, secretHash: await hashSecret(secret), name: null, scopes, expiresAtMs: null };
    const written = await store.createOrganization({ name: input.organizationName, tier: input.tier, key });
    if (written.kind !== "done") throw new Error(`The database is not writable: ${written.kind}.`);
    return generatedKey(written.value, { apiKey, keyId });
  } finally {
    await store.close();
    lock.release();
  }
}

async function open(config: Config, log: Log, deliveryPort: MessagePort) {
  const opened = await openStore({
    dataDir: config.dataDir,
    durability: config.durability,
    queuedMax: config.maxQueuedEvents,
    startWriterThread: () => startWriterThread(log),
    deliveryPort,
    onCommit: () => {},
  });
  if (opened.kind === "refused") throw new Error(opened.detail);
  return opened;
}

function deliveryInit(config: Config, file: string, writer: MessagePort): DeliveryInit {
  return {
    file,
    writer,
    retryScheduleMs: config.retryScheduleMs,
    timeoutMs: config.webhookTimeoutMs,
    allowPrivate: config.webhookAllowPrivate,
    enabled: !config.disableWebhookDelivery,
    log: { level: config.logLevel, format: config.logFormat },
  };
}

function listen(config: Config, log: Log, store: SqliteStore, delivery: DeliveryThread) {
  const metrics = createMetrics(() => store.stats());
  const hashGate = new HashGate();
  const app = createApp({
    config,
    store,
    authenticator: createAuthenticator({
      reads: store,
      gate: hashGate,
      onCacheLookup: metrics.onCacheLookup,
    }),
    hashGate,
    eventLimiter: new Limiter<number>({ graceMs: RATE_GRACE_MS }),
    keyLimiter: createAddressLimiter(),
    egress: egressOf(config),
    metrics,
    threadMetrics: async () => [await delivery.metrics()],
    log,
    version: VERSION,
    startedAtMs: Date.now(),
  });
  app.listen({ hostname: config.host, port: config.port });
  const { server } = app;
  assert(server, "an app that listens has a server");
  const host = config.host.includes(":") ? `[${config.host}]` : config.host;
  const stop = () => Promise.race([server.stop(), Bun.sleep(DRAIN_MS)]).then(() => server.stop(true));
  return { url: `http://${host}:${server.port}`, stop };
}

function egressOf({ webhookAllowPrivate }: Config): Egress {
  const parsed = parseEgress(webhookAllowPrivate === false ? undefined : webhookAllowPrivate);
  if (!parsed.ok) throw new Error(parsed.detail);
  return parsed.egress;
}
