// The composition root: opens the store, starts delivery, builds the HTTP side, listens; stops in the reverse order.
// Surprise: what only a running server needs is imported when it starts, after the threads, so that their code and
// this thread's are loaded at the same time (a third of the time to listening).

import type { Log } from "./base/log.ts";
import type { Config } from "./config.ts";
import type { DeliveryInit } from "./delivery/delivery.worker.ts";
import { startRetention } from "./delivery/retention.ts";
import { openStore } from "./store/sqlite/open.ts";
import { startCheckpointThread, startDeliveryThread, startWriterThread } from "./threads.ts";
import type { GeneratedKey } from "./wire/key.ts";
import { scopes, type Tier } from "./wire/tiers.ts";

export type Server = {
  /** Where it listens, without a slash at the end. */
  readonly url: string;
  /** Refuses new connections, answers what is in flight, settles, checkpoints and closes. */
  stop(): Promise<void>;
};

/** Starts everything. Throws an error whose message is a whole sentence when it cannot. */
export async function startServer(config: Config, log: Log): Promise<Server> {
  const channel = new MessageChannel();
  const delivery = startDeliveryThread(log);
  const opening = open(config, log, config.disableWebhookDelivery ? null : channel.port1);
  const httpCode = import("./http/serve.ts");
  const { store, lock, file } = await opening;
  try {
    const started = delivery.start(deliveryInit(config, file, channel.port2));
    const { createHttpSide } = await httpCode;
    const http = createHttpSide(config, log, store, delivery);
    store.onCommit = http.onCommit;
    store.onWriteFailure = (reason) => tellWriting(reason, log);
    await started;
    const url = http.listen();
    lock.announce(url);
    const stopRetention = startRetention((beforeMs) => store.prune(beforeMs), config.retentionDays, log);
    void store.resume();
    const stop = async () => {
      await http.stop();
      stopRetention();
      await delivery.stop();
      await store.close();
      lock.release();
    };
    return { url, stop };
  } catch (error) {
    await store.close();
    lock.release();
    throw error;
  }
}

function tellWriting(failure: string | null, log: Log): void {
  if (failure === null) log.info("the database can be written again");
  else log.error({ reason: failure }, "the database cannot be written; events are refused, reads go on");
}

/** Makes an organization and its first key while no server runs on the data directory. */
export async function createKeyOffline(
  config: Config,
  input: { organizationName: string; tier: Tier },
  log: Log,
): Promise<GeneratedKey> {
  const { newApiKey } = await import("./base/api_key.ts");
  const { hashSecret } = await import("./http/key_hash.ts");
  const { generatedKey } = await import("./wire/key.ts");
  const { store, lock } = await open(config, log, null);
  try {
    const { apiKey, keyId, secret } = newApiKey("live");
    const key = { keyId, secretHash: await hashSecret(secret), name: null, scopes, expiresAtMs: null };
    const by = { kind: "command_line", keyId: null, address: null, requestId: null } as const;
    const named = { name: input.organizationName, tier: input.tier, key };
    const written = await store.createOrganization(named, by);
    if (written.kind !== "done") throw new Error(`The database is not writable: ${written.kind}.`);
    return generatedKey(written.value, { apiKey, keyId });
  } finally {
    await store.close();
    lock.release();
  }
}

async function open(config: Config, log: Log, deliveryPort: MessagePort | null) {
  const opened = await openStore({
    dataDir: config.dataDir,
    durability: config.durability,
    encryptionKeys: config.encryptionKeys,
    queuedMax: config.maxQueuedEvents,
    startWriterThread: () => startWriterThread(log),
    startCheckpointThread: () => startCheckpointThread(log),
    deliveryPort,
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
    encryptionKeys: config.encryptionKeys,
    allowPrivate: config.webhookAllowPrivate,
    enabled: !config.disableWebhookDelivery,
    log: { level: config.logLevel, format: config.logFormat },
  };
}
