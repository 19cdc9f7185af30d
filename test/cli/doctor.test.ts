// `doctor`: what it finds in good and bad data directories, beside a server and without one, and that it changes nothing.

import { Database } from "bun:sqlite";
import { afterEach, describe, expect, test } from "bun:test";
import {
  chmodSync,
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import path from "node:path";
import { firstSeqOfMs } from "../../src/base/id.ts";
import { PROGRAM } from "../help/command.ts";
import { runCommand, TestServer } from "../help/server.ts";
import { mountSmallDisk } from "../help/small_disk.ts";
import { tempDir } from "../help/temp.ts";

const KEY = "d2".repeat(32);

const open: { stop(): unknown }[] = [];
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.stop();
});

type Found = { check: string; level: string; detail: string; advice: string | null };

async function start(dataDir = tempDir(), env: Record<string, string> = {}): Promise<TestServer> {
  const server = await TestServer.start({ dataDir, env });
  open.push(server);
  chmodSync(dataDir, 0o700);
  return server;
}

/** A data directory that a server left in good order, with an endpoint and two events. */
async function left(env: Record<string, string> = {}): Promise<string> {
  const server = await start(tempDir(), { DISABLE_WEBHOOK_DELIVERY: "true", ...env });
  const { api } = await server.organization();
  await api.post("/api/endpoints", { url: "https://a.example/", event_types: ["none"] });
  await api.post("/api/events", { type: "t", payload: 1 });
  const { body } = await api.post("/api/events", { type: "t", payload: 2 });
  await api.post(`/api/ack/${body.id}`);
  await server.stop();
  return server.dataDir;
}

async function doctor(dataDir: string, args: string[] = [], env: Record<string, string> = {}) {
  const { code, stdout, stderr } = await runCommand(["doctor", "--json", ...args], dataDir, env, tempDir());
  expect(stderr).toBe("");
  const told = JSON.parse(stdout) as { ok: boolean; problems: number; warnings: number; checks: Found[] };
  expect(told.ok).toBe(code === 0);
  const bad = told.checks.filter(({ level }) => level !== "ok");
  expect(bad.every(({ advice }) => advice !== null)).toBe(true);
  const of = (check: string) => told.checks.filter((one) => one.check === check);
  return { code, ...told, bad: bad.map(({ level, check }) => `${level} ${check}`), of, told: stdout };
}

/** Names and bytes of all files; the WAL's index is memory of whoever has the database open. */
function contentsOf(dir: string): Record<string, string> {
  const names = readdirSync(dir).filter((name) => !name.endsWith("-shm"));
  return Object.fromEntries(
    names.map((name) => [name, Bun.hash(readFileSync(path.join(dir, name))).toString()]),
  );
}

test("nothing there yet is no problem, and nothing is made", async () => {
  const dataDir = path.join(tempDir(), "data");
  const { code, bad, of } = await doctor(dataDir);
  expect({ code, bad }).toEqual({ code: 0, bad: [] });
  expect(of("data directory")[0]?.detail).toContain("nothing there yet");
  expect(existsSync(dataDir)).toBe(false);
});

test("what a stopped server left is all right, is counted, and stays as it was", async () => {
  const dataDir = await left();
  const before = contentsOf(dataDir);
  for (const args of [[], ["--full"]]) {
    const { code, bad, of } = await doctor(dataDir, args);
    expect({ code, bad }).toEqual({ code: 0, bad: [] });
    expect(of("events")[0]?.detail).toContain("pending 1, failed 0, dead_letter 0, delivered 1, hidden 0");
    expect(of("events")[0]?.detail).toContain("organizations 1, endpoints 1");
    expect(of("server")[0]?.detail).toContain("none runs");
    expect(of("schema")[0]?.detail).toBe("1");
  }
  expect(contentsOf(dataDir)).toEqual(before);
});

