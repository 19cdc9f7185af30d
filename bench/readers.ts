// Do heavy readers hold the others up? Pages of 8 MiB and whole exports are built on the thread that takes events in.

import { callApi, newOrganization } from "./rig/api.ts";
import type { Benchmark, Findings } from "./rig/benchmark.ts";
import { besideOthers } from "./rig/beside.ts";
import { getText } from "./rig/requests.ts";
import { send } from "./rig/sender.ts";
import { buildTargets, startProduct } from "./rig/target.ts";

/** So that 1 000 of them are more than a page may have: 8 MiB. */
const PAYLOAD_CHARACTERS = 8_500;
/** Below the 8 MiB that a body may have. */
const BATCH_EVENTS = 500;

const usual = {
  pagesPerSecond: 10,
  events: 4_000,
  perSecond: 2_000,
  clients: 64,
  rounds: 5,
  seconds: 10,
  organizations: 50,
};
type ReadersOptions = Readonly<typeof usual>;
const brief: ReadersOptions = {
  pagesPerSecond: 10,
  events: 1_500,
  perSecond: 200,
  clients: 8,
  rounds: 1,
  seconds: 1,
  organizations: 3,
};

export const readers: Benchmark<ReadersOptions> = {
  name: "readers",
  question: "What do ten 8 MiB inbox pages a second and an export cost the p99 of others' ingest?",
  usual,
  brief,
  measure,
};

async function measure(options: ReadersOptions): Promise<Findings> {
  await buildTargets();
  const { pagesPerSecond, events, organizations } = options;
  const product = await startProduct({ organizations });
  const { url } = product;
  try {
    const { id, key } = await newOrganization(url, "Reader");
    const event = { type: "report.made", payload: "x".repeat(PAYLOAD_CHARACTERS) };
    for (let sent = 0; sent < events; sent += BATCH_EVENTS)
      await callApi(url, "/api/events/batch", key, { events: Array(BATCH_EVENTS).fill(event) });
    const page = [getText("/api/inbox?limit=1000", key)];
    const whole = [getText(`/api/admin/organizations/${id}/export`)];
    return await besideOthers(
      `${pagesPerSecond} pages a second and an export`,
      product,
      options,
      async (seconds) => {
        const successes = [200];
        const [pages, exports] = await Promise.all([
          send({ url, connections: 4, seconds, perSecond: pagesPerSecond, requests: page, successes }),
          send({ url, connections: 1, seconds, requests: whole, successes }),
        ]);
        return { "inbox pages": pages, exports };
      },
    );
  } finally {
    await product.stop();
  }
}
