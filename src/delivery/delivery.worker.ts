// The delivery thread: a dispatcher over its own read-only connection, a port to the writer thread for what is
// committed and what is to be settled, and a few words from the main thread. On a thread of its own, so that a
// thousand TLS handshakes delay no ingest, and a page of 8 MiB delays no webhook.

import { createLog, type LogOptions } from "../base/log.ts";
import { createSecretBox } from "../base/secret_box.ts";
import { type Channel, listen, parentThread } from "../base/thread.ts";
import { VERSION } from "../base/version.ts";
import { encodeOps, type ToDelivery } from "../store/sqlite/op.ts";
import { openReader } from "../store/sqlite/pragma.ts";
import { DueReads } from "../store/sqlite/read_due.ts";
import { egressOf } from "../webhook/guard.ts";
import { createDeliveryMetrics } from "./delivery_metrics.ts";
import { Dispatcher } from "./dispatcher.ts";
import { Post, type TestOutcome } from "./post.ts";
import { createSender } from "./send.ts";

/** The first message. `writer` is one end of a channel whose other end the writer thread has. */
export type DeliveryInit = {
  readonly file: string;
  readonly writer: MessagePort;
  readonly retryScheduleMs: readonly number[];
  readonly timeoutMs: number;
  /** What seals signing secrets, in hexadecimal. */
  readonly encryptionKeys: readonly string[];
  readonly allowPrivate: boolean | readonly string[];
  /** False: nothing is sent, and what is due stays due. */
  readonly enabled: boolean;
  readonly log: LogOptions;
};

/** What the main thread asks, as JSON after the first message. */
export type ToDeliveryThread =
  | { readonly ask: "metrics" | "lag" | "stop" }
  | { readonly ask: "test"; readonly request: number; readonly endpoint: number };

/** An answer to the main thread, as JSON. `request` tells tests apart: they are answered in any order. */
export type FromDelivery =
  | { readonly kind: "started" }
  | { readonly kind: "metrics"; readonly metrics: unknown }
  | { readonly kind: "lag"; readonly seconds: number }
  | { readonly kind: "test"; readonly request: number; readonly outcome: TestOutcome | null }
  | { readonly kind: "stopped" };

/** What is in flight at the stop gets this long; a receiver that hangs longer is sent to again after the start. */
const STOP_MS = 10_000;

listen(parentThread, (init: DeliveryInit) => start(init));

function start(init: DeliveryInit): void {
  const writer: Channel = init.writer;
  const log = createLog(init.log);
  const metrics = createDeliveryMetrics();
  const sender = createSender({ egress: egressOf(init.allowPrivate), userAgentVersion: VERSION });
  const post = new Post({ ...init, sender, onAttempt: metrics.onAttempt });
  const db = openReader(init.file);
  const reads = new DueReads(db, createSecretBox(init.encryptionKeys));
  const dispatcher = new Dispatcher(reads, post, (ops) => writer.postMessage(encodeOps(ops)), log);

  listen(writer, (text: string) => {
    if (!init.enabled) return;
    const message = JSON.parse(text) as ToDelivery;
    if ("notice" in message) dispatcher.notice(message.notice);
    else dispatcher.replied(message.results, message.sealed);
  });
  listen(parentThread, async (text: string) => {
    const asked = JSON.parse(text) as ToDeliveryThread;
    if (asked.ask === "metrics")
      answer({ kind: "metrics", metrics: await metrics.registry.getMetricsAsJSON() });
    else if (asked.ask === "lag") answer({ kind: "lag", seconds: dispatcher.lagSeconds() });
    else if (asked.ask === "test") {
      answer({ kind: "test", request: asked.request, outcome: await dispatcher.test(asked.endpoint) });
    } else {
      await stop(dispatcher, sender);
      db.close(); // the writer is then the last one, and leaves no WAL file behind
      answer({ kind: "stopped" });
    }
  });
  if (init.enabled) dispatcher.start();
  answer({ kind: "started" });
}

async function stop(dispatcher: Dispatcher, sender: { close(): void }): Promise<void> {
  const stopped = dispatcher.stop();
  const timer = setTimeout(() => sender.close(), STOP_MS);
  await stopped;
  clearTimeout(timer);
  sender.close();
}

function answer(message: FromDelivery): void {
  parentThread.postMessage(JSON.stringify(message));
}