test("beside a running server it names the process, counts what is in its log, and disturbs nothing", async () => {
  const server = await start(tempDir(), { DISABLE_WEBHOOK_DELIVERY: "true" });
  const { api } = await server.organization();
  for (let n = 0; n < 3; n++) await api.post("/api/events", { type: "t", payload: n });
  const { code, bad, of } = await doctor(server.dataDir, ["--full"]);
  expect({ code, bad }).toEqual({ code: 0, bad: [] });
  expect(of("server")[0]?.detail).toContain(`process ${server.pid} since`);
  expect(of("server")[0]?.detail).toContain(`ready at ${server.url}`);
  expect(of("open files")[0]?.detail).toContain("for the server");
  expect(of("events")[0]?.detail).toContain("pending 3");
  expect((await api.post("/api/events", { type: "t", payload: 4 })).status).toBe(202);
});

test("after a kill -9 it reads the log, says that the process is gone, and leaves both files as they are", async () => {
  const server = await start();
  const { api } = await server.organization();
  await api.post("/api/events", { type: "t", payload: 1 });
  await server.kill("SIGKILL");
  const before = contentsOf(server.dataDir);
  const { code, of } = await doctor(server.dataDir);
  expect(code).toBe(0);
  expect(of("events")[0]?.detail).toContain("pending 1");
  expect(of("server")[0]?.detail).toContain(`process ${server.pid} did not stop in good order`);
  expect(contentsOf(server.dataDir)).toEqual(before);
});

test("for a person it is one line each, with what to do below it, and a sum", async () => {
  const dataDir = await left();
  chmodSync(path.join(dataDir, "triggers.db"), 0o644);
  const { code, stdout } = await runCommand(["doctor"], dataDir);
  expect(code).toBe(0);
  expect(stdout).toMatch(/^ok {7}settings/m);
  expect(stdout).toMatch(/^warning {2}database file .* mode 644.*\n {26}chmod 600 /m);
  expect(stdout).toEndWith("0 problems, 1 warnings\n");
});

describe("settings", () => {
  test("each that stops the start is a problem, and the rest is looked at all the same", async () => {
    const dataDir = await left();
    const env = { PORT: "x", DURABILITY: "maybe", HOST: "0.0.0.0" };
    const { code, of, bad } = await doctor(dataDir, [], env);
    expect(code).toBe(1);
    const said = of("settings").map(({ detail }) => detail.split(" ")[0] ?? "");
    expect(said.sort()).toEqual(["DURABILITY", "HOST", "PORT"]);
    expect(new Set(bad)).toEqual(new Set(["problem settings"]));
    expect(of("events")).toHaveLength(1);
  });

  test("a server that everybody reaches without ADMIN_TOKEN is a problem", async () => {
    const { code, of } = await doctor(path.join(tempDir(), "none"), [], { HOST: "0.0.0.0" });
    expect(code).toBe(1);
    expect(of("settings")[0]?.detail).toContain("ADMIN_TOKEN is not set");
  });

  const open = { HOST: "0.0.0.0", ADMIN_TOKEN: "0123456789abcdef" };
  test.each([
    [{ DURABILITY: "normal" }, ["warning durability"]],
    [{ DISABLE_WEBHOOK_DELIVERY: "true" }, ["warning delivery"]],
    [{ WEBHOOK_ALLOW_PRIVATE: "true" }, []],
    [{ ...open, METRICS_TOKEN: "m" }, []],
    [open, ["warning metrics"]],
    [{ ...open, METRICS_TOKEN: "m", WEBHOOK_ALLOW_PRIVATE: "true" }, ["warning egress"]],
    [{ ...open, METRICS_TOKEN: "m", WEBHOOK_ALLOW_PRIVATE: "10.0.0.0/8" }, []],
    [{ ENCRYPTION_KEY: KEY }, []],
    [{ ENCRYPTION_KEY: `${KEY},${"e3".repeat(32)}` }, ["warning encryption"]],
  ] as [Record<string, string>, string[]][])("%j: %j", async (env, expected) => {
    const { code, bad, told } = await doctor(path.join(tempDir(), "none"), [], env);
    expect({ code, bad }).toEqual({ code: 0, bad: expected });
    expect(told).not.toContain(KEY);
    expect(told).not.toContain("0123456789abcdef");
  });
});

