// A disk that fails: what is answered, what goes on, and what is there afterwards. (A full one: process.test.ts.) Each
// 202 stays true, whichever call failed, also when the process is killed right after.

import { afterEach, describe, expect, test } from "bun:test";
import { statfsSync, writeFileSync } from "node:fs";
import path from "node:path";
import { PROGRAM } from "../help/command.ts";
import { eventually } from "../help/eventually.ts";
import { canInject, type Faults, inject, injected, smallDisk } from "../help/faults.ts";
import { answer, startReceiver } from "../help/receiver.ts";
import { type Api, type Organization, runCommand, TestServer } from "../help/server.ts";
import { tempDir } from "../help/temp.ts";

const open: { stop(): unknown }[] = [];
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.stop();
});

/** No deliveries unless asked for: then the only fsyncs are those of what a test writes. */
async function start(dataDir?: string, env: Record<string, string> = {}): Promise<TestServer> {
  const options = { DISABLE_WEBHOOK_DELIVERY: "true", ...env };
  const server = await TestServer.start({ ...(dataDir ? { dataDir } : {}), env: options });
  open.push(server);
  return server;
}

async function failing(server: TestServer, what: string, only?: string): Promise<Faults> {
  const faults = await inject(server.pid, what, only);
  open.push(faults);
  return faults;
}

const post = (api: Api, n: unknown) => api.post("/api/events", { type: "t", payload: n });

function batchOf(count: number, payload = "x"): object {
  return { events: Array.from({ length: count }, () => ({ type: "t", payload })) };
}

/** Ids of all events that are stored. */
async function storedIds(api: Api): Promise<Set<string>> {
  const ids = new Set<string>();
  for (let cursor = "", more = true; more; ) {
    const { body } = await api.get(`/api/inbox?limit=1000${cursor}`);
    for (const { id } of body.events) ids.add(id);
    more = body.has_more;
    cursor = `&cursor=${encodeURIComponent(body.next_cursor)}`;
  }
  return ids;
}

/** The use of the key is written by itself, some time after the first call: then nothing else is. */
async function quiet({ api }: Organization): Promise<void> {
  await eventually(
    () => api.get("/api/keys"),
    ({ body }) => body.keys[0].last_used_at !== null,
  );
}

async function afterKill(server: TestServer, { key }: Organization): Promise<Set<string>> {
  await server.kill("SIGKILL");
  const again = await start(server.dataDir);
  return storedIds(again.api(key));
}

async function reasons(server: TestServer): Promise<string> {
  const { body } = await server.api().get("/health/ready");
  const found: { check: string; detail: string }[] = body.reasons ?? [];
  return found.filter(({ check }) => check === "database_writable").map(({ detail }) => detail)[0] ?? "";
}

describe.skipIf(!canInject)("a disk that reports errors", () => {
  for (const nth of [1, 2, 3, 4]) {
    test(`an fsync that fails, the ${nth}. of five, refuses its event, and a kill after that loses no other`, async () => {
      const server = await start();
      const organization = await server.organization();
      await quiet(organization);
      await failing(server, `fsync,fdatasync:error=EIO:when=${nth}`);
      const answers = [];
      for (let n = 1; n <= 5; n++) answers.push(await post(organization.api, n));
      const expected = [1, 2, 3, 4, 5].map((n) => (n === nth ? 503 : 202));
      expect(answers.map(({ status }) => status)).toEqual(expected);
      expect(answers[nth - 1]?.body.code).toBe("storage_unavailable");
      const stored = await afterKill(server, organization);
      const accepted = answers.filter(({ status }) => status === 202).map(({ body }) => body.id);
      expect([...stored].sort()).toEqual(accepted.sort()); // the refused one was written over by the next
    }, 60_000);
  }

  test("what a failed fsync left in the log is written anew by the next commit, at the same place", async () => {
    const server = await start();
    const organization = await server.organization();
    const { api } = organization;
    await quiet(organization);
    const faults = await failing(server, "fsync,fdatasync:error=EIO:when=2");
    for (const status of [202, 503, 202]) expect((await post(api, "same")).status).toBe(status);
    await faults.stop();
    const groups = faults
      .lines()
      .filter((line) => /-wal>/.test(line))
      .join("\n")
      .split(/^.*sync\(.*$/m)
      .map((group) => [...group.matchAll(/, (\d+), (\d+)\) = \1$/gm)].map(([, bytes, at]) => [bytes, at]));
    const [, refused, next] = groups;
    expect(refused?.length).toBeGreaterThan(0);
    expect(next).toEqual(refused ?? []);
  }, 60_000);

  const errors = [
    ["fsync,fdatasync", "EIO", "the disk or its file system reports an error"],
    ["pwrite64", "EIO", "the disk or its file system reports an error"],
    ["pwrite64", "EROFS", "the disk or its file system reports an error"],
    ["pwrite64", "ENOSPC", "there is no space left on the disk"],
  ] as const;
  for (const [call, error, reason] of errors) {
    test(`while ${call} says ${error}, events are refused, reads go on and the reason is told; then it recovers by itself`, async () => {
      const server = await start();
      const { api } = await server.organization();
      const before = await post(api, "before");
      const faults = await failing(server, `${call}:error=${error}`);
      for (let n = 0; n < 3; n++) {
        const refused = await post(api, n);
        expect([refused.status, refused.body.code]).toEqual([503, "storage_unavailable"]);
        expect(refused.headers.get("retry-after")).not.toBeNull();
      }
      expect((await api.get(`/api/events/${before.body.id}`)).body.payload).toBe("before");
      expect((await api.get("/api/inbox")).body.events).toHaveLength(1);
      expect(await reasons(server)).toContain(reason);
      expect((await server.api().get("/health/live")).status).toBe(200);
      expect(server.output).toContain("the database cannot be written");
      await faults.stop();
      // Nobody has sent anything since: being asked is enough.
      expect(await reasons(server)).toBe("");
      expect((await post(api, "after")).status).toBe(202);
      expect(server.output).toContain("the database can be written again");
    }, 60_000);
  }

  test("an fsync that fails behind an unsynced seal ends the process, and the next one has all that was accepted", async () => {
    const server = await start();
    const organization = await server.organization();
    const accepted: string[] = [];
    for (let n = 0; n < 2; n++) {
      const { body } = await organization.api.post("/api/events/batch", batchOf(1_000));
      for (const { id } of body.results) accepted.push(id);
    }
    await failing(server, "fsync,fdatasync:error=EIO:when=1");
    await post(organization.api, "lost its connection").catch(() => null);
    expect(await server.exited).toBe(1);
    expect(server.output).toContain("a thread died");
    expect(server.output).toContain("failed to sync the write-ahead log");
    const again = await start(server.dataDir);
    const stored = await storedIds(again.api(organization.key));
    expect(accepted.filter((id) => !stored.has(id))).toEqual([]);
  }, 60_000);

  test("a disk that takes half a second for an fsync gets one for many events", async () => {
    const server = await start();
    const organization = await server.organization();
    await quiet(organization);
    const faults = await failing(server, "fsync,fdatasync:delay_enter=500000");
    const answers = await Promise.all(Array.from({ length: 100 }, (_, n) => post(organization.api, n)));
    expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 202));
    await faults.stop();
    expect(faults.lines().filter((line) => /sync\(.*= 0/.test(line)).length).toBeLessThan(10);
  }, 60_000);

  test("a checkpoint that fails keeps nobody from writing, and loses nothing", async () => {
    const server = await start();
    const organization = await server.organization();
    const faults = await failing(server, "pwrite64:error=EIO", path.join(server.dataDir, "triggers.db"));
    const accepted: string[] = [];
    const isTried = () => faults.lines().some((line) => line.includes("INJECTED"));
    for (let n = 0; n < 20 && !isTried(); n++) {
      const { status, body } = await organization.api.post(
        "/api/events/batch",
        batchOf(1_000, "x".repeat(500)),
      );
      expect(status).toBe(202);
      for (const { id } of body.results) accepted.push(id);
    }
    expect(isTried()).toBe(true);
    await faults.stop();
    const stored = await afterKill(server, organization);
    expect(accepted.filter((id) => !stored.has(id))).toEqual([]);
  }, 120_000);
});

