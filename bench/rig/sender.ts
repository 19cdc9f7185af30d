// A load generator in a process of its own, for what wrk cannot: steady rates whose waiting counts, several kinds of
// load beside each other, and answers that are to be refusals. Costs more than wrk: not for the greatest throughput.

import { AnswerReader } from "./answer_reader.ts";
import { whenStopped } from "./interrupted.ts";
import { Latencies } from "./numbers.ts";

export type Sending = {
  readonly url: string;
  readonly connections: number;
  readonly seconds: number;
  /** A steady rate; without it each connection sends on as soon as it has its answer. */
  readonly perSecond?: number;
  /** With a rate: what finds no free connection is not sent at all, as by clients that give up. */
  readonly givesUp?: boolean;
  /** Whole requests as text (requests.ts), sent in turn. `UNIQUE` in one is another text each time. */
  readonly requests: readonly string[];
  /** The statuses that are to come. */
  readonly successes: readonly number[];
};

export type Sent = {
  /** Answered with a status of `successes`. */
  readonly requests: number;
  readonly requestsPerSecond: number;
  /** Other statuses, broken connections, answers that never came. Never counted as requests. */
  readonly errors: number;
  readonly statuses: Readonly<Record<string, number>>;
  /** With `givesUp`: those that were to be sent, and were not. */
  readonly givenUp: number;
  /** Of bodies. */
  readonly bytes: number;
  /**
   * Of the successes. From sending; at a steady rate, when all connections were busy, from when it was to be sent: a
   * server that stands still is not asked less, and what had to wait for it counts.
   */
  readonly latencies: Latencies;
  /** The longest time in which no success came. */
  readonly pauseMs: number;
};

type Result = Omit<Sent, "latencies"> & { readonly steps: [number, number][]; readonly maxMs: number };

/** Stands for 24 characters that no other request has. */
export const UNIQUE = "{unique-of-each-request}";

/** Sends from a new process, and resolves when the time is up and what was sent is answered. */
export async function send(sending: Sending): Promise<Sent> {
  const child = Bun.spawn([process.execPath, import.meta.path], {
    stdin: new Blob([JSON.stringify(sending)]),
    stdout: "pipe",
    stderr: "inherit",
  });
  const release = whenStopped(() => child.kill("SIGKILL"));
  const text = await new Response(child.stdout).text();
  release();
  if (text === "") throw new Error("the load generator ended without a result");
  const { steps, maxMs, ...rest } = JSON.parse(text) as Result;
  return { ...rest, latencies: Latencies.fromSteps(steps, maxMs) };
}

/** What went wrong, with the statuses that came instead; nothing when nothing did. */
export function problemsOf(where: string, runs: readonly Sent[]): readonly string[] {
  const errors = runs.reduce((sum, one) => sum + one.errors, 0);
  const silent = runs.some((one) => one.requests === 0);
  if (errors === 0 && !silent) return [];
  return [`${where}: ${errors} errors; answered: ${statusesText(runs) || "none"}`];
}

/** How often each status was answered. */
export function statusesText(runs: readonly Sent[]): string {
  const counts: Record<string, number> = {};
  for (const { statuses } of runs)
    for (const [status, count] of Object.entries(statuses)) counts[status] = (counts[status] ?? 0) + count;
  return Object.entries(counts)
    .map(([status, count]) => `${status}: ${count}`)
    .join(", ");
}

/** Answers that are not there by then never come. */
const GRACE_MS = 15_000;

type Client = {
  socket: Bun.Socket | null;
  reader: AnswerReader;
  sinceMs: number;
  busy: boolean;
  /** What the socket did not take yet. */
  rest: Buffer | null;
};

class Sender {
  readonly #sending: Sending;
  readonly #seed = crypto.randomUUID().replaceAll("-", "").slice(0, 12);
  readonly #idle: Client[] = [];
  /** When they were to be sent: no connection was free. */
  readonly #late: number[] = [];
  readonly #statuses: Record<string, number> = {};
  readonly #latencies = new Latencies();
  #lastMs = 0;
  #pauseMs = 0;
  #startMs = 0;
  #endMs = 0;
  /** Those whose time has come, and those of them that are on the wire. */
  #issued = 0;
  #written = 0;
  #busy = 0;
  #requests = 0;
  #errors = 0;
  #givenUp = 0;
  #bytes = 0;
  #maxMs = 0;

  constructor(sending: Sending) {
    this.#sending = sending;
  }

