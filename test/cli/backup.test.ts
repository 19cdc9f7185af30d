// `backup` beside a running server and without one, and what it leaves when it cannot be made.

import { Database } from "bun:sqlite";
import { afterEach, expect, test } from "bun:test";
import { closeSync, openSync, readdirSync, readFileSync, statSync, writeFileSync, writeSync } from "node:fs";
import path from "node:path";
import { onTerminal, startCommand } from "../help/command.ts";
import { eventually } from "../help/eventually.ts";
import { inboxIds } from "../help/inbox_walk.ts";
import { runCommand, TestServer } from "../help/server.ts";
import { mountSmallDisk } from "../help/small_disk.ts";
import { tempDir } from "../help/temp.ts";

const open: { stop(): unknown }[] = [];
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.stop();
});

async function start(dataDir = tempDir()): Promise<TestServer> {
  const server = await TestServer.start({ dataDir, env: { DISABLE_WEBHOOK_DELIVERY: "true" } });
  open.push(server);
  return server;
}

/** A server that was stopped, with so many events of about 1 KB; their ids. */
async function stopped(events = 1) {
  const server = await start();
  const { api, key } = await server.organization();
  const payload = "x".repeat(1_000);
  const ids: string[] = [];
  while (ids.length < events) {
    const batch = Array.from({ length: Math.min(1_000, events - ids.length) }, () => ({
      type: "t",
      payload,
    }));
    const { body } = await api.post("/api/events/batch", { events: batch });
    ids.push(...body.results.map(({ id }: { id: string }) => id));
  }
  await server.stop();
  return { dataDir: server.dataDir, key, ids };
}

const fileIn = (dir: string) => path.join(dir, "backup.db");

test("a backup under load has all that was answered before it began, and the load is answered meanwhile", async () => {
  const server = await start();
  const { key } = await server.organization();
  const accepted: string[] = [];
  const statuses = new Set<number>();
  let posting = true;
  let enough = Promise.withResolvers<void>();
  const client = async (name: number) => {
    for (let n = 0; posting; n++) {
      const event = { type: "t", dedup_id: `${name}-${n}`, payload: "x".repeat(300) };
      const { status, body } = await server.api(key).post("/api/events", event);
      statuses.add(status);
      accepted.push(body.id);
      if (accepted.length % 1_000 === 0) enough.resolve();
    }
  };
  const clients = Array.from({ length: 16 }, (_, name) => client(name));
  await enough.promise;
  const before = [...accepted];
  const out = tempDir();
  const { code, stdout, stderr } = await runCommand(["backup", fileIn(out)], server.dataDir);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  enough = Promise.withResolvers();
  await enough.promise;
  posting = false;
  await Promise.all(clients);
  expect([...statuses]).toEqual([202]);

  const told = JSON.parse(stdout);
  expect(told).toMatchObject({ file: fileIn(out), bytes: statSync(fileIn(out)).size, organizations: 1 });
  expect(told.events).toBeGreaterThanOrEqual(before.length);
  expect(told.events).toBeLessThan(accepted.length);
  const target = path.join(out, "data");
  expect((await runCommand(["restore", fileIn(out)], target, {}, out)).code).toBe(0);
  const restored = await start(target);
  const ids = await inboxIds(restored.api(key));
  expect(before.filter((id) => !ids.has(id))).toEqual([]);
  expect(ids.size).toBe(told.events);
  const again = await restored.api(key).post("/api/events", { type: "t", dedup_id: "0-0", payload: 1 });
  expect(again.status).toBe(409);
  expect(before).toContain(again.body.event_id);
});

test("without a server it works too, after a kill -9 as well, and the server starts after it", async () => {
  const { dataDir, key, ids } = await stopped(10);
  const first = await runCommand(["backup", path.join(dataDir, "first.db")], dataDir);
  expect(JSON.parse(first.stdout).events).toBe(10);
  const server = await start(dataDir);
  await server.api(key).post("/api/events", { type: "t", payload: 1 });
  await server.kill("SIGKILL");
  const second = await runCommand(["backup", path.join(dataDir, "second.db")], dataDir);
  expect(JSON.parse(second.stdout).events).toBe(11);
  const again = await start(dataDir);
  expect((await inboxIds(again.api(key))).has(ids[0] ?? "")).toBe(true);
});