describe("the directory and its disk", () => {
  test("a path that is no directory is a problem", async () => {
    const file = path.join(tempDir(), "file");
    writeFileSync(file, "");
    expect(await doctor(file)).toMatchObject({ code: 1, bad: ["problem data directory"] });
  });

  test("a directory in which this user may not write is a problem", async () => {
    const disk = mountSmallDisk(1);
    if (disk === null) return;
    open.push(disk);
    mkdirSync(path.join(disk.dir, "data"), { mode: 0o700 });
    Bun.spawnSync(["mount", "-o", "remount,ro", disk.dir]);
    for (const name of ["data", "none"])
      expect((await doctor(path.join(disk.dir, name))).bad).toContain("problem data directory");
  });

  test("modes that let others in are warnings", async () => {
    const dataDir = await left();
    chmodSync(dataDir, 0o755);
    chmodSync(path.join(dataDir, "triggers.db"), 0o640);
    const { code, bad } = await doctor(dataDir);
    expect({ code, bad }).toEqual({ code: 0, bad: ["warning data directory", "warning database file"] });
  });

  test("a disk in memory is a warning, one that is nearly full a problem", async () => {
    const disk = mountSmallDisk(4);
    if (disk === null) return;
    open.push(disk);
    const dataDir = path.join(disk.dir, "data");
    mkdirSync(dataDir, { mode: 0o700 });
    const { code, bad, of } = await doctor(dataDir);
    expect({ code, bad }).toEqual({ code: 1, bad: ["problem disk space", "warning file system"] });
    expect(of("file system")[0]?.detail).toContain("tmpfs");
  });

  test("a disk on which a backup does not fit beside the database is a warning", async () => {
    const disk = mountSmallDisk(100);
    if (disk === null) return;
    open.push(disk);
    const dataDir = path.join(disk.dir, "data");
    mkdirSync(dataDir, { mode: 0o700 });
    copyFileSync(path.join(await left(), "triggers.db"), path.join(dataDir, "triggers.db"));
    // Free pages would do it too; zeros behind the last page are none of SQLite's business.
    writeFileSync(path.join(dataDir, "triggers.db"), new Uint8Array(30 << 20), { flag: "a" });
    expect((await doctor(dataDir)).bad).toContain("warning disk space");
  });

  test("a write-ahead log that has grown large is a warning", async () => {
    const dataDir = await left();
    writeFileSync(path.join(dataDir, "triggers.db-wal"), "", { mode: 0o600 });
    truncateSync(path.join(dataDir, "triggers.db-wal"), 300 << 20);
    expect((await doctor(dataDir)).bad).toEqual(["warning write-ahead log"]);
  });

  test("few open files are a warning", async () => {
    const dataDir = await left();
    const shell = `ulimit -n 512 && exec "$@"`;
    const child = Bun.spawnSync(["bash", "-c", shell, "bash", ...PROGRAM, "doctor", "--json"], {
      env: { PATH: process.env.PATH ?? "", DATA_DIR: dataDir },
    });
    const { checks } = JSON.parse(child.stdout.toString()) as { checks: Found[] };
    expect(checks.find(({ check }) => check === "open files")).toMatchObject({
      level: "warning",
      detail: "at most 512",
    });
  });
});

