// The promise behind 202: what was answered is on disk. Proved by killing, and by watching the system calls.

import { afterEach, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import path from "node:path";
import { eventually } from "../help/eventually.ts";
import { startReceiver } from "../help/receiver.ts";
import { TestServer } from "../help/server.ts";

const open: { stop(): unknown }[] = [];
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.stop();
});

async function start(options: { dataDir?: string; env?: Record<string, string> } = {}): Promise<TestServer> {
  const started = await TestServer.start({
    ...options,
    env: { WEBHOOK_ALLOW_PRIVATE: "true", ...options.env },
  });
  open.push(started);
  return started;
}

/** Posts without pause until the server dies; returns what it answered with 202. */
async function postUntilDeath(
  url: string,
  key: string,
  client: number,
  onAccepted: () => void,
): Promise<string[]> {
  const accepted: string[] = [];
  for (let n = 0; ; n++) {
    try {
      const response = await fetch(`${url}/api/events`, {
        method: "POST",
        headers: { "x-api-key": key, "content-type": "application/json" },
        body: `{"type":"t","dedup_id":"${client}-${n}","payload":{"client":${client},"n":${n}}}`,
      });
      const body = (await response.json()) as { id: string };
      if (response.status !== 202) throw new Error(`unexpected ${response.status}`);
      accepted.push(body.id);
      onAccepted();
    } catch (error) {
      if (error instanceof Error && error.message.startsWith("unexpected")) throw error;
      return accepted;
    }
  }
}

for (const clients of [1, 16, 256]) {
  test(`kill -9 under ${clients} clients loses nothing that was answered, and all of it is delivered`, async () => {
    const receiver = startReceiver();
    open.push(receiver);
    const server = await start();
    const { key, api } = await server.organization();
    await api.post("/api/webhook/config", { webhook_url: receiver.url });
    let answered = 0;
    const killAfter = 300 + Math.floor(Math.random() * 700);
    const clientsDone = Promise.all(
      Array.from({ length: clients }, (_, client) =>
        postUntilDeath(server.url, key, client, () => {
          if (++answered === killAfter) process.kill(server.pid, "SIGKILL");
        }),
      ),
    );
    const accepted = (await clientsDone).flat();
    await server.exited;
    expect(accepted.length).toBeGreaterThanOrEqual(killAfter);
    expect(new Set(accepted).size).toBe(accepted.length);

    const again = await start({ dataDir: server.dataDir });
    const stored = new Set<string>();
    let cursor = "";
    do {
      const { body } = await again.api(key).get(`/api/inbox?limit=1000${cursor}`);
      for (const event of body.events) stored.add(event.id);
      cursor = body.has_more ? `&cursor=${encodeURIComponent(body.next_cursor)}` : "";
    } while (cursor !== "");
    expect(accepted.filter((id) => !stored.has(id))).toEqual([]);
    const undelivered = () => again.api(key).get("/api/inbox?status=undelivered&limit=1");
    await eventually(undelivered, ({ body }) => body.events.length === 0);
    const delivered = new Set(receiver.received.map((one) => one.header("webhook-id")));
    expect(accepted.filter((id) => !delivered.has(id))).toEqual([]);
    for (const id of delivered) expect(stored.has(id ?? "")).toBe(true);
    const repeat = await again.api(key).post("/api/events", { type: "t", dedup_id: "0-0", payload: 1 });
    expect(repeat.status).toBe(409);
    expect(stored.has(repeat.body.event_id)).toBe(true);
  }, 120_000);
}

const strace = Bun.which("strace");
if (!strace && process.env.CI)
  throw new Error("CI must have strace: the fsync test may not be skipped there");

test.skipIf(!strace)(
  "the answer is written after the fsync of the write-ahead log, each time",
  async () => {
    const server = await start({ env: { DISABLE_WEBHOOK_DELIVERY: "true" } });
    const { api } = await server.organization();
    await api.post("/api/events", { type: "t", payload: "warm" });
    const traceFile = path.join(server.dataDir, "trace.txt");
    const calls = "trace=fdatasync,fsync,write,writev,sendto,sendmsg";
    const tracer = Bun.spawn(
      [strace ?? "strace", "-f", "-tt", "-e", calls, "-s", "80", "-o", traceFile, "-p", String(server.pid)],
      { stdin: "ignore", stdout: "ignore", stderr: "pipe" },
    );
    // strace says "attached" once it watches.
    const reader = tracer.stderr.getReader();
    await reader.read();
    await eventually(
      async () => existsSync(traceFile),
      (there) => there,
    );
    const events = 20;
    for (let n = 0; n < events; n++)
      expect((await api.post("/api/events", { type: "t", payload: n })).status).toBe(202);
    tracer.kill("SIGINT");
    await tracer.exited;
    const trace = (await Bun.file(traceFile).text()).split("\n");
    let syncs = 0;
    let answers = 0;
    for (const line of trace) {
      // A call of one thread that another interrupts is "unfinished", then "resumed": its end is what counts.
      if (/f(data)?sync(\(\d+\)| resumed>.*\)) += 0/.test(line)) syncs++;
      if (/HTTP\/1\.1 202/.test(line)) {
        answers++;
        // One client: each event is its own group, so the nth answer has at least n syncs before it.
        expect(syncs).toBeGreaterThanOrEqual(answers);
      }
    }
    expect(answers).toBe(events);
  },
  60_000,
);