test("it is readable by its owner only, and has nothing beside it", async () => {
  const { dataDir } = await stopped();
  const out = tempDir();
  expect((await runCommand(["backup", fileIn(out)], dataDir)).code).toBe(0);
  expect(readdirSync(out)).toEqual(["backup.db"]);
  expect(statSync(fileIn(out)).mode & 0o777).toBe(0o600);
});

test("a file that is there is kept, unless --force says to replace it", async () => {
  const { dataDir } = await stopped(3);
  const out = tempDir();
  writeFileSync(fileIn(out), "somebody's letter", { mode: 0o644 });
  const refused = await runCommand(["backup", fileIn(out)], dataDir);
  expect({ code: refused.code, stdout: refused.stdout }).toEqual({ code: 1, stdout: "" });
  expect(refused.stderr).toContain("--force");
  expect(readFileSync(fileIn(out), "utf8")).toBe("somebody's letter");
  const forced = await runCommand(["backup", fileIn(out), "--force"], dataDir);
  expect(JSON.parse(forced.stdout).events).toBe(3);
  expect(statSync(fileIn(out)).mode & 0o777).toBe(0o600);
});

test("a file that comes up while the backup is made is kept too", async () => {
  const { dataDir } = await stopped();
  const held = holdAll(dataDir);
  const out = tempDir();
  const command = startCommand(["backup", fileIn(out)], { cwd: out, env: { DATA_DIR: dataDir } });
  await eventually(
    async () => partialsIn(out),
    (found) => found.length === 1,
  );
  writeFileSync(fileIn(out), "somebody's letter");
  held.stop();
  const { code, stderr } = await command.ended();
  expect(code).toBe(1);
  expect(stderr).toContain("was left as it is");
  expect(readdirSync(out)).toEqual(["backup.db"]);
  expect(readFileSync(fileIn(out), "utf8")).toBe("somebody's letter");
});

const impossible: [name: string, file: (dataDir: string) => string, said: RegExp][] = [
  ["the database itself", (dir) => path.join(dir, "triggers.db"), /belongs to the database/],
  ["its write-ahead log", (dir) => path.join(dir, "triggers.db-wal"), /belongs to the database/],
  ["the lock", (dir) => path.join(dir, "x/../triggers.lock"), /belongs to the database/],
  ["a directory", (dir) => dir, /is no file/],
  ["a file in a directory that is not there", (dir) => path.join(dir, "none", "b.db"), /no directory/],
  ["a file where nothing can be made", () => "/proc/backup.db", /cannot be opened|ENOENT/],
];
test.each(impossible)("%s is no place for a backup, also with --force", async (_name, file, said) => {
  const { dataDir, key } = await stopped();
  const { code, stdout, stderr } = await runCommand(["backup", file(dataDir), "--force"], dataDir);
  expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
  expect(stderr).toMatch(said);
  expect(stderr.trimEnd()).not.toContain("\n");
  const server = await start(dataDir);
  expect((await inboxIds(server.api(key))).size).toBe(1);
});

test("without a database there is no backup, and no data directory is made", async () => {
  const dir = tempDir();
  const dataDir = path.join(dir, "none");
  const { code, stderr } = await runCommand(["backup", fileIn(dir)], dataDir, {}, dir);
  expect(code).toBe(1);
  expect(stderr).toContain("DATA_DIR");
  expect(readdirSync(dir)).toEqual([]);
});

