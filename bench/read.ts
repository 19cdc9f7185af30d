// How long do reads take on a large database? Each kind alone, a few clients that ask on as soon as they are answered.

import type { Benchmark, Findings } from "./rig/benchmark.ts";
import { filledDir } from "./rig/filled.ts";
import { progress } from "./rig/progress.ts";
import { getText, postText } from "./rig/requests.ts";
import { problemsOf, type Sent, send } from "./rig/sender.ts";
import { buildTargets, startProduct } from "./rig/target.ts";

const usual = {
  stored: 20_000_000,
  liveDedupIds: 10_000_000,
  organizations: 50,
  /** One: with more, they would wait for each other on the one thread that reads, and that would be measured. */
  clients: 1,
  seconds: 10,
  warmSeconds: 2,
};
type ReadOptions = Readonly<typeof usual>;
const brief: ReadOptions = {
  stored: 4_000,
  liveDedupIds: 2_000,
  organizations: 3,
  clients: 2,
  seconds: 1,
  warmSeconds: 1,
};

export const read: Benchmark<ReadOptions> = {
  name: "read",
  question: "How long do inbox pages, single events, leases and dead letters take on a large database?",
  usual,
  brief,
  measure,
};

async function measure(options: ReadOptions): Promise<Findings> {
  await buildTargets();
  const { stored, liveDedupIds, organizations, clients, seconds, warmSeconds } = options;
  const data = await filledDir({ events: stored, liveDedupIds, organizations });
  const product = await startProduct({ data });
  try {
    const { url, keys } = product;
    const ofEach = (text: (key: string) => string) => keys.map(text);
    const kinds: Readonly<Record<string, readonly string[]>> = {
      "inbox page of 100, newest first": ofEach((key) => getText("/api/inbox?limit=100", key)),
      "inbox page of 100, oldest first": ofEach((key) => getText("/api/inbox?limit=100&order=asc", key)),
      "undelivered, page of 100": ofEach((key) => getText("/api/inbox?status=undelivered&limit=100", key)),
      "event by id": data.ids.map(({ key, id }) => getText(`/api/events/${id}`, key)),
      "dead letters, page of 100": ofEach((key) => getText("/api/inbox?status=dead_letter&limit=100", key)),
      "dead deliveries, page of 100": ofEach((key) =>
        getText("/api/deliveries?status=dead_letter&limit=100", key),
      ),
      // Last: it changes what is stored. Held for a second, so that a long run does not come to the end.
      "lease of 100": ofEach((key) => postText("/api/inbox/lease", key, { max: 100, lease_seconds: 1 })),
    };
    const sending = { url, connections: clients, successes: [200] };
    const warm = keys.map((key) => getText("/api/inbox?limit=1", key));
    await send({ ...sending, seconds: warmSeconds, requests: warm });
    const results: Record<string, Sent> = {};
    for (const [kind, requests] of Object.entries(kinds)) {
      progress(kind);
      results[kind] = await send({ ...sending, seconds, requests });
    }
    return findings(results, options);
  } finally {
    await product.stop();
  }
}

function findings(
  results: Readonly<Record<string, Sent>>,
  { stored, clients, seconds }: ReadOptions,
): Findings {
  const all = Object.entries(results);
  return {
    method: `${stored} events stored, no ingest meanwhile; ${clients} client${clients === 1 ? "" : "s"}, each kind for ${seconds} s.`,
    tables: [
      {
        columns: ["read", "requests/s", "p50 ms", "p95 ms", "p99 ms", "max ms", "bytes an answer", "errors"],
        rows: all.map(([kind, { requestsPerSecond, requests, bytes, errors, latencies }]) => {
          const { p50Ms, p95Ms, p99Ms, maxMs } = latencies.spread();
          return [
            kind,
            Math.round(requestsPerSecond),
            p50Ms,
            p95Ms,
            p99Ms,
            maxMs,
            Math.round(bytes / requests),
            errors,
          ];
        }),
      },
    ],
    figures: all.map(([kind, { latencies }]) => ({
      name: `p99 of ${kind}`,
      ...{ value: latencies.atMs(0.99), unit: "ms", atMost: 3 },
    })),
    problems: all.flatMap(([kind, sent]) => problemsOf(kind, [sent])),
    data: results,
  };
}