describe("a start", () => {
  const oneLine = /^zapier-triggers: .*DATA_DIR.*\n$/;

  test("on a full disk says so in one sentence", async () => {
    const disk = smallDisk(1);
    if (disk === null) return;
    open.push(disk);
    const { bavail, bsize } = statfsSync(disk.dir);
    await Bun.write(path.join(disk.dir, "filler"), new Uint8Array(bavail * bsize));
    const { code, stderr } = await runCommand(["serve"], disk.dir);
    expect(code).toBe(1);
    expect(stderr).toMatch(oneLine);
  });

  test("on a read-only file system says so in one sentence", async () => {
    const disk = smallDisk(4);
    if (disk === null) return;
    open.push(disk);
    const server = await start(disk.dir);
    await server.stop();
    disk.remount("ro");
    const { code, stderr } = await runCommand(["serve"], disk.dir);
    expect(code).toBe(1);
    expect(stderr).toMatch(oneLine);
  });

  test.skipIf(!canInject)(
    "whose first fsync fails says so in one sentence",
    async () => {
      const dataDir = tempDir();
      const child = Bun.spawn([...injected("fsync,fdatasync:error=EIO"), ...PROGRAM, "serve"], {
        env: { PATH: process.env.PATH ?? "", DATA_DIR: dataDir, PORT: "0", LOG_FORMAT: "json" },
        ...{ stdin: "ignore", stdout: "pipe", stderr: "pipe" },
      });
      const stderr = await new Response(child.stderr).text();
      expect(await child.exited).toBe(1);
      expect(stderr).toMatch(/^zapier-triggers: .*triggers\.db.*SQLITE_IOERR.*\n$/);
    },
    60_000,
  );
});

test("a stop on a full disk waits for no result that cannot be written; it is sent again after the start", async () => {
  const disk = smallDisk(6);
  if (disk === null) return;
  open.push(disk);
  const filler = path.join(disk.dir, "filler");
  const fill = () => {
    const { bavail, bsize } = statfsSync(disk.dir);
    writeFileSync(filler, new Uint8Array(bavail * bsize));
  };
  let answered = 0;
  const receiver = startReceiver();
  open.push(receiver);
  const filled = Promise.withResolvers<void>();
  receiver.on("/", () => {
    if (answered++ === 0) fill();
    filled.resolve();
    return answer(200);
  });
  const env = { DISABLE_WEBHOOK_DELIVERY: "false", WEBHOOK_ALLOW_PRIVATE: "true" };
  const server = await start(disk.dir, env);
  const { api, key } = await server.organization();
  await api.post("/api/webhook/config", { webhook_url: receiver.url });
  const { body } = await post(api, "x".repeat(1_000));
  await filled.promise;
  await eventually(
    () => post(api, "y".repeat(20_000)),
    ({ status }) => status === 503,
  );
  expect(await server.stop()).toBe(0);
  Bun.spawnSync(["rm", filler]);
  const again = await start(disk.dir, env);
  await eventually(
    () => again.api(key).get(`/api/events/${body.id}`),
    (event) => event.body.status === "delivered",
  );
}, 60_000);
