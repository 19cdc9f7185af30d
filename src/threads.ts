// The only place that starts threads. A thread that dies takes the process with it: a supervisor starts it anew,
// and nothing that was answered is lost. (Both worker files are entry points of the build, scripts/build.ts.)

import type { Log } from "./base/log.ts";
import { listen } from "./base/thread.ts";
import type { DeliveryInit, FromDelivery, ToDeliveryThread } from "./delivery/delivery.worker.ts";
import type { TestOutcome } from "./delivery/post.ts";

export type DeliveryThread = {
  /** Hands over what it works with; resolves when it has found what a restart left waiting. */
  start(init: DeliveryInit): Promise<void>;
  /** The thread's metrics, as prom-client's JSON. */
  metrics(): Promise<unknown>;
  /** For how long the oldest delivery that could be sent has been due; 0 when none is. */
  lagSeconds(): Promise<number>;
  /** Sends a test to an endpoint now; null when there is no such endpoint. */
  test(endpoint: number): Promise<TestOutcome | null>;
  /** No new attempts; resolves when what is in flight is settled. */
  stop(): Promise<void>;
};

/** The writer thread, to be handed to the store. */
export function startWriterThread(log: Log): Worker {
  return watched(new Worker(new URL("./store/sqlite/writer.worker.ts", import.meta.url)), "writer", log);
}

/** The thread that copies a long write-ahead log; it ends when that is done. */
export function startCheckpointThread(log: Log): Worker {
  const worker = new Worker(new URL("./store/sqlite/checkpoint.worker.ts", import.meta.url));
  worker.addEventListener("error", (event) => die("checkpoint", defectOf(event.message), log));
  return worker;
}

/** The thread of one copy of the database. Whoever starts it listens for its errors: there is no server to end. */
export function startCopyThread(): Worker {
  return new Worker(new URL("./store/sqlite/copy.worker.ts", import.meta.url));
}

/** The delivery thread: it loads its code at once, while the caller opens the store. */
export function startDeliveryThread(log: Log): DeliveryThread {
  const worker = watched(
    new Worker(new URL("./delivery/delivery.worker.ts", import.meta.url)),
    "delivery",
    log,
  );
  const waiting: { isAnswer: (answer: FromDelivery) => boolean; resolve: (answer: FromDelivery) => void }[] =
    [];
  listen(worker, (text: string) => {
    const answer = JSON.parse(text) as FromDelivery;
    const at = waiting.findIndex(({ isAnswer }) => isAnswer(answer));
    for (const { resolve } of waiting.splice(at, at < 0 ? 0 : 1)) resolve(answer);
  });
  const answerWhere = <A extends FromDelivery>(isAnswer: (answer: FromDelivery) => answer is A): Promise<A> =>
    new Promise((resolve) => waiting.push({ isAnswer, resolve: resolve as (answer: FromDelivery) => void }));
  const answerOf = <K extends FromDelivery["kind"]>(kind: K) =>
    answerWhere((answer): answer is Extract<FromDelivery, { kind: K }> => answer.kind === kind);
  const ask = (asked: ToDeliveryThread) => worker.postMessage(JSON.stringify(asked));
  let requests = 0;
  return {
    async start(init) {
      worker.postMessage(init, [init.writer]);
      await answerOf("started");
    },
    async metrics() {
      ask({ ask: "metrics" });
      return (await answerOf("metrics")).metrics;
    },
    async lagSeconds() {
      ask({ ask: "lag" });
      return (await answerOf("lag")).seconds;
    },
    async test(endpoint) {
      const request = requests++;
      ask({ ask: "test", request, endpoint });
      type Tested = Extract<FromDelivery, { kind: "test" }>;
      const isTest = (answer: FromDelivery): answer is Tested =>
        answer.kind === "test" && answer.request === request;
      return (await answerWhere(isTest)).outcome;
    },
    async stop() {
      ask({ ask: "stop" });
      await answerOf("stopped");
    },
  };
}

function watched(worker: Worker, name: string, log: Log): Worker {
  worker.addEventListener("error", (event) => die(name, defectOf(event.message), log));
  worker.addEventListener("close", () => die(name, { why: "it ended" }, log));
  return worker;
}

function die(thread: string, why: object, log: Log): never {
  log.error({ thread, ...why }, "a thread died; the process exits so that it is started anew");
  process.exit(1);
}

/** Bun tells an error of a thread as it prints it: some lines of the source, then the error, then where. */
function defectOf(told: string): { why: string; at: string | null } {
  const lines = told.split("\n");
  const why = lines.find((line) => /^(error|\w*Error): /.test(line)) ?? lines[0] ?? "";
  return { why: why.replace(/^error: /, ""), at: lines.find((line) => /^ +at /.test(line))?.trim() ?? null };
}
