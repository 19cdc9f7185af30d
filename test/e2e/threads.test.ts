// A thread that dies takes the process with it, with one line that says which and why, and nothing accepted is lost. The
// defects are made where a user could have them: pages of the database file that are overwritten, rows that are no good.

import { Database } from "bun:sqlite";
import { afterEach, expect, test } from "bun:test";
import { closeSync, openSync, readFileSync, writeFileSync, writeSync } from "node:fs";
import path from "node:path";
import { type Organization, runCommand, TestServer } from "../help/server.ts";

const open: { stop(): unknown }[] = [];
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.stop();
});

async function start(dataDir?: string): Promise<TestServer> {
  const env = { WEBHOOK_ALLOW_PRIVATE: "true" };
  const server = await TestServer.start({ ...(dataDir ? { dataDir } : {}), env });
  open.push(server);
  return server;
}

/** A data directory with one event, after a stop in good order. */
async function prepared(): Promise<{
  dataDir: string;
  organization: Organization;
  id: string;
  file: string;
}> {
  const server = await start();
  const organization = await server.organization();
  const { body } = await organization.api.post("/api/events", { type: "t", payload: 1 });
  expect(await server.stop()).toBe(0);
  const { dataDir } = server;
  return { dataDir, organization, id: body.id, file: path.join(dataDir, "triggers.db") };
}

/** Overwrites the root pages of these tables and indexes; returns how to put them back. */
function corrupt(file: string, ...names: string[]): { mend(): void } {
  const whole = readFileSync(file);
  const db = new Database(file, { readonly: true });
  const { page_size } = db.query("PRAGMA page_size").get() as { page_size: number };
  const roots = db.query("SELECT rootpage FROM sqlite_schema WHERE name IN (SELECT value FROM json_each(?))");
  const pages = (roots.all(JSON.stringify(names)) as { rootpage: number }[]).map((row) => row.rootpage);
  db.close();
  expect(pages).toHaveLength(names.length);
  const fd = openSync(file, "r+");
  for (const page of pages)
    writeSync(fd, new Uint8Array(page_size).fill(0xab), 0, page_size, (page - 1) * page_size);
  closeSync(fd);
  return { mend: () => writeFileSync(file, whole) };
}

/** The one line about it. */
function lastWords(server: TestServer): Record<string, unknown> {
  const lines = server.output.split("\n").filter((line) => line.includes('"level":"error"'));
  expect(lines).toHaveLength(1);
  return JSON.parse(lines[0] ?? "");
}

test("the writer thread meets a corrupt page: the process ends with one line, and the mended file has everything", async () => {
  const { dataDir, organization, id, file } = await prepared();
  const { mend } = corrupt(file, "leased");
  const server = await start(dataDir);
  await server
    .api(organization.key)
    .post("/api/inbox/lease", {})
    .catch(() => null);
  expect(await server.exited).toBe(1);
  expect(lastWords(server)).toMatchObject({
    thread: "writer",
    why: expect.stringContaining("The database file is corrupt (SQLITE_CORRUPT"),
    msg: "a thread died; the process exits so that it is started anew",
  });
  mend();
  const again = await start(dataDir);
  expect((await again.api(organization.key).get(`/api/events/${id}`)).body.payload).toBe(1);
});

test("the delivery thread dies of an endpoint that it cannot read: the process ends with one line", async () => {
  const { dataDir, organization, file } = await prepared();
  const first = await start(dataDir);
  const { api } = { api: first.api(organization.key) };
  expect((await api.post("/api/webhook/config", { webhook_url: "http://127.0.0.1:9/" })).status).toBe(200);
  await first.stop();
  const db = new Database(file);
  db.run(`UPDATE endpoints SET secrets = '{"signing":[{"secret":"none","expires_at":null}],"headers":{}}'`);
  db.close();
  const { code, stdout } = await runCommand(["serve"], dataDir);
  expect(code).toBe(1);
  const [line, ...more] = stdout.split("\n").filter((one) => one.includes('"level":"error"'));
  expect(more).toEqual([]);
  expect(JSON.parse(line ?? "")).toMatchObject({
    thread: "delivery",
    why: "a stored signing secret cannot be read",
  });
});

test("a defect in the main thread that nobody catches ends the process with one line", async () => {
  const { dataDir, file } = await prepared();
  corrupt(file, "replays_running"); // read at the start, for what a restart interrupted
  const { code, stdout } = await runCommand(["serve"], dataDir);
  expect(code).toBe(1);
  const [line, ...more] = stdout.split("\n").filter((one) => one.includes('"level":"error"'));
  expect(more).toEqual([]);
  expect(JSON.parse(line ?? "").msg).toContain("a defect in the main thread");
});

test("a start on a file that is corrupt where it is read first says so in one sentence", async () => {
  const { dataDir, file } = await prepared();
  corrupt(file, "events");
  const { code, stderr } = await runCommand(["serve"], dataDir);
  expect(code).toBe(1);
  expect(stderr).toMatch(
    /^zapier-triggers: The database .*triggers\.db cannot be opened \(SQLITE_CORRUPT.*\)\.\n$/,
  );
});
