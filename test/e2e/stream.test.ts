// Streams over a restart: what a reader has at the end is all that was stored, in order, each once.

import { afterEach, expect, test } from "bun:test";
import { TestServer } from "../help/server.ts";
import { StreamReader } from "../help/sse.ts";

const open: TestServer[] = [];
afterEach(async () => {
  for (const one of open.splice(0)) await one.stop();
});

async function start(dataDir?: string): Promise<TestServer> {
  const env = { DISABLE_WEBHOOK_DELIVERY: "true" };
  const started = await TestServer.start(dataDir === undefined ? { env } : { dataDir, env });
  open.push(started);
  return started;
}

const LAST = "the.last";

for (const signal of ["SIGKILL", "SIGTERM"] as const) {
  test(`streams go on over ${signal} without gap or repeat`, async () => {
    let server = await start();
    const { key } = await server.organization();
    let restarted = Promise.withResolvers<void>();
    const restart = async () => {
      const { dataDir } = server;
      await server.kill(signal);
      server = await start(dataDir);
      restarted.resolve();
      restarted = Promise.withResolvers();
    };

    /** Reads to the last event, and connects again each time after so many events, or when it is cut off. */
    const follow = async (first: StreamReader, hopAfter: number): Promise<string[]> => {
      const ids: string[] = [];
      let stream = first;
      for (let read = 0; ; read++) {
        const sent = await stream.next().catch(() => null);
        if (sent?.event === "message") {
          const event = JSON.parse(sent.data) as { id: string; type: string };
          ids.push(event.id);
          if (event.type === LAST) break;
          if ((read + 1) % hopAfter !== 0) continue;
        }
        stream.close();
        stream = await again(stream.lastId);
      }
      stream.close();
      return ids;
    };
    const again = async (lastId: string): Promise<StreamReader> => {
      const back = restarted.promise;
      try {
        const headers = { "x-api-key": key, "last-event-id": lastId };
        return await StreamReader.open(`${server.url}/api/inbox/stream`, headers);
      } catch {
        await back;
        return again(lastId);
      }
    };
    const first = () => StreamReader.open(`${server.url}/api/inbox/stream`, { "x-api-key": key });
    const streams = await Promise.all([first(), first(), first()]);
    for (const stream of streams) await stream.greeting();
    const followers = [50_000, 7, 100].map((hopAfter, at) => follow(streams[at] as StreamReader, hopAfter));

    const accepted: string[] = [];
    const publish = async () => {
      while (accepted.length < 1_500) {
        const back = restarted.promise;
        try {
          const { status, body } = await server.api(key).post("/api/events", { type: "a", payload: 1 });
          if (status === 202) accepted.push(body.id);
          if (accepted.length === 500 || accepted.length === 1_000) await restart();
        } catch {
          await back;
        }
      }
    };
    await Promise.all([publish(), publish(), publish()]);
    await server.api(key).post("/api/events", { type: LAST, payload: 1 });

    const stored: string[] = [];
    for (let query = ""; ; ) {
      const { body } = await server.api(key).get(`/api/inbox?order=asc&limit=1000${query}`);
      stored.push(...body.events.map((event: { id: string }) => event.id));
      if (!body.has_more) break;
      query = `&cursor=${body.next_cursor}`;
    }
    for (const ids of await Promise.all(followers)) expect(ids).toEqual(stored);
    const all = new Set(stored);
    expect(accepted.filter((id) => !all.has(id))).toEqual([]);
  }, 120_000);
}
