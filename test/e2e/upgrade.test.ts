// Databases of released versions, opened by this one: every row that was there is told as it was, and can be worked with.

import { Database } from "bun:sqlite";
import { afterEach, describe, expect, test } from "bun:test";
import path from "node:path";
import { Webhook } from "standardwebhooks";
import { AT_REST } from "../../scripts/fixture.ts";
import { migrate, migrations } from "../../src/store/sqlite/migrate.ts";
import { copyFixture, fixtures, readFixture } from "../help/fixture.ts";
import { callerOf } from "../help/fixture_call.ts";
import { tellAll } from "../help/fixture_reads.ts";
import { inboxIds } from "../help/inbox_walk.ts";
import { faketimeLibrary, movedClock } from "../help/moved_clock.ts";
import { startReceiver } from "../help/receiver.ts";
import { runCommand, TestServer } from "../help/server.ts";
import { tempDir } from "../help/temp.ts";

const open: { stop(): unknown }[] = [];
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.stop();
});

/** Filled only after 360 000 dedup ids; test/store/dedup_slices.test.ts writes and reads them. */
const TOO_LARGE_FOR_A_FIXTURE = ["dedup_parts"];

function copyOf(fixture: string): string {
  const dataDir = tempDir();
  copyFixture(fixture, path.join(dataDir, "triggers.db"));
  return dataDir;
}

async function start(dataDir: string, env: Record<string, string> = {}): Promise<TestServer> {
  const server = await TestServer.start({
    dataDir,
    env: { ...AT_REST, WEBHOOK_ALLOW_PRIVATE: "true", ...env },
  });
  open.push(server);
  return server;
}

test("there is a fixture of each schema", () => {
  expect(fixtures).toEqual(migrations.map(({ number }) => String(number).padStart(4, "0")));
});

