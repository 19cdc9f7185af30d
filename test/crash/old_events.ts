// A database with events of 40 days ago, made by the store's own engine, so that the start of the server has something
// for retention to remove: what was acknowledged or became a dead letter goes, in steps that a kill may interrupt; what
// nobody took stays, however old.

import path from "node:path";
import { newApiKey } from "../../src/base/api_key.ts";
import { IdSource } from "../../src/base/id.ts";
import { hashSecret } from "../../src/http/key_hash.ts";
import { type Engine, openEngine } from "../../src/store/sqlite/engine.ts";
import { isFailure, type Op } from "../../src/store/sqlite/op.ts";
import type { Endpoint, Organization } from "../../src/store/store.ts";
import { scopes } from "../../src/wire/tiers.ts";

const OLD_MS = 40 * 86_400_000;
/** Of the settings of every server here. */
export const RETENTION_DAYS = "30";

/** Of the organization that has them. */
export const OLD_NAME = "old";

export type OldEvents = {
  readonly key: string;
  /** Stay. */
  readonly untaken: ReadonlySet<string>;
  /** Are removed. */
  readonly over: ReadonlySet<string>;
};

/** Fills a new data directory with `count` of each of three kinds. */
export async function fillOldEvents(
  dataDir: string,
  encryptionKeys: readonly string[],
  count: number,
): Promise<OldEvents> {
  const opened = openEngine(path.join(dataDir, "triggers.db"), {
    ...{ durability: "normal", encryptionKeys, sealEvents: 1 },
  });
  if (opened.kind === "refused") throw new Error(opened.detail);
  const { engine } = opened;
  const { org, key } = await addOrganization(engine);
  const endpoint = addEndpoint(engine, org);
  const ids = new IdSource(-1);
  const untaken = ingest(engine, ids, org, "old.untaken", count);
  const acked = ingest(engine, ids, org, "old.acked", count);
  const dead = ingest(engine, ids, org, "old.dead", count);
  commit(engine, [{ op: "ack", org, ids: acked.map(({ id }) => id) }]);
  commit(
    engine,
    dead.map(({ seq }) => deadLetter(seq, endpoint)),
  );
  while (engine.maintain()) {} // until the due index is sealed, which is the last one
  for (let n = 0; n < 3; n++) engine.maintain();
  engine.close();
  const idsOf = (events: readonly { id: string }[]) => events.map(({ id }) => id);
  return { key, untaken: new Set(idsOf(untaken)), over: new Set([...idsOf(acked), ...idsOf(dead)]) };
}

async function addOrganization(engine: Engine): Promise<{ org: number; key: string }> {
  const { apiKey, keyId, secret } = newApiKey("live");
  const key = { keyId, secretHash: await hashSecret(secret), name: null, scopes, expiresAtMs: null };
  const made = commit(engine, [
    { op: "createOrganization", id: Bun.randomUUIDv7(), name: OLD_NAME, tier: "free", key },
  ]);
  return { org: (made[0] as Organization).org, key: apiKey };
}

function addEndpoint(engine: Engine, org: number): number {
  const made = commit(engine, [
    {
      ...{ op: "createEndpoint", org, id: Bun.randomUUIDv7(), url: "http://127.0.0.1:9/" },
      ...{ eventTypes: ["old.dead"], description: null, headers: {}, maxInFlight: null, ordered: false },
      ...{ rateLimitPerSecond: null, timeoutMs: null },
      signingSecret: `whsec_${Buffer.alloc(32, 7).toString("base64")}`,
    },
  ]);
  return (made[0] as Endpoint).endpoint;
}

function ingest(engine: Engine, ids: IdSource, org: number, type: string, count: number) {
  const acceptedMs = Date.now() - OLD_MS;
  const events = Array.from({ length: count }, (_, n) => ids.next(acceptedMs + n));
  commit(
    engine,
    events.map(({ seq, id }, n) => ({
      ...{ op: "ingest", seq, id, org, type, dedupId: null, appearAtMs: null },
      payload: `{"org":"old","n":${n}}`,
    })),
  );
  return events;
}

function deadLetter(event: number, endpoint: number): Op {
  return {
    ...{
      op: "settle",
      round: 0,
      event,
      endpoint,
      outcome: "dead_letter",
      startedAtMs: Date.now() - OLD_MS,
    },
    ...{ durationMs: 5, responseStatus: 500, error: "http_status: The endpoint answered 500." },
    ...{ responseExcerpt: null, dueAtMs: null, health: null, hopeless: false, clockMs: Date.now() },
  };
}

function commit(engine: Engine, ops: readonly Op[]): readonly unknown[] {
  const { results } = engine.commitGroup(ops);
  for (const result of results) if (isFailure(result)) throw new Error(result.reason);
  return results;
}
