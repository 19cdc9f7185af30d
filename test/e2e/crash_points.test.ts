// A crash at each point of a delivery: after the commit and before the send, in flight, after the answer and before it
// is recorded, while it is being recorded. Each ends in at-least-once, with the same webhook-id. The process is killed
// there, by holding it at the point: no delivery, a receiver that hangs, the database's own write lock, strace.

import { Database } from "bun:sqlite";
import { afterEach, expect, test } from "bun:test";
import path from "node:path";
import { eventually, eventWithStatus } from "../help/eventually.ts";
import {
  answer,
  type Behavior,
  inTurn,
  type Program,
  type Receiver,
  startReceiver,
} from "../help/receiver.ts";
import { type Organization, TestServer } from "../help/server.ts";

const open: { stop(): unknown }[] = [];
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.stop();
});

async function start(dataDir?: string, env: Record<string, string> = {}): Promise<TestServer> {
  const base = { WEBHOOK_ALLOW_PRIVATE: "true", RETRY_SCHEDULE: "20ms,20ms,20ms" };
  const server = await TestServer.start({ ...(dataDir ? { dataDir } : {}), env: { ...base, ...env } });
  open.push(server);
  return server;
}

function receiver(program: Program): Receiver {
  const started = startReceiver();
  started.on("/", program);
  open.push(started);
  return started;
}

async function accept(organization: Organization, url: string): Promise<string> {
  expect((await organization.api.post("/api/webhook/config", { webhook_url: url })).status).toBe(200);
  const sent = await organization.api.post("/api/events", { type: "order.created", payload: { n: 1 } });
  expect(sent.status).toBe(202);
  return sent.body.id;
}

async function restart(server: TestServer): Promise<TestServer> {
  await server.kill("SIGKILL");
  return start(server.dataDir);
}

/** Holds the one write lock of the database, so that the server can read and send but record nothing. */
function holdWrites(server: TestServer): { release(): void } {
  const db = new Database(path.join(server.dataDir, "triggers.db"));
  db.run("PRAGMA busy_timeout = 5000");
  db.run("BEGIN IMMEDIATE");
  let held = true;
  const release = () => {
    if (held) db.run("ROLLBACK");
    held = false;
    db.close();
  };
  return { release };
}

/** Attempts whose answer the server has read. */
async function answersRead(server: TestServer, status: string): Promise<number> {
  const { text } = await server.api().get("/metrics");
  return Number(new RegExp(`webhook_deliveries_total\\{status="${status}"\\} (\\d+)`).exec(text)?.[1] ?? 0);
}

function idsOf(to: Receiver): (string | null)[] {
  return to.received.map((one) => one.header("webhook-id"));
}

test("killed after the 202 and before the send, the event is sent after the restart", async () => {
  const to = receiver(answer());
  const server = await start(undefined, { DISABLE_WEBHOOK_DELIVERY: "true" });
  const organization = await server.organization();
  const id = await accept(organization, to.url);
  const again = await restart(server);
  const got = await to.next();
  expect(got.header("webhook-id")).toBe(id);
  expect(got.header("x-attempt")).toBe("1");
  await eventWithStatus(again.api(organization.key), id, "delivered");
  expect(idsOf(to)).toEqual([id]);
});

const stages: readonly [string, Behavior][] = [
  ["before it answers", { kind: "hang" }],
  ["within the headers of the answer", { kind: "drip_headers" }],
  ["within the body of the answer", { kind: "drip_body", status: 200 }],
];
for (const [stage, behavior] of stages) {
  test(`killed while the receiver has the request, ${stage}, it is sent again with the same id`, async () => {
    const to = receiver(inTurn(behavior, answer()));
    const server = await start();
    const organization = await server.organization();
    const id = await accept(organization, to.url);
    await to.next();
    const again = await restart(server);
    const got = await to.next();
    expect(got.header("webhook-id")).toBe(id);
    // What was not recorded was not counted.
    expect(got.header("x-attempt")).toBe("1");
    const event = await eventWithStatus(again.api(organization.key), id, "delivered");
    expect(event.attempts).toBe(1);
    expect(idsOf(to)).toEqual([id, id]);
  });
}

for (const [word, first, status] of [
  ["a success", answer(200), "delivered"],
  ["a failure", answer(500), "failed"],
] as const) {
  test(`killed after the answer, ${word}, and before it is recorded, it is sent again with the same id`, async () => {
    let writes: { release(): void } | null = null;
    const server = await start();
    // The lock is taken when the request has arrived, before the answer goes out: the result cannot be recorded.
    const hold = () => {
      writes ??= holdWrites(server);
      return first;
    };
    let asked = 0;
    const to = receiver(() => (asked++ === 0 ? hold() : answer()));
    const organization = await server.organization();
    const id = await accept(organization, to.url);
    await to.next();
    await eventually(
      () => answersRead(server, status),
      (count) => count === 1,
    );
    await server.kill("SIGKILL");
    (writes as { release(): void } | null)?.release();
    const again = await start(server.dataDir);
    const got = await to.next();
    expect(got.header("webhook-id")).toBe(id);
    expect(got.header("x-attempt")).toBe("1");
    await eventWithStatus(again.api(organization.key), id, "delivered");
    expect(idsOf(to)).toEqual([id, id]);
  });
}

const strace = Bun.which("strace");
if (!strace && process.env.CI)
  throw new Error("CI must have strace: killing in the middle of a commit may not be skipped there");

test.skipIf(!strace)(
  "killed in the commit that records the answer, it is recorded or sent again, and never lost",
  async () => {
    const to = receiver(answer());
    const server = await start();
    const organization = await server.organization();
    await organization.api.post("/api/webhook/config", { webhook_url: to.url });
    // The first fsync is the acceptance's; the one that records the delivery hangs, and the process dies in it.
    const inject = "inject=fsync,fdatasync:delay_enter=60000000:when=2+";
    const tracer = Bun.spawn(
      [strace ?? "strace", "-f", "-e", "trace=fsync,fdatasync", "-e", inject, "-p", String(server.pid)],
      { stdin: "ignore", stdout: "ignore", stderr: "pipe" },
    );
    await tracer.stderr.getReader().read(); // it says "attached" once it watches
    const sent = await organization.api.post("/api/events", { type: "t", payload: 1 });
    expect(sent.status).toBe(202);
    const { id } = sent.body;
    await to.next();
    await eventually(
      () => answersRead(server, "delivered"),
      (count) => count === 1,
    );
    // A call that strace holds back ends for no signal: the tracer goes with it.
    const killed = server.kill("SIGKILL");
    tracer.kill("SIGKILL");
    await killed;
    const again = await start(server.dataDir);
    await eventWithStatus(again.api(organization.key), id, "delivered");
    expect(new Set(idsOf(to))).toEqual(new Set([id]));
  },
  60_000,
);
