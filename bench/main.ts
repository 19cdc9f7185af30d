// `bun run bench [name]`: runs one benchmark. Each builds what it measures.

import { benchDeliver } from "./deliver.ts";
import { benchFairness } from "./fairness.ts";
import { benchInbox } from "./inbox.ts";
import { benchIngest } from "./ingest.ts";

const benches: Record<string, () => Promise<unknown>> = {
  ingest: () => benchIngest(),
  deliver: () => benchDeliver(),
  inbox: () => benchInbox(),
  fairness: () => benchFairness(),
  /** Everything briefly: whether it works, not how fast it is. */
  smoke: async () => {
    const quick = { clients: [1, 16], rounds: 1, seconds: 1, organizations: 3, durability: "full" } as const;
    const rows = await benchIngest(quick);
    if (rows.some(({ product }) => product.errors > 0 || product.requestsPerSecond === 0)) process.exit(1);
  },
};

const name = process.argv[2] ?? "ingest";
const bench = benches[name];
if (!bench) {
  console.error(`There is no benchmark ${name}. There is: ${Object.keys(benches).join(", ")}.`);
  process.exit(2);
}
await bench();
