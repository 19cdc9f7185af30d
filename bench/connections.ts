// What do ten thousand connections cost? First they are open and silent, then each sends an event now and then; a client
// that comes newly is served meanwhile, and when all have gone, memory and file descriptors come back.

import { readdirSync } from "node:fs";
import type { Benchmark, Cell, Findings } from "./rig/benchmark.ts";
import { Crowd } from "./rig/crowd.ts";
import { Latencies, type Spread } from "./rig/numbers.ts";
import { residentMib } from "./rig/processes.ts";
import { progress } from "./rig/progress.ts";
import { eventTexts, getText } from "./rig/requests.ts";
import { buildTargets, type Product, startProduct } from "./rig/target.ts";

/** A connection that says nothing for 25 s is closed by the server. */
const usual = { connections: 10_000, everySeconds: 20, seconds: 60, restSeconds: 20, organizations: 50 };
type ConnectionsOptions = Readonly<typeof usual>;
const brief: ConnectionsOptions = {
  connections: 300,
  everySeconds: 1,
  seconds: 2,
  restSeconds: 1,
  organizations: 3,
};

export const connections: Benchmark<ConnectionsOptions> = {
  name: "connections",
  question: "What do 10 000 open connections cost, silent and sending, and does it come back?",
  usual,
  brief,
  measure,
};

type Phase = {
  readonly name: string;
  readonly open: number;
  readonly fds: number;
  readonly residentMib: number;
  /** Of events over the crowd's connections, where there were any. */
  readonly events: Spread | null;
  /** Of `GET /health` by clients that connect for it. */
  readonly newcomer: Spread;
};

async function measure(options: ConnectionsOptions): Promise<Findings> {
  await buildTargets();
  const { seconds, everySeconds, restSeconds } = options;
  const product = await startProduct({ organizations: options.organizations });
  const crowd = new Crowd(product.url);
  try {
    await newcomers(product); // until the JIT has seen it
    const phases = [await phase("before", product, crowd, null)];
    progress(`opening ${options.connections} connections`);
    await crowd.open(options.connections);
    await crowd.askAll(getText("/health"));
    phases.push(await phase("open and silent", product, crowd, null));
    progress(`each an event in ${everySeconds} s, for ${seconds} s`);
    const sending = crowd.sendInTurn(eventTexts(product.keys), options.connections / everySeconds, seconds);
    const [events, beside] = await Promise.all([sending, newcomers(product)]);
    phases.push({ ...(await phase("sending", product, crowd, events)), newcomer: beside });
    const broken = crowd.broken;
    crowd.close();
    await fdsBack(product, phases[0]?.fds ?? 0);
    progress(`letting it rest, ${restSeconds} s`);
    await Bun.sleep(restSeconds * 1_000);
    phases.push(await phase("closed", product, crowd, null));
    return findings(phases, { broken, statuses: crowd.statuses }, options);
  } finally {
    crowd.close();
    await product.stop();
  }
}

async function phase(name: string, product: Product, crowd: Crowd, events: Spread | null): Promise<Phase> {
  const fds = openFds(product);
  const resident = residentMib(product.pid);
  return { name, open: crowd.size, fds, residentMib: resident, events, newcomer: await newcomers(product) };
}

/** A connection of its own for each. */
async function newcomers({ url }: Product): Promise<Spread> {
  const latencies = new Latencies();
  for (let n = 0; n < 100; n++) {
    const startMs = performance.now();
    const { status } = await fetch(`${url}/health`, { keepalive: false });
    if (status !== 200) throw new Error(`/health: ${status}`);
    latencies.add(performance.now() - startMs);
  }
  return latencies.spread();
}

/** Resolves when the server has closed what its clients have; throws when it keeps them. */
async function fdsBack(product: Product, before: number): Promise<void> {
  const lastMs = performance.now() + 30_000;
  while (openFds(product) > before + 10) {
    if (performance.now() > lastMs) throw new Error(`${openFds(product)} file descriptors stay open`);
    await Bun.sleep(50);
  }
}

const openFds = ({ pid }: Product) => readdirSync(`/proc/${pid}/fd`).length;

function findings(
  phases: readonly Phase[],
  crowd: { readonly broken: number; readonly statuses: Readonly<Record<string, number>> },
  options: ConnectionsOptions,
): Findings {
  const before = phases[0]?.residentMib ?? Number.NaN;
  const most = Math.max(...phases.map((one) => one.residentMib));
  const refused = Object.entries(crowd.statuses).filter(([status]) => status !== "200" && status !== "202");
  return {
    method: `${options.connections} connections, open and silent, then an event each ${options.everySeconds} s on each for ${options.seconds} s; a newcomer connects for each GET /health.`,
    tables: [
      {
        columns: [
          "phase",
          "open",
          "fds",
          "resident MiB",
          "event p50 ms",
          "p99 ms",
          "newcomer p50 ms",
          "p99 ms",
          "max ms",
        ],
        rows: phases.map(({ name, open, fds, residentMib, events, newcomer }): Cell[] => [
          ...[name, open, fds, residentMib],
          ...(events === null ? ["", ""] : [events.p50Ms, events.p99Ms]),
          ...[newcomer.p50Ms, newcomer.p99Ms, newcomer.maxMs],
        ]),
      },
    ],
    figures: [
      { name: "memory of a connection", value: ((most - before) * 1_024) / options.connections, unit: "KiB" },
      { name: "resident after, of before", value: (phases.at(-1)?.residentMib ?? 0) / before, unit: "ratio" },
    ],
    problems: [
      ...(crowd.broken === 0 ? [] : [`${crowd.broken} connections broke`]),
      ...refused.map(([status, count]) => `${count} answers of ${status}`),
    ],
    data: { phases, crowd },
  };
}
