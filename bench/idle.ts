// What does a server do when nobody wants anything? Nothing, it is hoped: no poll of ours, and only the runtime's own
// threads, which look at the heap once a second for half a minute and each 30 s from then on.

import { drained } from "./rig/api.ts";
import type { Benchmark, Findings } from "./rig/benchmark.ts";
import { load, requireWrk } from "./rig/load.ts";
import { processMs, threads } from "./rig/processes.ts";
import { progress } from "./rig/progress.ts";
import { byThread, requireStrace, wakeUps, watchFor } from "./rig/strace.ts";
import { buildTargets, startProduct, startScript } from "./rig/target.ts";

const usual = { organizations: 50, calmSeconds: 45, straceSeconds: 10, processorSeconds: 60 };
type IdleOptions = Readonly<typeof usual>;
const brief: IdleOptions = { organizations: 3, calmSeconds: 1, straceSeconds: 1, processorSeconds: 1 };

export const idle: Benchmark<IdleOptions> = {
  name: "idle",
  question: "How many system calls and how much processor time does an idle server take?",
  usual,
  brief,
  measure,
};

async function measure(options: IdleOptions): Promise<Findings> {
  requireStrace();
  requireWrk();
  await buildTargets();
  const { organizations, calmSeconds, straceSeconds, processorSeconds } = options;
  const sink = await startScript("sink.ts");
  const product = await startProduct({ organizations, receiverUrl: sink.url });
  try {
    // Not a server that has never done anything: one that has worked, delivered, and is done.
    await load(product, { clients: 8, seconds: 1, perSecond: 500 });
    await drained(product.url);
    progress(`letting it come to rest, ${calmSeconds} s`);
    await Bun.sleep(calmSeconds * 1_000);
    progress(`processor time over ${processorSeconds} s`);
    const beforeMs = processMs(product.pid);
    const threadsBefore = new Map(threads(product.pid).map((one) => [one.tid, one.ms]));
    await Bun.sleep(processorSeconds * 1_000);
    const processorMs = processMs(product.pid) - beforeMs;
    const ofThreads = new Map(
      threads(product.pid).map(({ tid, ms }) => [tid, ms - (threadsBefore.get(tid) ?? 0)]),
    );
    progress(`system calls over ${straceSeconds} s`);
    const calls = await watchFor(straceSeconds, product.pid, product.dir);
    const counts = byThread(product.pid, calls);
    return {
      method: `After 500 events a second for a second, all delivered, and ${calmSeconds} s of rest: processor time over ${processorSeconds} s, then all system calls over ${straceSeconds} s.`,
      tables: [
        {
          columns: ["thread", "system calls", "wake-ups of its loop", "processor ms"],
          rows: counts.map((one) => [one.name, one.calls, one.wakeUps, ofThreads.get(one.tid) ?? 0]),
        },
      ],
      figures: [
        { name: `system calls in ${straceSeconds} s`, value: calls.length, unit: "calls" },
        { name: `wake-ups in ${straceSeconds} s`, value: wakeUps(calls), unit: "wake-ups" },
        { name: `processor time in ${processorSeconds} s`, value: processorMs, unit: "ms", atMost: 100 },
      ],
      problems: [],
      data: { counts, processorMs },
    };
  } finally {
    await product.stop();
    await sink.stop();
  }
}
