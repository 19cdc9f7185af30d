// An engine to write to, as tests of the store do: ops one by one, with every field that a test does not care about.

import { IdSource } from "../../src/base/id.ts";
import { indexNames } from "../../src/store/sqlite/context.ts";
import { type Committed, type Engine, openEngine } from "../../src/store/sqlite/engine.ts";
import { isFailure, type Op, type SettleOp } from "../../src/store/sqlite/op.ts";
import type { Endpoint, EndpointSettings } from "../../src/store/store.ts";

export type Open = { readonly engine: Engine; readonly ids: IdSource };

/** So that a few events fill slices of dedup ids, and several are written, read and thrown away. */
const SMALL = { blockRecords: 2, sliceBlocks: 2, partSlots: 3, sliceParts: 2, partsWritten: 1 };

/** Opens the file; `sealEvents` is how long a tail may grow. */
export function open(file: string, sealEvents: number, encryptionKeys: readonly string[] = []): Open {
  const opened = openEngine(file, {
    ...{ durability: "normal", encryptionKeys, sealEvents },
    dedup: { sizes: SMALL },
  });
  if (opened.kind !== "opened") throw new Error(opened.detail);
  return { engine: opened.engine, ids: new IdSource(opened.lastSeq) };
}

/** One op in a group of its own: its value, and what the delivery thread would hear. */
export function commit<T>(engine: Engine, op: Op): { value: T; notice: Committed["notice"] } {
  const { results, notice } = engine.commitGroup([op]);
  const [result] = results;
  if (isFailure(result)) throw new Error(result.reason);
  return { value: result as T, notice };
}

export function run<T>(engine: Engine, op: Op): T {
  return commit<T>(engine, op).value;
}

/** In each pause a piece of one index is sealed. */
const PAUSES = indexNames.length * 8;

export function sealAll(engine: Engine): void {
  for (let pause = 0; pause < PAUSES; pause++) engine.maintain();
}

let keys = 0;

export function createOrganization(engine: Engine, keyId = `key${keys++}`): number {
  const key = { keyId, secretHash: "x", name: null, scopes: [], expiresAtMs: null };
  const organization = { id: Bun.randomUUIDv7(), name: "Acme", tier: "free", key } as const;
  return run<{ org: number }>(engine, { op: "createOrganization", ...organization }).org;
}

export const SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

const SETTINGS: EndpointSettings = {
  url: "https://a.example/",
  description: null,
  eventTypes: ["*"],
  headers: {},
  maxInFlight: null,
  rateLimitPerSecond: null,
  ordered: false,
  timeoutMs: null,
};

export function createEndpoint(
  engine: Engine,
  org: number,
  settings: Partial<EndpointSettings & { signingSecret: string }> = {},
): Endpoint {
  const own = { org, id: Bun.randomUUIDv7(), signingSecret: SECRET };
  return run<Endpoint>(engine, { op: "createEndpoint", ...own, ...SETTINGS, ...settings });
}

/** An event of type `t`, accepted at `atMs`. */
export function ingest({ engine, ids }: Open, org: number, atMs = Date.now(), type = "t") {
  const { seq, id } = ids.next(atMs);
  run(engine, { op: "ingest", seq, id, org, type, dedupId: null, payload: "1", appearAtMs: null });
  return { seq, id };
}

/** The result of one attempt: a 500, to be retried at once, unless told otherwise. */
export function settleOp(changes: Partial<SettleOp> & Pick<SettleOp, "event" | "endpoint">): SettleOp {
  const delivered = changes.outcome === "delivered";
  return {
    op: "settle",
    round: 0,
    outcome: "retry",
    startedAtMs: 0,
    durationMs: 1,
    responseStatus: delivered ? 200 : 500,
    error: delivered ? null : "http_status: The endpoint answered 500.",
    responseExcerpt: null,
    dueAtMs: null,
    health: null,
    hopeless: false,
    clockMs: 0,
    ...changes,
  };
}
