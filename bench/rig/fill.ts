// Fills a database by the store's own engine, as fast as it goes: the same rows and index runs that ingest, delivery and
// sealing would have left, without HTTP and without an fsync for each group. Run as a script by filled.ts.

import { writeFileSync } from "node:fs";
import path from "node:path";
import { newApiKey } from "../../src/base/api_key.ts";
import { IdSource } from "../../src/base/id.ts";
import { hashSecret } from "../../src/http/key_hash.ts";
import { type Engine, openEngine } from "../../src/store/sqlite/engine.ts";
import { type IngestOp, isFailure, type Op, type SettleOp } from "../../src/store/sqlite/op.ts";
import type { Endpoint, Organization } from "../../src/store/store.ts";
import { scopes } from "../../src/wire/tiers.ts";
import { PAYLOAD } from "./requests.ts";

export type FillOptions = {
  readonly events: number;
  /** The newest of the events have a dedup id, accepted within the last 10 minutes; the others are older, without one. */
  readonly liveDedupIds: number;
  readonly organizations: number;
};

/** What is left beside the database, in filled.json. `ids`: of a thousand of its events, those of an organization with its key. */
export type Filled = {
  readonly keys: readonly string[];
  readonly ids: readonly { readonly key: string; readonly id: string }[];
  readonly filledAtMs: number;
};

/** One organization with its webhook. */
type Sender = { readonly org: number; readonly endpoint: number; readonly key: string };

const GROUP_EVENTS = 1_000;
/** Three indexes want to be sealed each 2 000 events, and the WAL to be copied. */
const PAUSES_PER_GROUP = 3;
const LIVE_MS = 10 * 60 * 1_000;
const OLD_MS = 48 * 60 * 60 * 1_000;
const SAMPLES = 1_000;
const URL = "http://127.0.0.1:9/";
const SIGNING_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const LIMIT_PER_MINUTE = 10_000_000;

async function fill(dir: string, options: FillOptions): Promise<void> {
  const engine = opened(path.join(dir, "triggers.db"));
  const senders: Sender[] = [];
  for (let n = 0; n < options.organizations; n++) senders.push(await addOrganization(engine, n));
  const ids = fillEvents(engine, senders, options);
  engine.close();
  const filled: Filled = { keys: senders.map((one) => one.key), ids, filledAtMs: Date.now() };
  writeFileSync(path.join(dir, "filled.json"), JSON.stringify(filled));
}

function opened(file: string): Engine {
  const opened = openEngine(file, { durability: "normal", encryptionKeys: [] });
  if (opened.kind === "refused") throw new Error(opened.detail);
  return opened.engine;
}

async function addOrganization(engine: Engine, n: number): Promise<Sender> {
  const { apiKey, keyId, secret } = newApiKey("live");
  const key = { keyId, secretHash: await hashSecret(secret), name: null, scopes, expiresAtMs: null };
  const { org } = one<Organization>(engine, {
    ...{ op: "createOrganization", id: Bun.randomUUIDv7(), name: `Organization ${n}` },
    ...{ tier: "enterprise", key },
  });
  one(engine, { op: "updateOrganization", org, rateLimitPerMinute: LIMIT_PER_MINUTE });
  const { endpoint } = one<{ endpoint: Endpoint }>(engine, {
    ...{ op: "putDefaultEndpoint", org, id: Bun.randomUUIDv7(), url: URL, signingSecret: SIGNING_SECRET },
  });
  return { org, endpoint: endpoint.endpoint, key: apiKey };
}

function fillEvents(engine: Engine, senders: readonly Sender[], { events, liveDedupIds }: FillOptions) {
  const ids = new IdSource(-1);
  const nowMs = Date.now();
  const payload = JSON.stringify(PAYLOAD);
  const samples: Filled["ids"][number][] = [];
  const sampleEach = Math.max(1, Math.floor(events / SAMPLES));
  const oldEvents = events - liveDedupIds;
  /** Rising: first the old ones over a day, then the live ones. */
  const acceptedMs = (n: number) =>
    n < oldEvents
      ? nowMs - OLD_MS + (n / oldEvents) * (OLD_MS / 2 - LIVE_MS)
      : nowMs - LIVE_MS + ((n - oldEvents) / liveDedupIds) * LIVE_MS;
  for (let from = 0; from < events; from += GROUP_EVENTS) {
    const ops: Op[] = [];
    for (let n = from; n < Math.min(events, from + GROUP_EVENTS); n++) {
      const sender = senders[n % senders.length];
      if (!sender) throw new Error("no organizations");
      const { seq, id } = ids.next(Math.floor(acceptedMs(n)));
      // Spread over the alphabet, as ids in the wild are.
      const dedupId = n < oldEvents ? null : `${Bun.hash.xxHash32(id).toString(16)}-${n}`;
      const { org } = sender;
      ops.push({ op: "ingest", seq, id, org, type: "order.created", dedupId, payload, appearAtMs: null });
      if (n % sampleEach === 0) samples.push({ key: sender.key, id });
    }
    commit(engine, [...ops, ...settled(ops as IngestOp[], senders, nowMs)]);
    process.stdout.write(`${from + ops.length}\n`);
  }
  return samples;
}

/** Of ten events eight are delivered, one is a dead letter, and one still waits. */
function settled(ops: readonly IngestOp[], senders: readonly Sender[], clockMs: number): SettleOp[] {
  const endpointOf = new Map(senders.map((one) => [one.org, one.endpoint]));
  return ops.flatMap((op, n): SettleOp[] => {
    // By tens of organizations in turn, so that each organization has some of each.
    const nth = Math.floor(n / senders.length) % 10;
    if (nth === 9) return [];
    const delivered = nth < 8;
    return [
      {
        ...{ op: "settle", event: op.seq, endpoint: endpointOf.get(op.org) ?? 0, round: 0 },
        outcome: delivered ? "delivered" : "dead_letter",
        ...{ startedAtMs: clockMs, durationMs: 12, responseStatus: delivered ? 200 : 500 },
        error: delivered ? null : "http_status: The endpoint answered 500.",
        ...{ responseExcerpt: null, dueAtMs: null, health: null, hopeless: false, clockMs },
      },
    ];
  });
}

function one<T>(engine: Engine, op: Op): T {
  return commit(engine, [op])[0] as T;
}

function commit(engine: Engine, ops: readonly Op[]): readonly unknown[] {
  const { results } = engine.commitGroup(ops);
  for (const result of results) if (isFailure(result)) throw new Error(result.reason);
  for (let pause = 0; pause < PAUSES_PER_GROUP; pause++) engine.maintain();
  return results;
}

if (import.meta.main) {
  const [, , dir = "", options = "{}"] = process.argv;
  await fill(dir, JSON.parse(options) as FillOptions);
}
