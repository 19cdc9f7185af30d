// How many bytes go to the write-ahead log for an event? A count, which no other load on the machine moves. It is the one
// question that is asked of the store itself, because only there it is known what one commit is.

import { Database } from "bun:sqlite";
import { rmSync } from "node:fs";
import path from "node:path";
import { IdSource } from "../src/base/id.ts";
import { type Engine, openEngine } from "../src/store/sqlite/engine.ts";
import { isFailure, type Op } from "../src/store/sqlite/op.ts";
import type { Endpoint, Organization } from "../src/store/store.ts";
import { scopes } from "../src/wire/tiers.ts";
import type { Benchmark, Findings } from "./rig/benchmark.ts";
import { newDataDir } from "./rig/target.ts";

const usual = { events: 200_000, organizations: 50, commitEvents: 40, eventBytes: 200 };
export type WalOptions = Readonly<typeof usual>;
const brief: WalOptions = { events: 8_000, organizations: 50, commitEvents: 40, eventBytes: 200 };

export const wal: Benchmark<WalOptions> = {
  name: "wal",
  question: "How many bytes go to the write-ahead log for an event, accepted and delivered?",
  usual,
  brief,
  measure,
};

/** Bytes an event. `sealing`: the runs of the deferred indexes, written between commits, that belong to it. */
export type WalBytes = {
  readonly accepted: number;
  readonly sealing: number;
  readonly settled: number;
};

async function measure(options: WalOptions): Promise<Findings> {
  const [accepted, delivered] = [walBytes(options, false), walBytes(options, true)];
  const { events, organizations, commitEvents, eventBytes } = options;
  const total = (bytes: WalBytes) => bytes.accepted + bytes.sealing + bytes.settled;
  return {
    method: `${events} events of ${eventBytes} bytes with a dedup id and one delivery, ${organizations} organizations in turn, ${commitEvents} a commit; delivered: each commit's results are recorded in one commit after the next one.`,
    tables: [
      {
        columns: ["until it is", "commits of events", "sealing", "commits of results", "bytes an event"],
        rows: [
          ["accepted", accepted.accepted, accepted.sealing, accepted.settled, total(accepted)],
          ["delivered", delivered.accepted, delivered.sealing, delivered.settled, total(delivered)],
        ],
      },
    ],
    figures: [
      { name: "WAL bytes an accepted event", value: total(accepted), unit: "bytes", atMost: 1_200 },
      {
        name: "WAL bytes an event until delivered",
        ...{ value: total(delivered), unit: "bytes", atMost: 3_000 },
      },
    ],
    problems: [],
    data: { accepted, delivered },
  };
}

/** Writes so many events through the store's engine, as its thread does, and counts what each transaction wrote. */
export function walBytes(options: WalOptions, delivers: boolean): WalBytes {
  const dir = newDataDir();
  const file = path.join(dir, "triggers.db");
  const opened = openEngine(file, { durability: "normal", encryptionKeys: [] });
  if (opened.kind === "refused") throw new Error(opened.detail);
  const { engine } = opened;
  const meter = new WalMeter(file);
  try {
    return written(engine, meter, options, delivers);
  } finally {
    meter.close();
    engine.close();
    rmSync(dir, { recursive: true, force: true });
  }
}

type Sender = { readonly org: number; readonly endpoint: number };

function written(engine: Engine, meter: WalMeter, options: WalOptions, delivers: boolean): WalBytes {
  const { events, organizations, commitEvents } = options;
  const senders = Array.from({ length: organizations }, (_, n) => addSender(engine, n));
  const ids = new IdSource(-1);
  const bytes = { accepted: 0, sealing: 0, settled: 0 };
  const commit = (ops: readonly Op[], of: "accepted" | "settled") => {
    apply(engine, ops);
    bytes[of] += meter.take();
    engine.maintain();
    bytes.sealing += meter.take();
  };
  meter.take();
  let inFlight: Op[] = [];
  for (let from = 0; from < events; from += commitEvents) {
    const group = eventsOf(ids, senders, from, options);
    commit(group.ingests, "accepted");
    if (inFlight.length > 0) commit(inFlight, "settled");
    inFlight = delivers ? group.settles : [];
  }
  if (inFlight.length > 0) commit(inFlight, "settled");
  return {
    accepted: bytes.accepted / events,
    sealing: bytes.sealing / events,
    settled: bytes.settled / events,
  };
}

