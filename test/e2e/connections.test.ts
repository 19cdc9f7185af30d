// Many connections: what they cost comes back, and a process that has no file descriptor left for one more goes on,
// lets newcomers have their turn, and blames nobody else for it.

import { afterAll, describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import net from "node:net";
import { descriptorsMax } from "../../src/base/descriptors.ts";
import { eventually, eventWithStatus } from "../help/eventually.ts";
import { startReceiver } from "../help/receiver.ts";
import { TestServer } from "../help/server.ts";

const running: TestServer[] = [];
afterAll(async () => {
  for (const server of running) await server.stop();
});

/** `descriptorsMax`: of the process; without it as many as this machine gives. */
async function start(env: Record<string, string> = {}, descriptorsMax?: number): Promise<TestServer> {
  const through =
    descriptorsMax === undefined ? [] : ["sh", "-c", `ulimit -n ${descriptorsMax}; exec "$@"`, "sh"];
  const server = await TestServer.start({ env, through });
  running.push(server);
  return server;
}

const openFds = ({ pid }: TestServer) => readdirSync(`/proc/${pid}/fd`).length;

/** A connection that asks when it is told to. */
class Client {
  readonly #socket: net.Socket;
  #text = "";
  #isClosed = false;
  #changed: () => void = () => {};

  private constructor(socket: net.Socket) {
    this.#socket = socket;
    socket.on("data", (chunk) => {
      this.#text += chunk.toString("latin1");
      this.#changed();
    });
    socket.on("error", () => {});
    socket.on("close", () => {
      this.#isClosed = true;
      this.#changed();
    });
  }

  /** Resolves when the connection stands; the kernel lets more of them in than the server has accepted. */
  static connect({ url }: TestServer): Promise<Client> {
    const { hostname, port } = new URL(url);
    return new Promise((resolve, reject) => {
      const socket = net.connect({ host: hostname, port: Number(port) });
      socket.once("error", reject);
      socket.once("connect", () => resolve(new Client(socket)));
    });
  }

  /** The answer's text up to what `until` finds; null when the server closed before. */
  ask(path: string, until: RegExp): Promise<string | null> {
    this.#text = "";
    return new Promise((resolve) => {
      this.#changed = () => {
        if (until.test(this.#text)) resolve(this.#text);
        else if (this.#isClosed) resolve(null);
      };
      this.#changed();
      this.#socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
    });
  }

  /** Whether it is answered that the server is well. */
  async isServed(): Promise<boolean> {
    return (await this.ask("/health", /"uptime_seconds":\d+\}/)) !== null;
  }

  close(): void {
    this.#socket.destroy();
  }
}

const connectMany = (server: TestServer, count: number) =>
  Promise.all(Array.from({ length: count }, () => Client.connect(server)));

/** A thousand, where this process may have so many itself. */
const MANY = Math.min(1_000, Math.floor(descriptorsMax() / 2));

test("a thousand connections that stay open keep no newcomer out, and leave nothing when they close", async () => {
  const server = await start();
  await server.api().get("/health");
  const before = openFds(server);
  const clients = await connectMany(server, MANY);
  expect(await Promise.all(clients.map((client) => client.isServed()))).toEqual(Array(MANY).fill(true));
  expect(openFds(server)).toBeGreaterThanOrEqual(before + MANY);
  const newcomer = await Client.connect(server);
  expect(await newcomer.isServed()).toBe(true);
  for (const client of [...clients, newcomer]) client.close();
  // Its own answer's connection, and what the runtime opens once.
  await eventually(
    async () => openFds(server),
    (fds) => fds <= before + 10,
  );
  expect((await server.api().get("/health")).status).toBe(200);
});

describe("without a file descriptor for one more connection", () => {
  const LIMIT = 128;

  test("everybody is served in turn: whoever has been answered makes room", async () => {
    const server = await start({}, LIMIT);
    const clients = await connectMany(server, LIMIT * 3);
    expect(await Promise.all(clients.map((client) => client.isServed()))).toEqual(
      Array(LIMIT * 3).fill(true),
    );
    for (const client of clients) client.close();
    await eventually(
      async () => openFds(server),
      (fds) => fds < LIMIT / 2,
    );
  });

  test("a delivery waits and is no failure of its endpoint, and /metrics tells what is wrong", async () => {
    const server = await start({ WEBHOOK_ALLOW_PRIVATE: "true", RETRY_SCHEDULE: "1h" }, LIMIT);
    const receiver = startReceiver();
    const { api } = await server.organization();
    const { endpoint_id } = (await api.post("/api/webhook/config", { webhook_url: receiver.url })).body;
    const asking = await Client.connect(server);
    expect(await asking.isServed()).toBe(true);
    const deliver_at = new Date(Date.now() + 5_000).toISOString();
    const { id } = (await api.post("/api/events", { type: "a", payload: 1, deliver_at })).body;
    // Silent ones, which take no turns; the server lets go of them after some seconds.
    const silent = await connectMany(server, LIMIT * 2);
    const isFull = () =>
      eventually(
        async () => openFds(server),
        (fds) => fds === LIMIT,
      );
    await isFull();
    expect(await asking.ask("/metrics", /^process_max_fds \d+$/m)).toContain(`process_max_fds ${LIMIT}\n`);
    await eventually(
      async () => server.output,
      (text) => text.includes("no file descriptor is free"),
    );
    for (const client of silent) client.close();
    const delivered = await eventWithStatus(api, id, "delivered");
    expect(delivered.attempts).toBe(1);
    const endpoint = (await api.get(`/api/endpoints/${endpoint_id}`)).body;
    expect([endpoint.consecutive_failures, endpoint.failing_since]).toEqual([0, null]);
    receiver.stop();
  });
});
