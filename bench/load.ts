// Drives wrk, one thread, and reads what it measured. wrk is the load generator because it takes 4-5 us a request
// of the machine it shares with the server; one written in TypeScript takes more than the bare server itself.

import path from "node:path";

export type Load = {
  readonly clients: number;
  readonly requestsPerSecond: number;
  readonly p50Ms: number;
  readonly p95Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  /** Answers other than 2xx and 3xx, and broken or timed-out connections. Never counted as requests. */
  readonly errors: number;
};

type Result = {
  requests: number;
  duration_us: number;
  status_errors: number;
  socket_errors: number;
  p50_us: number;
  p95_us: number;
  p99_us: number;
  max_us: number;
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
  url: string,
  { clients, seconds, keysFile, perSecond = 0 }: LoadOptions,
): Promise<Load> {
  const seed = crypto.randomUUID().slice(0, 8);
  const script = path.join(import.meta.dir, "ingest.lua");
  const args = ["-t1", `-c${clients}`, `-d${seconds}s`, "--timeout", "10s", "-s", script, url, "--"];
  const own = ["/api/events", seed, keysFile ?? "", String(perSecond)];
  const child = Bun.spawn(["wrk", ...args, ...own], {
    stdout: "pipe",
    stderr: "inherit",
  });
  const line = /RESULT (.*)/.exec(await new Response(child.stdout).text())?.[1];
  if (!line) throw new Error("wrk printed no result");
  const result = JSON.parse(line) as Result;
  const answered = result.requests - result.status_errors;
  return {
    clients,
    requestsPerSecond: answered / (result.duration_us / 1e6),
    p50Ms: result.p50_us / 1000,
    p95Ms: result.p95_us / 1000,
    p99Ms: result.p99_us / 1000,
    maxMs: result.max_us / 1000,
    errors: result.status_errors + result.socket_errors,
  };
}

/** The middle value; of an even number, the lower of the two. */
export function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor((values.length - 1) / 2)] ?? Number.NaN;
}
