// A lease is written by one thread and read by another: what is deleted in between was leased, and is not there to be read.

import { expect, test } from "bun:test";
import path from "node:path";
import { IdSource } from "../../src/base/id.ts";
import { GroupCommit } from "../../src/store/sqlite/group_commit.ts";
import { LogCopier } from "../../src/store/sqlite/log_copier.ts";
import { openReader } from "../../src/store/sqlite/pragma.ts";
import { SqliteStore } from "../../src/store/sqlite/sqlite_store.ts";
import { Writer } from "../../src/store/sqlite/writer.ts";
import type { Lease, Written } from "../../src/store/store.ts";
import { withTempDir } from "../help/temp.ts";
import { createOrganization, ingest, type Open, open } from "./writing.ts";

const SEAL_EVENTS = 8;
const QUEUED_MAX = 100;

/** The store and the writer's loop as they run, on one thread. */
function storeOver(file: string, { engine }: Open): SqliteStore {
  const { port1, port2 } = new MessageChannel();
  new GroupCommit(engine, port2, null).start();
  const copier = new LogCopier(file, () => {
    throw new Error("this log is never long");
  });
  const writer = new Writer(port1, QUEUED_MAX, copier);
  return new SqliteStore(file, openReader(file), writer, QUEUED_MAX, new IdSource(engine.lastSeq));
}

/** Leases at most `max`, and deletes these events in the same transaction, behind the lease. */
async function leaseAndDelete(store: SqliteStore, org: number, max: number, ids: readonly string[]) {
  const first = store.ack(org, []); // sent at once; what comes until it is answered is sent together
  const leased = store.lease(org, { max, leaseMs: 60_000, type: null });
  const deleted = store.deleteEvents(org, ids);
  await first;
  expect(await deleted).toEqual({ kind: "done", value: { deleted: ids.length, notFound: [] } });
  return told(await leased);
}

function told(written: Written<Lease>) {
  if (written.kind !== "done") throw new Error(written.kind);
  const { id, count, events } = written.value;
  const bites = [...events];
  return { id, count, bites: bites.length, events: bites.flatMap(({ rows }) => rows.map((row) => row.id)) };
}

async function withEvents(count: number, check: (store: SqliteStore, org: number, ids: string[]) => unknown) {
  await withTempDir(async (dir) => {
    const file = path.join(dir, "triggers.db");
    const world = open(file, SEAL_EVENTS);
    const org = createOrganization(world.engine);
    const ids = Array.from({ length: count }, () => ingest(world, org).id);
    const store = storeOver(file, world);
    await check(store, org, ids);
    await store.close();
  });
}

test("when all of a lease was deleted before it was read, the next events are leased", () =>
  withEvents(3, async (store, org, ids) => {
    const { id, events } = await leaseAndDelete(store, org, 2, ids.slice(0, 2));
    expect(events).toEqual(ids.slice(2));
    expect(await store.ackLease(org, id ?? "", null)).toMatchObject({ kind: "done", value: { count: 1 } });
  }));

test("when nothing else is there, nothing was leased", () =>
  withEvents(2, async (store, org, ids) => {
    expect(await leaseAndDelete(store, org, 2, ids)).toEqual({ id: null, count: 0, bites: 1, events: [] });
  }));

test("what is left of a lease is leased", () =>
  withEvents(3, async (store, org, ids) => {
    const { id, events } = await leaseAndDelete(store, org, 2, ids.slice(0, 1));
    expect(id).not.toBeNull();
    expect(events).toEqual(ids.slice(1, 2));
  }));