describe("the database", () => {
  const edit = (dataDir: string, work: (db: Database) => void) => {
    const db = new Database(path.join(dataDir, "triggers.db"));
    work(db);
    db.run("PRAGMA wal_checkpoint(TRUNCATE)");
    db.close();
  };

  test("a file that is none, or another program's, is a problem", async () => {
    for (const make of [
      (file: string) => writeFileSync(file, "a letter".repeat(100), { mode: 0o600 }),
      (file: string) => {
        new Database(file, { create: true }).run("CREATE TABLE t (a)");
        chmodSync(file, 0o600);
      },
    ]) {
      const dataDir = tempDir();
      make(path.join(dataDir, "triggers.db"));
      expect(await doctor(dataDir)).toMatchObject({ code: 1, bad: ["problem database"] });
    }
  });

  test("one of a newer version is a problem", async () => {
    const dataDir = await left();
    edit(dataDir, (db) => db.run("PRAGMA user_version = 99"));
    const { code, of } = await doctor(dataDir);
    expect(code).toBe(1);
    expect(of("schema")[0]?.detail).toStartWith("99, and this program knows up to");
  });

  test("pages that are not what they should be are a problem", async () => {
    const dataDir = await left();
    const file = path.join(dataDir, "triggers.db");
    const descriptor = openSync(file, "r+");
    for (let at = 2048 * 10; at < statSync(file).size; at += 2048)
      writeSync(descriptor, Buffer.alloc(100, 0x5a), 0, 100, at);
    closeSync(descriptor);
    const { code, bad, checks } = await doctor(dataDir);
    expect(code).toBe(1);
    expect(bad.every((one) => /^problem (integrity|database)$/.test(one))).toBe(true);
    expect(checks.find(({ level }) => level === "problem")?.advice).toContain("restore a backup");
  });

  test("an index that has other values than its table is found with --full", async () => {
    const dataDir = await left();
    const file = path.join(dataDir, "triggers.db");
    let [page, id] = [0, ""];
    edit(dataDir, (db) => {
      const root = "SELECT rootpage AS n FROM sqlite_schema WHERE name = 'audit_organization'";
      page = db.query<{ n: number }, []>(root).get()?.n ?? 0;
      id = db.query<{ id: string }, []>("SELECT id FROM organizations").get()?.id ?? "";
    });
    const bytes = readFileSync(file);
    const index = bytes.subarray((page - 1) * 2048, page * 2048);
    for (let at = index.indexOf(id); at >= 0; at = index.indexOf(id)) index.write(id.toUpperCase(), at);
    writeFileSync(file, bytes);
    expect((await doctor(dataDir)).code).toBe(0);
    const { code, of } = await doctor(dataDir, ["--full"]);
    expect(code).toBe(1);
    expect(of("integrity")[0]?.detail).toContain("audit_organization");
  });

  test("keys without their organization are a problem", async () => {
    const dataDir = await left();
    edit(dataDir, (db) => db.run("PRAGMA foreign_keys = OFF; DELETE FROM organizations"));
    expect((await doctor(dataDir)).of("integrity")[0]?.detail).toContain("without their parents");
  });

  test("secrets that ENCRYPTION_KEY does not open are a problem, with the right key they are not", async () => {
    const dataDir = await left({ ENCRYPTION_KEY: KEY });
    expect(await doctor(dataDir)).toMatchObject({ code: 1, bad: ["problem secrets"] });
    const wrong = await doctor(dataDir, [], { ENCRYPTION_KEY: "f4".repeat(32) });
    expect(wrong).toMatchObject({ code: 1, bad: ["problem secrets"] });
    expect(await doctor(dataDir, [], { ENCRYPTION_KEY: KEY })).toMatchObject({ code: 0, bad: [] });
  });

  test("an event from the future tells that the clock was set back", async () => {
    const dataDir = await left();
    edit(dataDir, (db) => {
      const seq = firstSeqOfMs(Date.now() + 3_600_000);
      const sql =
        "INSERT INTO events (seq, org, tail, type, payload) VALUES (?, 1, '8000000000000000', 't', '1')";
      db.run(sql, [seq]);
    });
    const { code, bad, of } = await doctor(dataDir);
    expect({ code, bad }).toEqual({ code: 0, bad: ["warning clock"] });
    expect(of("clock")[0]?.detail).toContain("set back");
  });
});

test("a mistake in the command line ends with 2", async () => {
  expect((await runCommand(["doctor", "--ful"], tempDir())).code).toBe(2);
  expect((await runCommand(["doctor", "now"], tempDir())).code).toBe(2);
});
