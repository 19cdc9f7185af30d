// `restore`: what comes back, what a data directory must be like, and which files are refused.

import { Database } from "bun:sqlite";
import { afterEach, expect, test } from "bun:test";
import {
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import path from "node:path";
import { Webhook } from "standardwebhooks";
import { eventWithStatus } from "../help/eventually.ts";
import { inboxIds } from "../help/inbox_walk.ts";
import { startReceiver } from "../help/receiver.ts";
import { type Organization, runCommand, TestServer } from "../help/server.ts";
import { mountSmallDisk } from "../help/small_disk.ts";
import { StreamReader } from "../help/sse.ts";
import { tempDir } from "../help/temp.ts";

const KEY = "c1".repeat(32);

const open: { stop(): unknown }[] = [];
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.stop();
});

async function start(dataDir = tempDir(), env: Record<string, string> = {}): Promise<TestServer> {
  const server = await TestServer.start({ dataDir, env: { WEBHOOK_ALLOW_PRIVATE: "true", ...env } });
  open.push(server);
  return server;
}

async function backup(dataDir: string): Promise<string> {
  const file = path.join(tempDir(), "backup.db");
  const { code, stderr } = await runCommand(["backup", file], dataDir);
  if (code !== 0) throw new Error(stderr);
  return file;
}

/** A backup of one organization with so many events. */
async function someBackup(events = 1): Promise<{ file: string; organization: Organization }> {
  const server = await start();
  const organization = await server.organization();
  for (let left = events; left > 0; left -= 1_000) {
    const batch = Array.from({ length: Math.min(left, 1_000) }, () => ({
      type: "t",
      payload: "x".repeat(200),
    }));
    expect((await organization.api.post("/api/events/batch", { events: batch })).status).toBe(202);
  }
  await server.stop();
  return { file: await backup(server.dataDir), organization };
}

const restore = (file: string, dataDir: string, env: Record<string, string> = {}) =>
  runCommand(["restore", file], dataDir, env, tempDir());

const freshDir = () => path.join(tempDir(), "data");

test("keys, endpoints, leases, hidden events, dedup ids and acknowledgements come back", async () => {
  const server = await start(tempDir(), { DISABLE_WEBHOOK_DELIVERY: "true" });
  const { api, key } = await server.organization();
  const endpoint = (await api.post("/api/endpoints", { url: "http://127.0.0.1:9/x", event_types: ["a.*"] }))
    .body;
  const post = async (more: object) =>
    (await api.post("/api/events", { type: "b", payload: 1, ...more })).body.id;
  const leased = await post({});
  const lease = (await api.post("/api/inbox/lease", { lease_seconds: 3600 })).body;
  const acked = await post({ dedup_id: "once" });
  await api.post(`/api/ack/${acked}`);
  const hidden = await post({ deliver_at: new Date(Date.now() + 3_600_000).toISOString() });
  const waiting = await post({ type: "a.b" });

  const dataDir = freshDir();
  const { code, stdout, stderr } = await restore(await backup(server.dataDir), dataDir);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(JSON.parse(stdout)).toMatchObject({ data_dir: dataDir, schema: 1, organizations: 1, events: 4 });
  const again = (await start(dataDir, { DISABLE_WEBHOOK_DELIVERY: "true" })).api(key);
  const { signing_secret: _, ...shown } = endpoint;
  expect((await again.get(`/api/endpoints/${endpoint.id}`)).body).toMatchObject(shown);
  expect(await inboxIds(again)).toEqual(new Set([leased, acked, waiting]));
  expect((await again.get(`/api/events/${hidden}`)).status).toBe(200);
  expect((await again.get(`/api/events/${acked}`)).body.status).toBe("delivered");
  const next = await again.post("/api/inbox/lease", {});
  expect(next.body.events.map(({ id }: { id: string }) => id)).toEqual([waiting]);
  expect((await again.post("/api/inbox/ack", { lease_id: lease.lease_id })).body.acknowledged).toBe(1);
  const repeat = await again.post("/api/events", { type: "b", payload: 1, dedup_id: "once" });
  expect([repeat.status, repeat.body.event_id]).toEqual([409, acked]);
});

