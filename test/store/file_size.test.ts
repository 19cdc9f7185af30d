// The database file under retention: what is removed makes room for what comes, so the file stops growing.

import { expect, test } from "bun:test";
import { statSync } from "node:fs";
import path from "node:path";
import { firstSeqOfMs } from "../../src/base/id.ts";
import { isFailure, type Op } from "../../src/store/sqlite/op.ts";
import { withTempDir } from "../help/temp.ts";
import { createEndpoint, createOrganization, open, run, sealAll, settleOp } from "./writing.ts";

const HOUR_MS = 60 * 60 * 1_000;
const ROUNDS = 40;
const EVENTS = 400;
/** Rounds that are kept; older events are removed. */
const KEPT = 5;

test("the file does not grow while as much is removed as comes in", () =>
  withTempDir((dir) => {
    const file = path.join(dir, "triggers.db");
    const opened = open(file, 200);
    const { engine, ids } = opened;
    const orgs = [createOrganization(engine), createOrganization(engine), createOrganization(engine)];
    const endpoints = orgs.map((org) => createEndpoint(engine, org).endpoint);
    // Older than a day, so that dedup records go as well.
    const startMs = Date.now() - (ROUNDS + 30) * HOUR_MS;
    const sizes: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      const atMs = startMs + round * HOUR_MS;
      const ops = Array.from({ length: EVENTS }, (_, n): Op => {
        const org = orgs[n % orgs.length] ?? 0;
        // From small ones to those that need several pages.
        const payload = JSON.stringify("x".repeat((n * 7_919) % 5_000));
        const dedupId = `${round}-${n}`;
        return { op: "ingest", ...ids.next(atMs), org, type: "t", dedupId, payload, appearAtMs: null };
      });
      expect(engine.commitGroup(ops).results.some(isFailure)).toBe(false);
      const settled = ops.map((op, n) => {
        const event = op.op === "ingest" ? op.seq : 0;
        return settleOp({ event, endpoint: endpoints[n % endpoints.length] ?? 0, outcome: "delivered" });
      });
      engine.commitGroup(settled);
      sealAll(engine);
      const beforeSeq = firstSeqOfMs(atMs - KEPT * HOUR_MS);
      let afterSeq: number | null = 0;
      while (afterSeq !== null)
        afterSeq = run<{ nextSeq: number | null }>(engine, {
          ...{ op: "pruneStep", afterSeq, beforeSeq, eventsMax: 100 },
        }).nextSeq;
      for (let pause = 0; pause < 6; pause++) engine.maintain();
      sizes.push(statSync(file).size);
    }
    engine.close();
    const settledSize = sizes[2 * KEPT] ?? 0;
    expect(settledSize).toBeGreaterThan(EVENTS * KEPT * 1_000);
    expect(Math.max(...sizes) / settledSize).toBeLessThan(1.1);
  }));