test("a damaged database makes no backup, and an older backup stays", async () => {
  const { dataDir } = await stopped(2_500);
  const out = tempDir();
  expect((await runCommand(["backup", fileIn(out)], dataDir)).code).toBe(0);
  const good = readFileSync(fileIn(out));
  overwriteTheMiddle(path.join(dataDir, "triggers.db"));
  const { code, stdout, stderr } = await runCommand(["backup", fileIn(out), "--force"], dataDir);
  expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
  expect(stderr).toContain("is damaged");
  expect(readdirSync(out)).toEqual(["backup.db"]);
  expect(readFileSync(fileIn(out)).equals(good)).toBe(true);
});

function overwriteTheMiddle(file: string): void {
  const descriptor = openSync(file, "r+");
  const { size } = statSync(file);
  for (let at = size / 4; at < size / 2; at += 2048)
    writeSync(descriptor, Buffer.alloc(512, 0x5a), 0, 512, at);
  closeSync(descriptor);
}

test("a full disk makes no backup and keeps nothing of it", async () => {
  const disk = mountSmallDisk(1);
  if (disk === null) return;
  open.push(disk);
  const { dataDir } = await stopped(2_000);
  const { code, stdout, stderr } = await runCommand(["backup", fileIn(disk.dir)], dataDir);
  expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
  expect(stderr).toContain("full");
  expect(readdirSync(disk.dir)).toEqual([]);
});

/** Somebody who lets nobody read: the backup waits for a while. */
function holdAll(dataDir: string): { stop(): void } {
  const db = new Database(path.join(dataDir, "triggers.db"));
  db.run("PRAGMA locking_mode = EXCLUSIVE");
  db.run("BEGIN EXCLUSIVE");
  const held = { stop: () => db.close() };
  open.push(held);
  return held;
}

const partialsIn = (dir: string) => readdirSync(dir).filter((name) => name.includes(".partial-"));

test.each([
  ["SIGINT", 130],
  ["SIGTERM", 143],
] as const)("stopped by %s it leaves nothing, and ends with %i", async (signal, code) => {
  const { dataDir } = await stopped();
  holdAll(dataDir);
  const out = tempDir();
  const command = startCommand(["backup", fileIn(out)], { cwd: out, env: { DATA_DIR: dataDir } });
  await eventually(
    async () => partialsIn(out),
    (found) => found.length === 1,
  );
  command.child.kill(signal);
  expect((await command.ended()).code).toBe(code);
  expect(readdirSync(out)).toEqual([]);
});

test("what a killed backup left is removed by the next one; what a living process makes is not", async () => {
  const { dataDir } = await stopped();
  const out = tempDir();
  const killed = startCommand(["backup", fileIn(out)], { cwd: out, env: { DATA_DIR: dataDir } });
  const held = holdAll(dataDir);
  await eventually(
    async () => partialsIn(out),
    (found) => found.length === 1,
  );
  killed.child.kill("SIGKILL");
  await killed.ended();
  held.stop();
  const living = `backup.db.partial-${process.pid}`;
  writeFileSync(path.join(out, living), "");
  expect(partialsIn(out)).toHaveLength(2);
  expect((await runCommand(["backup", fileIn(out)], dataDir)).code).toBe(0);
  expect(readdirSync(out).sort()).toEqual(["backup.db", living]);
});

test("on a terminal it shows how far it is, and leaves the result alone in the end", async () => {
  const { dataDir } = await stopped(100);
  const out = tempDir();
  const command = onTerminal(["backup", fileIn(out)], { cwd: out, env: { DATA_DIR: dataDir } });
  expect(await command.child.exited).toBe(0);
  const shown = await command.shown.shows("duration_ms");
  expect(shown).toMatch(/copied .* of about .*checking .*"events": 100/s);
});

test("a mistake in the command line or in a setting ends with 2", async () => {
  const dir = tempDir();
  expect((await runCommand(["backup"], dir)).code).toBe(2);
  expect((await runCommand(["backup", "a", "b"], dir)).code).toBe(2);
  expect((await runCommand(["backup", "a", "--durability", "off"], dir)).code).toBe(2);
});
