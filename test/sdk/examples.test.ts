// Each file of examples/ does with the real server what its first lines say.

import { afterAll, beforeAll, expect, test } from "bun:test";
import path from "node:path";
import { newSigningSecret } from "../../src/webhook/secret.ts";
import { readOutput } from "../help/command.ts";
import { type Organization, TestServer } from "../help/server.ts";
import { withTempDir } from "../help/temp.ts";

const EXAMPLES = path.join(import.meta.dir, "../../examples");
const run = new Set<string>();
let server: TestServer;
beforeAll(async () => {
  server = await TestServer.start({ env: { WEBHOOK_ALLOW_PRIVATE: "true" } });
});
afterAll(() => server?.stop());

/** An organization, and examples that have its key. */
async function begin() {
  const acme = await server.organization();
  const start = (name: string, args: string[] = [], more: Record<string, string> = {}) => {
    run.add(name);
    const own = { ZAPIER_TRIGGERS_URL: server.url, ZAPIER_TRIGGERS_KEY: acme.key };
    const child = Bun.spawn([process.execPath, path.join(EXAMPLES, name), ...args], {
      env: { PATH: process.env.PATH ?? "", ...own, ...more },
      stdout: "pipe",
      stderr: "pipe",
    });
    const [stdout, stderr] = [readOutput(child.stdout), readOutput(child.stderr)];
    const ended = async () => {
      await Promise.all([stdout.ended, stderr.ended]);
      return { code: await child.exited, stdout: stdout.text, stderr: stderr.text };
    };
    return { child, stdout, stderr, ended };
  };
  return { acme, start };
}

const post = async ({ api }: Organization, type: string, payload: string): Promise<string> =>
  (await api.post("/api/events", `{"type":"${type}","payload":${payload}}`)).body.id;
const statuses = async ({ api }: Organization): Promise<string[]> =>
  (await api.get("/api/inbox?order=asc")).body.events.map((event: { status: string }) => event.status);

test("send.ts sends an event, and a second time finds it there", async () => {
  const { acme, start } = await begin();
  const first = await start("send.ts").ended();
  expect({ code: first.code, stderr: first.stderr }).toEqual({ code: 0, stderr: "" });
  const [event] = (await acme.api.get("/api/inbox")).body.events;
  expect(first.stdout).toBe(`accepted: ${event.id}\n`);
  expect(event).toMatchObject({ type: "order.created", payload: { order: 1042, total: 129.9 } });
  expect((await start("send.ts").ended()).stdout).toBe(`duplicate: ${event.id}\n`);
});

test("import.ts sends a file, tells of a bad line, and a second time sends what is missing", () =>
  withTempDir(async (dir) => {
    const { acme, start } = await begin();
    const file = path.join(dir, "orders.ndjson");
    await Bun.write(file, '{"n":1.0}\n{"n":2}\noops\n');
    expect(await start("import.ts", [file]).ended()).toEqual({
      code: 1,
      stdout: '{"accepted":2,"duplicate":0,"rejected":1}\n',
      stderr: "orders-3: the payload is not JSON\n",
    });
    await Bun.write(file, '{"n":1.0}\n{"n":2}\n{"n":3}\n');
    expect(await start("import.ts", [file]).ended()).toEqual({
      code: 0,
      stdout: '{"accepted":1,"duplicate":2,"rejected":0}\n',
      stderr: "",
    });
    const { text } = await acme.api.get("/api/inbox?order=asc");
    expect([...text.matchAll(/"payload":(\{.*?\})/g)].map(([, payload]) => payload)).toEqual([
      '{"n":1.0}',
      '{"n":2}',
      '{"n":3}',
    ]);
  }));

test("inbox.ts prints what nobody has dealt with, the oldest first, and acknowledges it", async () => {
  const { acme, start } = await begin();
  await acme.api.post("/api/ack", { event_ids: [await post(acme, "old", "0")] });
  for (const n of [1, 2]) await post(acme, "order.created", `{"n":${n}.0}`);
  const { code, stdout, stderr } = await start("inbox.ts").ended();
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(stdout).toMatch(/^\S+Z order\.created \{"n":1\.0\}\n\S+Z order\.created \{"n":2\.0\}\n$/);
  expect(await statuses(acme)).toEqual(["delivered", "delivered", "delivered"]);
});

test("worker.ts handles what is there and what comes, tries again what failed, and stops in good order", async () => {
  const { acme, start } = await begin();
  const there = await post(acme, "order.created", "1");
  const worker = start("worker.ts");
  await worker.stdout.shows(`done: order.created ${there} 1\n`);
  const broken = await post(acme, "order.broken", "2");
  await worker.stderr.shows(`${broken}: Error: not at the first time\n`);
  await worker.stdout.shows(`done: order.broken ${broken} 2\n`);
  worker.child.kill("SIGTERM");
  const { code, stdout } = await worker.ended();
  expect(code).toBe(0);
  expect(stdout).toEndWith('{"done":2,"failed":1,"returned":0}\n');
  expect(await statuses(acme)).toEqual(["delivered", "delivered"]);
});

test("stream.ts begins with the last hour, follows, and goes on behind an earlier run", async () => {
  const { acme, start } = await begin();
  await post(acme, "t", '"before"');
  const stream = start("stream.ts");
  expect(await stream.stdout.lines(1)).toEqual(['- t "before"']);
  await post(acme, "t", '"new"');
  const [, line = ""] = await stream.stdout.lines(2);
  expect(line).toEndWith(' t "new"');
  await post(acme, "t", '"newer"');
  const later = start("stream.ts", [line.split(" ")[0] ?? ""]);
  expect(await later.stdout.lines(1)).toEqual([expect.stringContaining(' t "newer"')]);
  for (const one of [stream, later]) {
    one.child.kill("SIGINT");
    expect(await one.ended()).toMatchObject({ code: 0, stderr: "" });
  }
});

test("receiver.ts takes what the server sends, and nothing else", async () => {
  const { acme, start } = await begin();
  const signing_secret = newSigningSecret();
  const receiver = start("receiver.ts", [], { SIGNING_SECRET: signing_secret, PORT: "0" });
  const [line = ""] = await receiver.stdout.lines(1);
  const url = line.replace("listening on ", "");
  expect((await acme.api.post("/api/endpoints", { url, signing_secret })).status).toBe(201);
  const id = await post(acme, "t", "1.0");
  expect((await receiver.stdout.lines(2))[1]).toBe(`t ${id} 1.0`);
  const forged = await fetch(url, { method: "POST", body: "{}" });
  expect({ status: forged.status, said: await forged.text() }).toEqual({
    status: 400,
    said: "The header webhook-id is missing.",
  });
  await receiver.stderr.shows("refused: missing_header\n");
  receiver.child.kill();
  await receiver.ended();
});

test("a missing secret or key is told in words", async () => {
  const { start } = await begin();
  for (const [name, said] of [
    ["receiver.ts", "SIGNING_SECRET is missing"],
    ["send.ts", "the key is missing"],
  ] as const) {
    const { code, stderr } = await start(name, [], { ZAPIER_TRIGGERS_KEY: "" }).ended();
    expect(code).toBe(1);
    expect(stderr).toContain(said);
  }
});

test("there is no example that is not run here", async () => {
  const files = await Array.fromAsync(new Bun.Glob("*").scan(EXAMPLES));
  expect(files.toSorted()).toEqual([...run].toSorted());
});
