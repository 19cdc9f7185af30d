// Drives wrk, one thread, and reads what it measured. wrk is the load generator because it takes 4-5 us a request
// of the machine it shares with the server; one written in TypeScript takes more than the bare server itself.

import path from "node:path";
import { whenStopped } from "./interrupted.ts";
import { Latencies, median, medianSpread, type Spread } from "./numbers.ts";

export type Load = {
  readonly clients: number;
  /** Answered with 2xx or 3xx. */
  readonly requests: number;
  readonly requestsPerSecond: number;
  /** Answers other than 2xx and 3xx, and broken or timed-out connections. Never counted as requests. */
  readonly errors: number;
  readonly latencies: Latencies;
};

type Result = {
  requests: number;
  duration_us: number;
  status_errors: number;
  socket_errors: number;
  max_us: number;
  /** The latencies at rising percentiles: percent, microseconds. */
  percentiles: [number, number][];
};

/** Throws with how to get wrk when it is not there. */
export function requireWrk(): void {
  if (!Bun.which("wrk")) throw new Error("this benchmark needs wrk (Debian: apt-get install wrk)");
}

export type LoadOptions = {
  readonly clients: number;
  readonly seconds: number;
  /** API keys, one a line. */
  readonly keysFile?: string;
  /** A steady rate; without it, as fast as the answers come. */
  readonly perSecond?: number;
};

/** Posts events for so many seconds over so many connections. */
export async function load(
  { url, keysFile }: { readonly url: string; readonly keysFile?: string },
  { clients, seconds, perSecond = 0 }: LoadOptions,
): Promise<Load> {
  requireWrk();
  const seed = crypto.randomUUID().slice(0, 8);
  const script = path.join(import.meta.dir, "ingest.lua");
  const args = ["-t1", `-c${clients}`, `-d${seconds}s`, "--timeout", "10s", "-s", script, url, "--"];
  const own = ["/api/events", seed, keysFile ?? "", String(perSecond)];
  const child = Bun.spawn(["wrk", ...args, ...own], { stdout: "pipe", stderr: "inherit" });
  const release = whenStopped(() => child.kill("SIGKILL"));
  const line = /RESULT (.*)/.exec(await new Response(child.stdout).text())?.[1];
  release();
  if (!line) throw new Error("wrk printed no result");
  const result = JSON.parse(line) as Result;
  const requests = result.requests - result.status_errors;
  return {
    clients,
    requests,
    requestsPerSecond: requests / (result.duration_us / 1e6),
    errors: result.status_errors + result.socket_errors,
    latencies: latenciesOf(result),
  };
}

/** Loads each until the JIT has seen everything and each key's hash is cached. */
export async function warmUp(
  targets: readonly { readonly url: string; readonly keysFile?: string }[],
  seconds: number,
): Promise<void> {
  for (const target of targets) await load(target, { clients: 64, seconds });
}

/** Between two percentiles lies their share of the requests, at the upper one's latency. */
function latenciesOf({ percentiles, requests, max_us }: Result): Latencies {
  let below = 0;
  const steps = percentiles.map(([percent, us]) => {
    const upTo = Math.round((requests * percent) / 100);
    const count = upTo - below;
    below = upTo;
    return [us, count] as const;
  });
  steps.push([max_us, requests - below]);
  return Latencies.fromSteps(
    steps.filter(([, count]) => count > 0),
    max_us / 1_000,
  );
}

/** Rounds of the same load as one: each figure's own median; errors are summed, never hidden. */
export type Rounds = {
  readonly clients: number;
  readonly requestsPerSecond: number;
  readonly errors: number;
  readonly spread: Spread;
};

export function ofRounds(loads: readonly Load[]): Rounds {
  return {
    clients: loads[0]?.clients ?? 0,
    requestsPerSecond: median(loads.map((one) => one.requestsPerSecond)),
    errors: loads.reduce((sum, one) => sum + one.errors, 0),
    spread: medianSpread(loads.map((one) => one.latencies.spread())),
  };
}

/** The columns that go with `loadCells`. */
export const LOAD_COLUMNS = ["requests/s", "p50 ms", "p95 ms", "p99 ms", "max ms", "errors"] as const;

export function loadCells({ requestsPerSecond, spread, errors }: Omit<Rounds, "clients">): number[] {
  const { p50Ms, p95Ms, p99Ms, maxMs } = spread;
  return [Math.round(requestsPerSecond), p50Ms, p95Ms, p99Ms, maxMs, errors];
}