function eventsOf(ids: IdSource, senders: readonly Sender[], from: number, options: WalOptions) {
  const payload = JSON.stringify("x".repeat(options.eventBytes - 2));
  const nowMs = Date.now();
  const ingests: Op[] = [];
  const settles: Op[] = [];
  for (let n = from; n < Math.min(options.events, from + options.commitEvents); n++) {
    const { org, endpoint } = senders[n % senders.length] ?? { org: 0, endpoint: 0 };
    const { seq, id } = ids.next(nowMs);
    // Spread over the alphabet and 30 characters long, as ids in the wild are.
    const dedupId = `${Bun.hash.xxHash32(id).toString(16).padStart(8, "0")}-${String(n).padStart(21, "0")}`;
    ingests.push({ op: "ingest", seq, id, org, type: "order.created", dedupId, payload, appearAtMs: null });
    settles.push({
      ...{
        op: "settle",
        round: 0,
        event: seq,
        endpoint,
        outcome: "delivered",
        startedAtMs: nowMs,
        durationMs: 3,
      },
      ...{ responseStatus: 200, error: null, responseExcerpt: null, dueAtMs: null, health: null },
      ...{ hopeless: false, clockMs: nowMs },
    });
  }
  return { ingests, settles };
}

function addSender(engine: Engine, n: number): Sender {
  const key = { keyId: `key${n}`, secretHash: "none", name: null, scopes, expiresAtMs: null };
  const [organization] = apply(engine, [
    {
      op: "createOrganization",
      id: Bun.randomUUIDv7(),
      name: `Organization ${n}`,
      tier: "enterprise",
      key,
    },
  ]);
  const { org } = organization as Organization;
  const url = "https://receiver.example/";
  const signingSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
  const [put] = apply(engine, [
    { op: "putDefaultEndpoint", org, id: Bun.randomUUIDv7(), url, signingSecret },
  ]);
  return { org, endpoint: (put as { endpoint: Endpoint }).endpoint.endpoint };
}

function apply(engine: Engine, ops: readonly Op[]): readonly unknown[] {
  const { results } = engine.commitGroup(ops);
  for (const result of results) if (isFailure(result)) throw new Error(result.reason);
  return results;
}

const FRAME_HEADER_BYTES = 24;
type Frames = { busy: number; log: number; checkpointed: number };

/**
 * The bytes of each transaction, by the number of frames in the log before and after. The file's size tells nothing: after
 * a checkpoint it is written again from its start.
 */
class WalMeter {
  readonly #db: Database;
  readonly #frames;
  readonly #frameBytes: number;
  #last = 0;

  constructor(file: string) {
    this.#db = new Database(file, { readwrite: true });
    this.#db.run("PRAGMA wal_autocheckpoint = 0");
    this.#frames = this.#db.prepare<Frames, []>("PRAGMA wal_checkpoint(NOOP)");
    const page = this.#db.query<{ page_size: number }, []>("PRAGMA page_size").get()?.page_size ?? 0;
    this.#frameBytes = page + FRAME_HEADER_BYTES;
  }

  /** What was written since the last call, by one transaction at the most. */
  take(): number {
    const log = this.#frames.get()?.log ?? 0;
    const frames = log < this.#last ? log : log - this.#last;
    this.#last = log;
    return frames * this.#frameBytes;
  }

  close(): void {
    this.#frames.finalize();
    this.#db.close();
  }
}