describe.each(fixtures.map((name) => [name]))("of schema %s", (name) => {
  const { madeAt, encryptionKey, made, told } = readFixture(name);
  /** A minute after it was made: later, what is hidden appears and keys expire. */
  const atItsTime = faketimeLibrary ? movedClock(Date.parse(madeAt) + 60_000 - Date.now()) : {};
  const variants: [fixture: string, env: Record<string, string>][] = [
    [name, {}],
    [`${name}_sealed`, { ENCRYPTION_KEY: encryptionKey }],
  ];

  test("the fixture has the schema of its number, so a released step was not changed", () => {
    const file = path.join(copyOf(name), "triggers.db");
    const released = new Database(":memory:", { strict: true });
    migrate(released, migrations.slice(0, Number(name)));
    const kept = new Database(file, { readonly: true });
    const sql = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY rowid";
    // Stale while that schema is not released yet? Then: bun scripts/fixture.ts
    expect(kept.query(sql).all()).toEqual(released.query(sql).all());
    for (const pragma of ["PRAGMA user_version", "PRAGMA application_id"])
      expect(kept.query(pragma).get()).toEqual(released.query(pragma).get());
    kept.close();
  });

  test("the fixture has rows in every table", () => {
    const db = new Database(path.join(copyOf(name), "triggers.db"), { readonly: true });
    const tables = db
      .query<{ name: string }, []>("SELECT name FROM sqlite_schema WHERE type = 'table'")
      .all()
      .map((table) => table.name);
    const empty = tables.filter((table) => db.query(`SELECT 1 FROM "${table}"`).get() === null);
    expect(empty).toEqual(TOO_LARGE_FOR_A_FIXTURE);
    const states = db.query("SELECT DISTINCT state FROM deliveries ORDER BY 1").values().flat();
    expect(states).toEqual([0, 1, 2, 3]);
    db.close();
  });

  test.each(variants)("every kind of row is told as it was (%s)", async (fixture, env) => {
    const server = await start(copyOf(fixture), { ...atItsTime, ...env });
    const now = await tellAll(callerOf(server.url), made);
    expect(Object.keys(now)).toEqual(Object.keys(told));
    for (const [asked, answer] of Object.entries(told)) {
      if (asked.startsWith("admin /api/admin/audit")) expectEntries(now[asked], answer);
      else expect(now[asked]).toMatchObject(answer as object);
    }
  });

  /** Those of before, behind what the reading itself and the start have added. */
  function expectEntries(now: unknown, before: unknown): void {
    const entriesOf = (page: unknown) => (page as { entries: object[] }).entries;
    const [later, earlier] = [entriesOf(now), entriesOf(before)];
    expect(earlier.length).toBeGreaterThan(10);
    expect(later.slice(-earlier.length)).toMatchObject(earlier);
  }

  test.each(variants)("endpoints sign with their secrets, and consumers go on (%s)", async (fixture, env) => {
    // The fixture's own URLs are on 127.0.0.1, where somebody else may listen by now.
    const receiver = startReceiver({ hostname: "127.0.0.9" });
    open.push(receiver);
    const sending = { DISABLE_WEBHOOK_DELIVERY: "false", WEBHOOK_ALLOW_PRIVATE: "127.0.0.9" };
    const server = await start(copyOf(fixture), { ...env, ...sending });
    const api = server.api(made.keys.acme);
    const change = JSON.stringify({ url: receiver.url });
    const headers = { "content-type": "application/json" };
    await api.send("PATCH", `/api/endpoints/${made.endpoints.held}`, { body: change, headers });
    expect((await api.post(`/api/endpoints/${made.endpoints.held}/test`)).body.delivered).toBe(true);
    const { body, rawHeaders } = await receiver.next();
    new Webhook(made.signingSecret).verify(body, Object.fromEntries(rawHeaders));
    await api.send("PATCH", `/api/endpoints/${made.endpoints.dead}`, { body: change, headers });
    await api.post(`/api/endpoints/${made.endpoints.dead}/test`);
    expect((await receiver.next()).header("x-own")).toBe("1");
    expect((await api.post("/api/inbox/ack", { lease_id: made.lease })).body.acknowledged).toBe(1);
    expect((await api.get(`/api/events/${made.events.leased}`)).body.status).toBe("delivered");
    const { body: next } = await api.post("/api/inbox/lease", { type: "job.*", max: 10 });
    expect(next.events.map(({ id }: { id: string }) => id)).toEqual([made.events.released]);
    expect((await api.post("/api/events", { type: "new", payload: 1 })).status).toBe(202);
  });

  test.skipIf(!faketimeLibrary)(
    "at its own time: dedup ids hold, leases are out, what is hidden stays hidden, keys are valid",
    async () => {
      const server = await start(copyOf(name), atItsTime);
      const [acme, bolt] = [server.api(made.keys.acme), server.api(made.keys.bolt)];
      for (const [api, dedup_id] of [
        [acme, "acked"],
        [acme, "deleted"],
        [bolt, "bulk-0"],
        [bolt, "bulk-599"],
        [bolt, "tail-9"],
      ] as const) {
        const repeat = await api.post("/api/events", { type: "t", payload: 1, dedup_id });
        expect([dedup_id, repeat.status]).toEqual([dedup_id, 409]);
      }
      expect((await acme.get(`/api/events/${made.events.tombstone}`)).status).toBe(404);
      const { events } = (await acme.post("/api/inbox/lease", { type: "job.*", max: 10 })).body;
      expect(events.map(({ id }: { id: string }) => id)).toEqual([made.events.released]);
      const shown = await inboxIds(acme);
      expect(shown.has(made.events.hidden ?? "")).toBe(false);
      expect(shown.has(made.events.appeared ?? "")).toBe(true);
      expect((await inboxIds(bolt)).size).toBe(2_010);
      expect((await server.api(made.keys.idle).get("/api/keys")).status).toBe(401);
    },
  );

  test("the sealed one does not start without its key, and says so", async () => {
    const { code, stderr } = await runCommand(["serve"], copyOf(`${name}_sealed`));
    expect(code).toBe(1);
    expect(stderr).toContain("ENCRYPTION_KEY is not set");
  });

  test("a backup of it can be restored, and doctor finds nothing wrong", async () => {
    const [out, target] = [tempDir(), path.join(tempDir(), "data")];
    const file = path.join(out, "backup.db");
    expect((await runCommand(["backup", file], copyOf(name))).code).toBe(0);
    expect((await runCommand(["restore", file], target, {}, out)).code).toBe(0);
    const found = await runCommand(["doctor", "--full", "--json"], target, {}, out);
    expect(JSON.parse(found.stdout)).toMatchObject({ ok: true, problems: 0 });
    const server = await start(target);
    expect((await inboxIds(server.api(made.keys.bolt))).size).toBe(2_010);
  });
});
