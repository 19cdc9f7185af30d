// What do the steps of one request cost, each alone? Of the source itself, in this process: the binary does not show them
// one by one.

import { newApiKey } from "../src/base/api_key.ts";
import type { Channel } from "../src/base/thread.ts";
import { createAuthenticator } from "../src/http/auth.ts";
import { parseEvent } from "../src/http/event_input.ts";
import { HashGate, hashSecret } from "../src/http/key_hash.ts";
import { Limiter } from "../src/http/limit.ts";
import { LogCopier } from "../src/store/sqlite/log_copier.ts";
import { decodeOps, type Op } from "../src/store/sqlite/op.ts";
import { Writer } from "../src/store/sqlite/writer.ts";
import { scopes } from "../src/wire/tiers.ts";
import type { Benchmark, Figure, Findings } from "./rig/benchmark.ts";
import { median } from "./rig/numbers.ts";
import { progress } from "./rig/progress.ts";
import { PAYLOAD } from "./rig/requests.ts";

const usual = { rounds: 15, roundMs: 200, payloadKb: [1, 10, 100] };
type MicroOptions = Readonly<typeof usual>;
const brief: MicroOptions = { rounds: 2, roundMs: 20, payloadKb: [1, 100] };

export const micro: Benchmark<MicroOptions> = {
  name: "micro",
  question: "How many microseconds do authentication, the limiter, validation and the queue take?",
  usual,
  brief,
  measure,
};

/** Does the step so many times. */
type Step = (times: number) => unknown;

async function measure(options: MicroOptions): Promise<Findings> {
  const steps: Record<string, Step> = {
    "authentication, cached": await authentication(),
    "rate limit": limiter(),
    ...Object.fromEntries(options.payloadKb.map((kb) => [`validation, ${kb} KB`, validation(kb)])),
    "queue: push, and its answer": queue(),
  };
  const rows: { readonly name: string; readonly us: number; readonly least: number }[] = [];
  for (const [name, step] of Object.entries(steps)) {
    progress(name);
    const each = await timesUs(step, options);
    rows.push({ name, us: median(each), least: Math.min(...each) });
  }
  return {
    method: `From source, one thread; ${options.rounds} rounds of about ${options.roundMs} ms, their median and the least.`,
    tables: [
      { columns: ["step", "us", "least us"], rows: rows.map(({ name, us, least }) => [name, us, least]) },
    ],
    figures: rows.map(({ name, us }) => figureOf(name, us)),
    problems: rows.filter(({ us }) => !(us > 0)).map(({ name }) => `${name}: took no time`),
    data: rows,
  };
}

/** The marks, in microseconds. */
const MARKS: Readonly<Record<string, number>> = {
  "authentication, cached": 2,
  "rate limit": 1,
  "validation, 1 KB": 10,
  "validation, 10 KB": 50,
  "validation, 100 KB": 300,
  "queue: push, and its answer": 2,
};

function figureOf(name: string, us: number): Figure {
  const atMost = MARKS[name];
  return { name, value: us, unit: "us", ...(atMost !== undefined && { atMost }) };
}

/** Microseconds a step, by round. How often it fits into a round is found out first, which warms it up as well. */
async function timesUs(step: Step, { rounds, roundMs }: MicroOptions): Promise<number[]> {
  let times = 16;
  while ((await tookMs(step, times)) < roundMs / 4) times *= 2;
  const each: number[] = [];
  for (let round = 0; round < rounds; round++)
    each.push(((await tookMs(step, times * 4)) * 1_000) / times / 4);
  return each;
}

async function tookMs(step: Step, times: number): Promise<number> {
  const startMs = performance.now();
  await step(times);
  return performance.now() - startMs;
}

async function authentication(): Promise<Step> {
  const { apiKey, keyId, secret } = newApiKey("live");
  const secretHash = await hashSecret(secret);
  const organization = {
    ...{ org: 1, id: Bun.randomUUIDv7(), name: "Acme", tier: "enterprise" as const },
    ...{ rateLimitPerMinute: 1, disabled: false, createdAtMs: 0, updatedAtMs: 0 },
  };
  const key = { keyId, org: 1, name: null, scopes, createdAtMs: 0, expiresAtMs: null, lastUsedAtMs: null };
  const record = { ...key, secretHash, organization };
  const reads = { keyRecord: () => record };
  const authenticator = createAuthenticator({ reads, gate: new HashGate() });
  const headers = new Headers({ "x-api-key": apiKey });
  const nowMs = Date.now();
  const known = await authenticator.authenticate(headers, () => "127.0.0.1", nowMs);
  if (known.kind !== "principal") throw new Error(`the key is not taken: ${known.kind}`);
  return (times) => {
    // Looked at, or the compiler might leave it out.
    for (let n = 0; n < times; n++)
      if (authenticator.authenticate(headers, () => "127.0.0.1", nowMs) instanceof Promise) throw uncached();
  };
}

function uncached(): Error {
  return new Error("the key is not in the cache");
}

/** Of 50 organizations in turn, each at some thousand events a minute. */
function limiter(): Step {
  const limits = new Limiter<number>();
  let n = 0;
  return (times) => {
    for (let i = 0; i < times; i++) {
      n++;
      // The time of the load itself, 20 000 a second: real time would be read here, and is not what is measured.
      limits.take(n % 50, 10_000_000, 1, n / 20);
    }
  };
}

/** From bytes to an event: UTF-8, JSON, schema, and the payload cut out of the text. */
function validation(kb: number): Step {
  const payload = { ...PAYLOAD, items: [] as object[] };
  for (let sku = 0; JSON.stringify(payload).length < kb * 1_000; sku++)
    payload.items.push({ sku: `sku-${sku}`, quantity: sku, price: "12.90", note: '\u00e4 "quoted" note' });
  const text = JSON.stringify({ type: "order.created", dedup_id: crypto.randomUUID(), payload });
  const bytes = new TextEncoder().encode(text);
  const headers = new Headers({ "content-type": "application/json" });
  return (times) => {
    for (let n = 0; n < times; n++) parseEvent(bytes, headers, 0);
  };
}

/** Groups of 64 pushed, sent as strings, and answered: without the other thread, which takes the string and commits. */
function queue(): Step {
  const channel: Channel = {
    onmessage: null,
    postMessage(text) {
      const replies = [decodeOps(String(text)).map(() => 0)];
      const data = JSON.stringify({ replies, commitMs: 0, readable: [] });
      queueMicrotask(() => (channel.onmessage as (event: { data: string }) => void)({ data }));
    },
  };
  const noThread = () => {
    throw new Error("the log is not that long");
  };
  const writer = new Writer(channel, 10_000, new LogCopier("", noThread));
  const payload = JSON.stringify(PAYLOAD);
  const id = Bun.randomUUIDv7();
  const op: Op = {
    ...{ op: "ingest", seq: 1, id, org: 1, type: "order.created", dedupId: crypto.randomUUID(), payload },
    appearAtMs: null,
  };
  return async (times) => {
    for (let n = 0; n < times; n += 64) await Promise.all(Array.from({ length: 64 }, () => writer.write(op)));
  };
}
