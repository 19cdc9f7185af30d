// A clock that was set while nothing ran: what delivery wrote by its own clock keeps its distance to now.

import { expect, test } from "bun:test";
import path from "node:path";
import { createSecretBox } from "../../src/base/secret_box.ts";
import { ageKey } from "../../src/store/sqlite/due.ts";
import { followClock } from "../../src/store/sqlite/on_open.ts";
import { openWriter } from "../../src/store/sqlite/pragma.ts";
import { DueReads } from "../../src/store/sqlite/read_due.ts";
import { withTempDir } from "../help/temp.ts";
import { createEndpoint, createOrganization, ingest, open, run, sealAll, settleOp } from "./writing.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const NOW_MS = 1_800_000_000_000;

/**
 * One endpoint that fails and pauses, a sealed and an unsealed delivery due in an hour, and one of each that is due now;
 * last written at `NOW_MS` by the clock of then. Then the clock says `laterMs`, and the file is opened.
 */
function reopened(dir: string, laterMs: number) {
  const file = path.join(dir, "triggers.db");
  const opened = open(file, 1);
  const { engine } = opened;
  const org = createOrganization(engine);
  const { endpoint } = createEndpoint(engine, org);
  const put = () => {
    const [retry, fresh] = [ingest(opened, org).seq, ingest(opened, org).seq];
    const health = [3, NOW_MS - HOUR_MS, NOW_MS + 2 * HOUR_MS] as const;
    const times = { dueAtMs: NOW_MS + HOUR_MS, clockMs: NOW_MS };
    run(engine, settleOp({ event: retry, endpoint, ...times, health: [1, NOW_MS - HOUR_MS, null] }));
    run(engine, settleOp({ event: retry, endpoint, ...times, health }));
    return { retry, fresh };
  };
  const sealed = put();
  sealAll(engine);
  const unsealed = put();
  engine.close();
  const db = openWriter(file, "normal");
  followClock(db, laterMs);
  const reads = new DueReads(db, createSecretBox([]));
  const told = {
    due: [sealed, unsealed].map(({ retry }) => reads.dueAt(retry, endpoint)),
    fresh: [sealed, unsealed].map(({ fresh }) => reads.dueAt(fresh, endpoint)),
    health: reads.target(endpoint)?.health,
    again: () => {
      followClock(db, laterMs);
      return [sealed, unsealed].map(({ retry }) => reads.dueAt(retry, endpoint));
    },
    firstTimed: reads.firstDueAfter(endpoint, 0)?.due_at,
    freshKeys: [sealed, unsealed].map(({ fresh }) => ageKey(fresh)),
    close: () => db.close(),
  };
  return told;
}

test("a retry due in an hour is due in an hour, when the clock was set back a day while nothing ran", () =>
  withTempDir((dir) => {
    const laterMs = NOW_MS - DAY_MS;
    const told = reopened(dir, laterMs);
    expect(told.due).toEqual([laterMs + HOUR_MS, laterMs + HOUR_MS]);
    expect(told.firstTimed).toBe(laterMs + HOUR_MS);
    expect(told.health).toEqual({
      ...{ failures: 3, failingSinceMs: laterMs - HOUR_MS, pausedUntilMs: laterMs + 2 * HOUR_MS },
    });
    // What is due by its age has no time that a clock could be wrong about.
    expect(told.fresh).toEqual(told.freshKeys);
    // Another start by the same clock moves nothing again.
    expect(told.again()).toEqual(told.due);
    told.close();
  }));

test.each([0, 1, HOUR_MS, 400 * DAY_MS])("nothing changes when the clock goes on by %d ms", (passedMs) =>
  withTempDir((dir) => {
    const told = reopened(dir, NOW_MS + passedMs);
    expect(told.due).toEqual([NOW_MS + HOUR_MS, NOW_MS + HOUR_MS]);
    expect(told.health).toMatchObject({ pausedUntilMs: NOW_MS + 2 * HOUR_MS });
    expect(told.fresh).toEqual(told.freshKeys);
    told.close();
  }),
);
