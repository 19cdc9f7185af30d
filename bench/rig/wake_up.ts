// How long it takes until a thread that sleeps runs again, on this machine. A durable answer needs three wake-ups more
// than one that stores nothing (the writer, the writer again after its fsync, the main thread), so this is its floor as
// much as the disk is. Two threads throw a number to and fro, each asleep until it comes.

import { isMainThread, Worker, workerData } from "node:worker_threads";
import { Latencies } from "./numbers.ts";

/** Between two throws, so that the other thread, and its processor, are asleep. */
const REST_MS = 0.5;

/** The time of one wake-up, half of there and back, so many times. */
export function wakeUps(count: number): Latencies {
  const shared = new Int32Array(new SharedArrayBuffer(8));
  const worker = new Worker(import.meta.path, { workerData: shared });
  const times: number[] = [];
  Atomics.wait(shared, 1, 0); // until it is there
  for (let turn = 1; turn <= count; turn++) {
    Atomics.wait(shared, 1, turn, REST_MS);
    const startMs = performance.now();
    Atomics.store(shared, 0, turn);
    Atomics.notify(shared, 0);
    Atomics.wait(shared, 1, turn);
    times.push((performance.now() - startMs) / 2);
  }
  void worker.terminate();
  return Latencies.of(times);
}

/** The other one answers each turn with the next: index 0 is what it is told, index 1 its answer. */
function answerForEver(shared: Int32Array): void {
  for (let turn = 0; ; turn++) {
    Atomics.store(shared, 1, turn + 1);
    Atomics.notify(shared, 1);
    Atomics.wait(shared, 0, turn);
  }
}

if (!isMainThread && workerData instanceof Int32Array) answerForEver(workerData);
