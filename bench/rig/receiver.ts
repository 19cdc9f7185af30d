// Webhook receivers in a process of their own, each on a port of its own as endpoints on the internet are hosts of
// their own. They note when the first attempt of each event came in. Run as a script by startReceivers.

import { dlopen, ptr } from "bun:ffi";
import { startProcess } from "../../scripts/listening.ts";
import { whenStopped } from "./interrupted.ts";

/** Takes it at once; answers 500 at once; takes it after a second; reads it and never answers. */
export type Manner = "healthy" | "failing" | "slow" | "hanging";

/** The first attempt of an event at the receiver of this index, by `machineMs`. */
export type Arrival = readonly [receiver: number, eventId: string, atMs: number];

export type Receivers = {
  readonly pid: number;
  /** In the order of the manners. */
  readonly urls: readonly string[];
  /** How many first attempts came in since the last `take`. */
  count(): Promise<number>;
  /** Those first attempts; they are forgotten here. */
  take(): Promise<readonly Arrival[]>;
  stop(): Promise<void>;
};

const SLOW_MS = 1_000;

/** One process with a receiver for each manner. */
export async function startReceivers(manners: readonly Manner[]): Promise<Receivers> {
  const { url, child } = await startProcess([process.execPath, import.meta.path, manners.join(",")], {
    cwd: import.meta.dir,
    env: {},
  });
  const release = whenStopped(() => child.kill("SIGKILL"));
  const ask = async (what: string) => (await fetch(url + what)).json();
  return {
    pid: child.pid,
    urls: (await ask("urls")) as string[],
    count: async () => (await ask("count")) as number,
    take: async () => (await ask("take")) as Arrival[],
    stop: async () => {
      child.kill();
      await child.exited;
      release();
    },
  };
}

/**
 * Milliseconds since 1970 with their fraction: the machine's own clock (CLOCK_REALTIME), which the server reads
 * `created_at` from. It is the same in all processes, so times of two of them can be subtracted; `performance.now()`
 * begins with each process, and `Date.now()` has whole milliseconds.
 */
export const machineMs: () => number = machineClock();

function machineClock(): () => number {
  const CLOCK_REALTIME = 0;
  const libc = dlopen("libc.so.6", { clock_gettime: { args: ["i32", "ptr"], returns: "i32" } });
  const moment = new BigInt64Array(2);
  const at = ptr(moment);
  return () => {
    libc.symbols.clock_gettime(CLOCK_REALTIME, at);
    const [seconds = 0n, nanoseconds = 0n] = moment;
    return Number(seconds) * 1_000 + Number(nanoseconds) / 1e6;
  };
}

function serve(manners: readonly Manner[]): void {
  let arrivals: Arrival[] = [];
  const urls = manners.map((manner, receiver) => {
    const fetch = (request: Request) => {
      const atMs = machineMs();
      if (request.headers.get("x-attempt") === "1")
        arrivals.push([receiver, request.headers.get("webhook-id") ?? "", atMs]);
      return answer(manner);
    };
    return listen(fetch).url.href;
  });
  const taken = () => {
    const before = arrivals;
    arrivals = [];
    return before;
  };
  const control = listen((request) => {
    const what = new URL(request.url).pathname.slice(1);
    if (what === "urls") return Response.json(urls);
    return Response.json(what === "take" ? taken() : arrivals.length);
  });
  console.log(JSON.stringify({ url: control.url.href })); // as scripts/listening.ts waits for
}

function listen(fetch: (request: Request) => Response | Promise<Response>) {
  // No idle timeout: Bun would close a connection after 10 s, and so answer for the one that hangs.
  return Bun.serve({ port: 0, hostname: "127.0.0.1", reusePort: false, idleTimeout: 0, fetch });
}

function answer(manner: Manner): Response | Promise<Response> {
  if (manner === "healthy") return new Response("ok");
  if (manner === "failing") return new Response("no", { status: 500 });
  if (manner === "slow") return Bun.sleep(SLOW_MS).then(() => new Response("ok"));
  return new Promise(() => {});
}

if (import.meta.main) {
  const manners = process.argv[2] ?? "";
  serve(manners === "" ? [] : (manners.split(",") as Manner[]));
}
