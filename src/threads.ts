// The only place that starts threads. A thread that dies takes the process with it: a supervisor starts it anew,
// and nothing that was answered is lost. (Both worker files are entry points of the build, scripts/build.ts.)

import type { Log } from "./base/log.ts";
import { listen } from "./base/thread.ts";
import type { DeliveryInit, FromDelivery } from "./delivery/delivery.worker.ts";

export type DeliveryThread = {
  /** Hands over what it works with; resolves when it has found what a restart left waiting. */
  start(init: DeliveryInit): Promise<void>;
  /** The thread's metrics, as prom-client's JSON. */
  metrics(): Promise<unknown>;
  /** For how long the oldest delivery that could be sent has been due; 0 when none is. */
  lagSeconds(): Promise<number>;
  /** No new attempts; resolves when what is in flight is settled. */
  stop(): Promise<void>;
};

/** The writer thread, to be handed to the store. */
export function startWriterThread(log: Log): Worker {
  return watched(new Worker(new URL("./store/sqlite/writer.worker.ts", import.meta.url)), "writer", log);
}

/** The delivery thread: it loads its code at once, while the caller opens the store. */
export function startDeliveryThread(log: Log): DeliveryThread {
  const worker = watched(
    new Worker(new URL("./delivery/delivery.worker.ts", import.meta.url)),
    "delivery",
    log,
  );
  const answers: { kind: FromDelivery["kind"]; resolve: (answer: FromDelivery) => void }[] = [];
  listen(worker, (text: string) => {
    const answer = JSON.parse(text) as FromDelivery;
    const at = answers.findIndex(({ kind }) => kind === answer.kind);
    for (const { resolve } of answers.splice(at, at < 0 ? 0 : 1)) resolve(answer);
  });
  const ask = (kind: FromDelivery["kind"], send: () => void): Promise<FromDelivery> =>
    new Promise((resolve) => {
      answers.push({ kind, resolve });
      send();
    });
  return {
    async start(init) {
      await ask("started", () => worker.postMessage(init, [init.writer]));
    },
    async metrics() {
      const answer = await ask("metrics", () => worker.postMessage("metrics"));
      return answer.kind === "metrics" ? answer.metrics : [];
    },
    async lagSeconds() {
      const answer = await ask("lag", () => worker.postMessage("lag"));
      return answer.kind === "lag" ? answer.seconds : 0;
    },
    async stop() {
      await ask("stopped", () => worker.postMessage("stop"));
    },
  };
}

function watched(worker: Worker, name: string, log: Log): Worker {
  const die = (why: string) => {
    log.error(
      { thread: name, why: why.split("\n")[0] },
      "a thread died; the process exits so that it is started anew",
    );
    process.exit(1);
  };
  worker.addEventListener("error", (event) => die(event.message));
  worker.addEventListener("close", () => die("it ended"));
  return worker;
}