test("what was delivered after the backup is delivered again, with the same id; what was before is not", async () => {
  const receiver = startReceiver();
  open.push(receiver);
  const server = await start();
  const { api, key } = await server.organization();
  const { endpoint_id } = (await api.post("/api/webhook/config", { webhook_url: receiver.url })).body;
  const before = (await api.post("/api/events", { type: "t", payload: 1 })).body.id;
  await eventWithStatus(api, before, "delivered");
  await api.post(`/api/endpoints/${endpoint_id}/disable`);
  const after = (await api.post("/api/events", { type: "t", payload: 2 })).body.id;
  const file = await backup(server.dataDir);
  await api.post(`/api/endpoints/${endpoint_id}/enable`);
  await eventWithStatus(api, after, "delivered");
  await server.stop();
  const dataDir = freshDir();
  expect((await restore(file, dataDir)).code).toBe(0);
  const restored = (await start(dataDir)).api(key);
  await restored.post(`/api/endpoints/${endpoint_id}/enable`);
  await eventWithStatus(restored, after, "delivered");
  expect(receiver.received.map((one) => one.header("webhook-id"))).toEqual([before, after, after]);
});

test("with ENCRYPTION_KEY the secrets stay sealed in the backup, and that key is asked for", async () => {
  const receiver = startReceiver();
  open.push(receiver);
  const server = await start(tempDir(), { ENCRYPTION_KEY: KEY });
  const { api, key } = await server.organization();
  const { signing_secret } = (await api.post("/api/webhook/config", { webhook_url: receiver.url })).body;
  const file = await backup(server.dataDir);
  await server.stop();
  expect(await Bun.file(file).text()).not.toContain(signing_secret);
  const without = freshDir();
  const restored = await restore(file, without);
  expect(restored.code).toBe(0);
  expect(restored.stderr).toContain("ENCRYPTION_KEY");
  expect((await runCommand(["serve"], without)).stderr).toContain("ENCRYPTION_KEY is not set");
  const dataDir = freshDir();
  expect((await restore(file, dataDir, { ENCRYPTION_KEY: KEY })).stderr).toBe("");
  const again = await start(dataDir, { ENCRYPTION_KEY: KEY });
  await again.api(key).post("/api/events", { type: "t", payload: 1 });
  const { body, rawHeaders } = await receiver.next();
  new Webhook(signing_secret).verify(body, Object.fromEntries(rawHeaders));
});

test("a stream client that saw events appear after the backup misses none that appear after the restore", async () => {
  const soon = () => new Date(Date.now() + 300).toISOString();
  const server = await start();
  const { api, key } = await server.organization();
  const file = await backup(server.dataDir);
  const stream = await StreamReader.open(`${server.url}/api/inbox/stream`, { "x-api-key": key });
  const events = [1, 2, 3].map((payload) => ({ type: "t", payload, deliver_at: soon() }));
  await api.post("/api/events/batch", { events });
  await stream.take(3);
  stream.close();
  await server.stop();
  const dataDir = freshDir();
  expect((await restore(file, dataDir)).code).toBe(0);
  const again = await start(dataDir);
  const headers = { "x-api-key": key, "last-event-id": stream.lastId };
  const resumed = await StreamReader.open(`${again.url}/api/inbox/stream`, headers);
  const later = await again.api(key).post("/api/events", { type: "t", payload: 4, deliver_at: soon() });
  expect((await resumed.take(1)).map(({ id }) => id)).toEqual([later.body.id]);
  resumed.close();
});

test("the directory that it makes and the database are their owner's alone, and nothing else lies there", async () => {
  const { file } = await someBackup();
  const dataDir = freshDir();
  expect((await restore(file, dataDir)).code).toBe(0);
  expect(statSync(dataDir).mode & 0o777).toBe(0o700);
  expect(statSync(path.join(dataDir, "triggers.db")).mode & 0o777).toBe(0o600);
  expect(readdirSync(dataDir).sort()).toEqual(["triggers.db", "triggers.lock"]);
});

test("a directory that has a database, or the log of one, is left as it is", async () => {
  const { file } = await someBackup();
  for (const name of ["triggers.db", "triggers.db-wal", "triggers.db-journal"]) {
    const dataDir = tempDir();
    writeFileSync(path.join(dataDir, name), "x");
    const { code, stdout, stderr } = await restore(file, dataDir);
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toContain(`has a database already (${name})`);
    expect(await Bun.file(path.join(dataDir, name)).text()).toBe("x");
  }
});

test("a directory that a server has is refused, with the server's process", async () => {
  const { file } = await someBackup();
  const server = await start();
  const { code, stderr } = await restore(file, server.dataDir);
  expect(code).toBe(1);
  expect(stderr).toContain(`in use by process ${server.pid}`);
  expect((await server.api().get("/health")).status).toBe(200);
});

