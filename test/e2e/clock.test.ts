// The clock of the machine is set forward or back by a day, while the server runs or while it does not: what waits is
// neither sent all at once nor kept for a day. The clock is moved under the real process by libfaketime.

import { afterEach, expect, test } from "bun:test";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { eventually, eventWithStatus } from "../help/eventually.ts";
import { answer, inTurn, type Receiver, startReceiver } from "../help/receiver.ts";
import { type Organization, TestServer } from "../help/server.ts";
import { tempDir } from "../help/temp.ts";

const library = findLibrary();
if (!library && process.env.CI) throw new Error("CI must have libfaketime: these may not be skipped there");

const open: { stop(): unknown }[] = [];
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.stop();
});

function findLibrary(): string | null {
  const roots = existsSync("/usr/lib")
    ? readdirSync("/usr/lib").map((name) => path.join("/usr/lib", name, "faketime"))
    : [];
  return roots.map((root) => path.join(root, "libfaketimeMT.so.1")).find((file) => existsSync(file)) ?? null;
}

class MovedServer {
  readonly #file = path.join(tempDir(), "offset");
  readonly #env: Record<string, string>;
  server!: TestServer;

  constructor(schedule: string) {
    this.#env = {
      WEBHOOK_ALLOW_PRIVATE: "true",
      RETRY_SCHEDULE: schedule,
      LD_PRELOAD: library ?? "",
      FAKETIME_TIMESTAMP_FILE: this.#file,
      FAKETIME_NO_CACHE: "1",
      // As on a real machine: the monotonic clock is not set with the wall clock.
      FAKETIME_DONT_FAKE_MONOTONIC: "1",
      DONT_FAKE_MONOTONIC: "1",
    };
    this.moveClock("+0");
  }

  /** `-1d`, `+1d`, `+0`: from the machine's own time. */
  moveClock(offset: string): void {
    writeFileSync(this.#file, offset);
  }

  async start(): Promise<TestServer> {
    const dataDir = this.server?.dataDir;
    this.server = await TestServer.start({ ...(dataDir ? { dataDir } : {}), env: this.#env });
    open.push(this.server);
    return this.server;
  }
}

function receiver(program: Parameters<Receiver["on"]>[1]): Receiver {
  const started = startReceiver();
  started.on("/", program);
  open.push(started);
  return started;
}

async function sendTo({ api }: Organization, to: Receiver): Promise<string> {
  await api.post("/api/webhook/config", { webhook_url: to.url });
  const sent = await api.post("/api/events", { type: "t", payload: 1 });
  expect(sent.status).toBe(202);
  return sent.body.id;
}

async function failedOnce(organization: Organization, to: Receiver): Promise<string> {
  const id = await sendTo(organization, to);
  await to.next();
  await eventWithStatus(organization.api, id, "failed");
  return id;
}

test.skipIf(!library)("a clock set forward by a day sends no retry before its time", async () => {
  const moved = new MovedServer("1h");
  const server = await moved.start();
  const failing = receiver(answer(500));
  const [one, other] = [await server.organization(), await server.organization()];
  await failedOnce(one, failing);
  moved.moveClock("+1d");
  // The loop looked at everything that is due when it sent this.
  const healthy = receiver(answer());
  const id = await sendTo(other, healthy);
  const got = await healthy.next();
  await eventWithStatus(other.api, id, "delivered");
  expect(failing.received.length).toBe(1);
  // The signature's time is the wall clock's: receivers compare it with theirs.
  expect(Number(got.header("webhook-timestamp"))).toBeGreaterThan(Date.now() / 1000 + 86_000);
});

test.skipIf(!library)("a clock set back by a day keeps no retry waiting, and new events flow", async () => {
  const moved = new MovedServer("300ms");
  const server = await moved.start();
  const to = receiver(inTurn(answer(500), answer()));
  const organization = await server.organization();
  const id = await failedOnce(organization, to);
  moved.moveClock("-1d");
  expect((await to.next()).header("webhook-id")).toBe(id);
  await eventWithStatus(organization.api, id, "delivered");
  const later = await sendTo(organization, to);
  expect((await to.next()).header("webhook-id")).toBe(later);
  expect(later > id).toBe(true);
});

test.skipIf(!library)(
  "a clock set back by a day while nothing ran keeps neither retries nor first attempts",
  async () => {
    const moved = new MovedServer("1s");
    const server = await moved.start();
    const to = receiver(inTurn(answer(500), answer()));
    const organization = await server.organization();
    const id = await failedOnce(organization, to);
    const disabled = await organization.api.get("/api/webhook/config");
    await organization.api.post(`/api/endpoints/${disabled.body.endpoint_id}/disable`);
    const held = await organization.api.post("/api/events", { type: "t", payload: 2 });
    await server.stop();
    moved.moveClock("-1d");
    const again = await moved.start();
    const api = again.api(organization.key);
    await api.post(`/api/endpoints/${disabled.body.endpoint_id}/enable`);
    // The oldest first.
    expect((await to.next()).header("webhook-id")).toBe(id);
    expect((await to.next()).header("webhook-id")).toBe(held.body.id);
    await eventWithStatus(api, held.body.id, "delivered");
  },
);

test.skipIf(!library)(
  "a retry that waits for an hour still does when the clock went back between runs",
  async () => {
    const moved = new MovedServer("1h");
    const server = await moved.start();
    const to = receiver(inTurn(answer(500), answer()));
    const organization = await server.organization();
    const id = await failedOnce(organization, to);
    await server.stop();
    moved.moveClock("-1d");
    const again = await moved.start();
    const { body } = await again.api(organization.key).get(`/api/events/${id}`);
    const nowMs = Date.now() - 86_400_000;
    const inMinutes = (Date.parse(body.next_attempt_at) - nowMs) / 60_000;
    // An hour, 20 % more or less; not a day and an hour.
    expect(inMinutes).toBeGreaterThan(45);
    expect(inMinutes).toBeLessThan(75);
    expect(to.received.length).toBe(1);
  },
);

test.skipIf(!library)(
  "five days without a success disable an endpoint; enabled again, it gets what was held",
  async () => {
    let healthy = false;
    const moved = new MovedServer(Array(30).fill("1ms").join());
    const server = await moved.start();
    const to = receiver(() => answer(healthy ? 200 : 500));
    const organization = await server.organization();
    const ids = [await failedOnce(organization, to)];
    const endpoint = (await organization.api.get("/api/webhook/config")).body.endpoint_id;
    const told = (api: Organization["api"]) => () => api.get(`/api/endpoints/${endpoint}`);
    await eventually(told(organization.api), ({ body }) => body.consecutive_failures >= 10);
    await server.stop();
    moved.moveClock("+6d");
    const api = (await moved.start()).api(organization.key);
    const disabled = await eventually(told(api), ({ body }) => body.status === "disabled");
    expect(disabled.body.disabled_reason).toBe("failing");
    ids.push((await api.post("/api/events", { type: "t", payload: 2 })).body.id);
    const explained = (await api.get(`/api/events/${ids[1]}/explain`)).body.endpoints[0];
    expect(explained.reason).toBe("endpoint_disabled");
    healthy = true;
    await api.post(`/api/endpoints/${endpoint}/enable`);
    for (const id of ids) await eventWithStatus(api, id, "delivered");
  },
);