  async run(): Promise<Result> {
    const { connections, seconds, perSecond } = this.#sending;
    const clients = await Promise.all(Array.from({ length: connections }, () => this.#connect()));
    this.#startMs = performance.now();
    this.#lastMs = this.#startMs;
    this.#endMs = this.#startMs + seconds * 1_000;
    this.#idle.push(...clients);
    if (perSecond === undefined)
      for (const client of this.#idle.splice(0)) this.#issue(client, this.#startMs);
    else await this.#pace(perSecond, perSecond * seconds);
    const lastMs = this.#endMs + GRACE_MS;
    while ((this.#busy > 0 || this.#late.length > 0) && performance.now() < lastMs) await Bun.sleep(5);
    this.#errors += this.#busy + this.#late.length;
    this.#notePause(Math.min(performance.now(), this.#endMs));
    return this.#result();
  }

  /** Each request has its own moment; a late one does not move those after it. */
  async #pace(perSecond: number, total: number): Promise<void> {
    while (this.#issued < total) {
      const nowMs = performance.now();
      while (this.#issued < total) {
        const dueMs = this.#startMs + (this.#issued * 1_000) / perSecond;
        if (dueMs > nowMs) break;
        const client = this.#idle.pop();
        if (client) this.#issue(client, nowMs);
        else {
          if (this.#sending.givesUp === true) this.#givenUp++;
          else this.#late.push(dueMs);
          this.#issued++;
        }
      }
      // Not longer than a millisecond is late: a timer's own unit.
      await Bun.sleep(1);
    }
  }

  #issue(client: Client, sinceMs: number): void {
    this.#issued++;
    this.#write(client, sinceMs);
  }

  #write(client: Client, sinceMs: number): void {
    const { requests } = this.#sending;
    const text = requests[this.#written % requests.length] ?? "";
    const unique = this.#seed + String(this.#written++).padStart(12, "0");
    const bytes = Buffer.from(text.replaceAll(UNIQUE, unique));
    client.busy = true;
    client.sinceMs = sinceMs;
    this.#busy++;
    const written = client.socket?.write(bytes) ?? 0;
    client.rest = written < bytes.length ? bytes.subarray(Math.max(0, written)) : null;
  }

  #answered(client: Client, status: number, bodyBytes: number): void {
    const nowMs = performance.now();
    this.#busy--;
    client.busy = false;
    this.#statuses[status] = (this.#statuses[status] ?? 0) + 1;
    this.#bytes += bodyBytes;
    if (this.#sending.successes.includes(status)) this.#succeeded(nowMs, nowMs - client.sinceMs);
    else this.#errors++;
    this.#goOn(client, nowMs);
  }

  #succeeded(nowMs: number, ms: number): void {
    this.#requests++;
    this.#latencies.add(ms);
    this.#maxMs = Math.max(this.#maxMs, ms);
    this.#notePause(nowMs);
    this.#lastMs = nowMs;
  }

  #notePause(nowMs: number): void {
    this.#pauseMs = Math.max(this.#pauseMs, nowMs - this.#lastMs);
  }

  #goOn(client: Client, nowMs: number): void {
    const dueMs = this.#late.shift();
    if (dueMs !== undefined) this.#write(client, dueMs);
    else if (this.#sending.perSecond !== undefined) this.#idle.push(client);
    else if (nowMs < this.#endMs) this.#issue(client, nowMs);
  }

  async #connect(): Promise<Client> {
    const client: Client = {
      socket: null,
      reader: new AnswerReader((status, bytes) => this.#answered(client, status, bytes)),
      ...{ sinceMs: 0, busy: false, rest: null },
    };
    const { hostname, port } = new URL(this.#sending.url);
    client.socket = await Bun.connect({
      hostname,
      port: Number(port),
      socket: {
        data: (_, chunk) => client.reader.read(chunk),
        drain: (socket) => {
          if (client.rest === null) return;
          const written = socket.write(client.rest);
          client.rest = written < client.rest.length ? client.rest.subarray(written) : null;
        },
        close: () => void this.#broken(client),
        error: () => {},
      },
    });
    return client;
  }

  /** The server closed it: with a request in flight that is an error, and either way another takes its place. */
  async #broken(client: Client): Promise<void> {
    const at = this.#idle.indexOf(client);
    if (at >= 0) this.#idle.splice(at, 1);
    if (client.busy) {
      this.#busy--;
      this.#errors++;
    }
    if (performance.now() >= this.#endMs) return;
    try {
      this.#goOn(await this.#connect(), performance.now());
    } catch {
      this.#errors++;
    }
  }

  #result(): Result {
    const seconds = (this.#endMs - this.#startMs) / 1_000;
    return {
      requests: this.#requests,
      requestsPerSecond: this.#requests / seconds,
      errors: this.#errors,
      statuses: this.#statuses,
      givenUp: this.#givenUp,
      bytes: this.#bytes,
      pauseMs: this.#pauseMs,
      steps: this.#latencies.steps() as [number, number][],
      maxMs: this.#maxMs,
    };
  }
}

if (import.meta.main) {
  const result = await new Sender((await Bun.stdin.json()) as Sending).run();
  await Bun.write(Bun.stdout, JSON.stringify(result));
  process.exit(0); // the connections are open
}