const unusable: [name: string, make: (file: string) => void, said: RegExp][] = [
  ["is not there", () => {}, /There is no file/],
  ["is a directory", (file) => mkdirSync(file), /is no file/],
  ["is empty", (file) => writeFileSync(file, ""), /not a SQLite database/],
  ["is a text", (file) => writeFileSync(file, "a letter".repeat(100)), /not a SQLite database/],
  [
    "is another program's database",
    (file) => makeDatabase(file, "CREATE TABLE t (a)"),
    /not one of zapier-triggers/,
  ],
  [
    "is of a newer version",
    (file) =>
      makeDatabase(file, "PRAGMA application_id = 1515475527; PRAGMA user_version = 99; CREATE TABLE t (a)"),
    /schema 99, and this program knows schemas up to \d+/,
  ],
];
test.each(unusable)("a file that %s is refused, and nothing is made", async (_name, make, said) => {
  const file = path.join(tempDir(), "backup.db");
  make(file);
  const dataDir = freshDir();
  const { code, stdout, stderr } = await restore(file, dataDir);
  expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
  expect(stderr).toMatch(said);
  expect(stderr.trimEnd()).not.toContain("\n");
  expect(existsSync(dataDir)).toBe(false);
});

function makeDatabase(file: string, sql: string): void {
  const db = new Database(file, { create: true });
  db.run(sql);
  db.close();
}

test("a raw copy with its log beside it is refused with a word on what to do with it", async () => {
  const { file } = await someBackup();
  writeFileSync(`${file}-wal`, "frames");
  const { code, stderr } = await restore(file, freshDir());
  expect(code).toBe(1);
  expect(stderr).toContain("triggers.db-wal");
});

test("a stopped server's own file can be restored like a backup", async () => {
  const server = await start();
  const { api, key } = await server.organization();
  await api.post("/api/events", { type: "t", payload: 1 });
  await server.stop();
  const file = path.join(tempDir(), "copy.db");
  copyFileSync(path.join(server.dataDir, "triggers.db"), file);
  const dataDir = freshDir();
  expect((await restore(file, dataDir)).code).toBe(0);
  expect((await inboxIds((await start(dataDir)).api(key))).size).toBe(1);
});

test("a damaged backup is refused, and no database is there", async () => {
  const { file } = await someBackup(2_500);
  const descriptor = openSync(file, "r+");
  const { size } = statSync(file);
  for (let at = size / 4; at < size / 2; at += 2048)
    writeSync(descriptor, Buffer.alloc(512, 0x5a), 0, 512, at);
  closeSync(descriptor);
  const dataDir = freshDir();
  const { code, stdout, stderr } = await restore(file, dataDir);
  expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
  expect(stderr).toContain("is damaged");
  expect(readdirSync(dataDir)).toEqual(["triggers.lock"]);
  expect((await restore((await someBackup()).file, dataDir)).code).toBe(0);
});

test("a backup whose end is missing is refused", async () => {
  const { file } = await someBackup(2_500);
  const bytes = await Bun.file(file).bytes();
  writeFileSync(file, bytes.subarray(0, Math.floor(bytes.length / 2)));
  const dataDir = freshDir();
  expect((await restore(file, dataDir)).code).toBe(1);
  expect(existsSync(path.join(dataDir, "triggers.db"))).toBe(false);
});

test("a full disk leaves nothing of it, and the same command works when there is room", async () => {
  const disk = mountSmallDisk(1);
  if (disk === null) return;
  open.push(disk);
  const { file } = await someBackup(5_000);
  expect(statSync(file).size).toBeGreaterThan(1 << 20);
  const { code, stderr } = await restore(file, disk.dir);
  expect(code).toBe(1);
  expect(stderr).toContain("full");
  expect(readdirSync(disk.dir)).toEqual(["triggers.lock"]);
  Bun.spawnSync(["mount", "-o", "remount,size=20m", disk.dir]);
  expect((await restore(file, disk.dir)).code).toBe(0);
});

test("a mistake in the command line or in a setting ends with 2", async () => {
  const dir = tempDir();
  expect((await runCommand(["restore"], dir)).code).toBe(2);
  expect((await runCommand(["restore", "a", "--durability", "off"], dir)).code).toBe(2);
});
