// GET /api/inbox/stream: each event as it is committed, and going on where one was cut off.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Streams } from "../../src/http/streams.ts";
import { Turns } from "../../src/http/turns.ts";
import type { InboxEvent, KeyRecord, StreamPosition } from "../../src/store/store.ts";
import { gaugeIs } from "../help/gauge.ts";
import { type Api, type Organization, TestServer } from "../help/server.ts";
import { StreamReader } from "../help/sse.ts";

let server: TestServer;

beforeAll(async () => {
  server = await TestServer.start();
});
afterAll(async () => {
  await server?.stop();
});

const send = async (api: Api, type = "a", payload: unknown = 1): Promise<string> =>
  (await api.post("/api/events", { type, payload })).body.id;
const follow = ({ key }: Organization, query = "", headers: Record<string, string> = {}) =>
  StreamReader.open(`${server.url}/api/inbox/stream${query}`, { "x-api-key": key, ...headers });
const idsOf = (events: { id: string }[]) => events.map(({ id }) => id);

describe("a stream", () => {
  test("begins now, and tells each event as the inbox does", async () => {
    const acme = await server.organization();
    await send(acme.api);
    const stream = await follow(acme);
    expect(stream.status).toBe(200);
    expect(stream.headers.get("content-type")).toBe("text/event-stream");
    expect(stream.headers.get("cache-control")).toBe("no-store");
    const sent = [await send(acme.api), await send(acme.api, "b", { deep: [1, "ü\u2028"] })];
    const events = await stream.take(2);
    expect(idsOf(events)).toEqual(sent);
    const inbox = (await acme.api.get("/api/inbox?order=asc")).body.events;
    expect(events).toEqual(inbox.slice(1));
    stream.close();
  });

  test("tells what is of its type, and nothing of others", async () => {
    const [acme, other] = [await server.organization(), await server.organization({ name: "Other" })];
    const stream = await follow(acme, "?type=order.*");
    await send(acme.api, "invoice");
    await send(other.api, "order.created");
    const id = await send(acme.api, "order.created");
    expect(idsOf(await stream.take(1))).toEqual([id]);
    stream.close();
  });

  test("keeps a payload's own text, also over several lines", async () => {
    const acme = await server.organization();
    const stream = await follow(acme);
    const payload = '{\n "b": 1.0,\r\n\t"a":\r[9007199254740993,\n\n"x\\ny"]}';
    await acme.api.post("/api/events", `{"type":"a","payload":${payload}}`);
    const { data } = (await stream.next()) ?? { data: "" };
    expect(data).toContain(`"payload":${payload.replace(/\r\n|\r/g, "\n")},"status"`);
    stream.close();
  });

  test("goes on behind the last id, without gap or repeat, by header or by parameter", async () => {
    const acme = await server.organization();
    const stream = await follow(acme);
    const first = [await send(acme.api), await send(acme.api)];
    expect(idsOf(await stream.take(2))).toEqual(first);
    stream.close();
    const missed = [await send(acme.api), await send(acme.api)];
    const resumed = await follow(acme, "", { "last-event-id": stream.lastId });
    const linked = await follow(acme, `?last_event_id=${stream.lastId}`);
    const stale = await follow(acme, `?last_event_id=${stream.lastId}`, { "last-event-id": stream.lastId });
    const next = await send(acme.api);
    for (const one of [resumed, linked, stale]) {
      expect(idsOf(await one.take(3))).toEqual([...missed, next]);
      one.close();
    }
  });

  test("that was cut off before its first event goes on from where it stood", async () => {
    const acme = await server.organization();
    await send(acme.api);
    const stream = await follow(acme, "?type=b");
    const place = await stream.greeting();
    stream.close();
    const sent = [await send(acme.api, "a"), await send(acme.api, "b")];
    const resumed = await follow(acme, "", { "last-event-id": place });
    expect(idsOf(await resumed.take(2))).toEqual(sent);
    resumed.close();
  });

  test("sends a long backlog in its order", async () => {
    const acme = await server.organization();
    const start = await follow(acme);
    const place = await start.greeting();
    start.close();
    const sent: string[] = [];
    for (let batch = 0; batch < 3; batch++) {
      const events = Array.from({ length: 500 }, (_, n) => ({ type: "a", payload: "x".repeat(n * 4) }));
      const { body } = await acme.api.post("/api/events/batch", { events });
      sent.push(...body.results.map((result: { id: string }) => result.id));
    }
    const resumed = await follow(acme, "", { "last-event-id": place });
    expect(idsOf(await resumed.take(1_500))).toEqual(sent);
    resumed.close();
  });

  test("tells events that are published at the same time by many, each once", async () => {
    const acme = await server.organization();
    const streams = await Promise.all(Array.from({ length: 5 }, () => follow(acme)));
    const sent = await Promise.all(Array.from({ length: 200 }, () => send(acme.api)));
    for (const stream of streams) {
      expect(idsOf(await stream.take(200))).toEqual([...sent].sort());
      stream.close();
    }
  });

  test("is forgotten when its client goes away", async () => {
    const quiet = await TestServer.start();
    const org = await quiet.organization();
    const headers = { "x-api-key": org.key };
    const streams = await Promise.all(
      [1, 2, 3].map(() => StreamReader.open(`${quiet.url}/api/inbox/stream`, headers)),
    );
    await gaugeIs(org.api, "open_streams", 3);
    for (const stream of streams) stream.close();
    await gaugeIs(org.api, "open_streams", 0);
    await quiet.stop();
  });

  test("is answered to HEAD without being opened", async () => {
    const acme = await server.organization();
    const { status, headers } = await acme.api.send("HEAD", "/api/inbox/stream");
    expect([status, headers.get("content-type")]).toEqual([200, "text/event-stream"]);
  });

  test("ends with a word when the server stops", async () => {
    const stopping = await TestServer.start();
    const { api, key } = await stopping.organization();
    const stream = await StreamReader.open(`${stopping.url}/api/inbox/stream`, { "x-api-key": key });
    await send(api);
    await stream.take(1);
    const code = stopping.stop();
    expect(await stream.next()).toEqual({ id: null, event: "close", data: '{"reason":"shutdown"}' });
    expect(await stream.next()).toBeNull();
    expect(await code).toBe(0);
  });

  test("refuses a place that is none, another organization's too, and a type that is none", async () => {
    const [acme, other] = [await server.organization(), await server.organization({ name: "Other" })];
    const stream = await follow(other);
    await send(other.api);
    await stream.take(1);
    stream.close();
    for (const id of [stream.lastId, "x", `${stream.lastId}x`]) {
      const header = await acme.api.send("GET", "/api/inbox/stream", { headers: { "last-event-id": id } });
      expect([header.status, header.body.errors[0].pointer]).toEqual([422, "/Last-Event-ID"]);
      const parameter = await acme.api.get(`/api/inbox/stream?last_event_id=${id}`);
      expect([parameter.status, parameter.body.errors[0].pointer]).toEqual([422, "/last_event_id"]);
    }
    expect((await acme.api.get("/api/inbox/stream?type=a%20b")).status).toBe(422);
    expect((await acme.api.get("/api/inbox/stream?since=x")).status).toBe(422);
    expect((await server.api().get("/api/inbox/stream")).status).toBe(401);
  });
});

// Times of the heart in milliseconds, and a store that is a list.
describe("the machine behind", () => {
  class Log {
    readonly events: InboxEvent[] = [];
    reads = 0;
    readonly #listeners = new Set<() => void>();

    onReadable(_org: number, listener: () => void): () => void {
      this.#listeners.add(listener);
      return () => this.#listeners.delete(listener);
    }

    streamEnd(): StreamPosition {
      return { seq: this.events.length, appeared: 0 };
    }

    streamAfter(_org: number, { seq }: StreamPosition, type: string | null, limit: number) {
      this.reads++;
      const found = this.events.slice(seq, seq + limit);
      const events = found
        .map((event, at) => ({ event, position: { seq: seq + at + 1, appeared: 0 } }))
        .filter(({ event }) => type === null || event.type === type);
      const end = seq + found.length;
      return { events, position: { seq: end, appeared: 0 }, more: end < this.events.length };
    }

    keyRecord(keyId: string): KeyRecord | null {
      if (keyId === "deleted") return null;
      const usual = { expiresAtMs: null, scopes: ["consume"], organization: { disabled: false } };
      return { ...usual, ...keys[keyId] } as unknown as KeyRecord;
    }

    get listeners(): number {
      return this.#listeners.size;
    }

    put(type: string, payload = "1"): void {
      const event = { id: String(this.events.length), type, payload, createdAtMs: 0, updatedAtMs: 0 };
      this.events.push({ ...event, nextAttemptAtMs: null } as unknown as InboxEvent);
      for (const listener of [...this.#listeners]) listener();
    }
  }

  const keys: Record<string, object> = {
    expired: { expiresAtMs: 1 },
    other: { scopes: ["publish", "manage"] },
    disabled: { organization: { disabled: true } },
  };
  const open = (streams: Streams, type: string | null = null, org = 1, keyId = "good") => {
    let ended = 0;
    const options = { org, type, after: null, keyId, onEnd: () => void ended++ };
    const reader = streams.open(options).getReader();
    const text = async () => new TextDecoder().decode((await reader.read()).value);
    return { reader, text, ended: () => ended };
  };
  test("sends a comment when nothing comes, with its place when that has moved", async () => {
    const log = new Log();
    const streams = new Streams(log, new Turns(), { heartbeatMs: 5, stuckMs: 60_000 });
    const one = open(streams, "a");
    const greeting = await one.text();
    expect(greeting).toMatch(/^retry: 1000\nid: \S+\n\n$/);
    expect(await one.text()).toBe(": keep-alive\n\n");
    log.put("b");
    expect(await one.text()).toMatch(/^: keep-alive\nid: \S+\n\n$/);
    expect(await one.text()).toBe(": keep-alive\n\n");
    log.put("a");
    expect(await one.text()).toMatch(/^id: \S+\ndata: \{"id":"1"/);
    await one.reader.cancel();
    expect([one.ended(), streams.size, log.listeners]).toEqual([1, 0, 0]);
  });

  test("reads once for all that stand at the same place", async () => {
    const log = new Log();
    const streams = new Streams(log, new Turns());
    const all = Array.from({ length: 500 }, () => open(streams));
    await Promise.all(all.map((one) => one.text()));
    const texts = Promise.all(all.map((one) => one.text()));
    await Promise.resolve();
    const before = log.reads;
    log.put("a");
    expect(new Set(await texts).size).toBe(1);
    expect(log.reads - before).toBe(1);
    expect(log.listeners).toBe(1);
    streams.close();
  });

  test("lets go a client that takes nothing while events wait, and says why", async () => {
    const log = new Log();
    const streams = new Streams(log, new Turns(), { heartbeatMs: 5, stuckMs: 20 });
    const [slow, idle] = [open(streams), open(streams)];
    await slow.text();
    await idle.text();
    const waits = idle.text();
    const first = slow.text();
    log.put("a");
    log.put("a");
    expect(await first).toContain('"id":"0"');
    expect(await waits).toContain('"id":"0"');
    let last = "";
    while (slow.ended() === 0) last = await idle.text();
    expect(last).toBe(": keep-alive\n\n");
    const farewell = await slow.text();
    expect(farewell).toStartWith("event: error\ndata: {");
    expect(JSON.parse(farewell.slice("event: error\ndata: ".length))).toMatchObject({ code: "slow_reader" });
    expect((await slow.reader.read()).done).toBe(true);
    expect([idle.ended(), streams.size]).toEqual([0, 1]);
    streams.close();
  });

  test.each([
    ["deleted", "invalid_api_key"],
    ["expired", "expired_api_key"],
    ["other", "insufficient_scope"],
    ["disabled", "organization_disabled"],
  ])("ends a stream whose key may not read any more: %s", async (keyId, code) => {
    const streams = new Streams(new Log(), new Turns(), { heartbeatMs: 5, stuckMs: 60_000 });
    const [one, other] = [open(streams, null, 1, keyId), open(streams)];
    await one.text();
    await other.text();
    expect(await one.text()).toContain(`"code":"${code}"`);
    expect((await one.reader.read()).done).toBe(true);
    expect(await other.text()).toBe(": keep-alive\n\n");
    expect([one.ended(), streams.size]).toEqual([1, 1]);
    streams.close();
  });

  test("opens 2 000 streams of an organization and 10 000 of all", async () => {
    const log = new Log();
    const streams = new Streams(log, new Turns());
    const readers = Array.from(
      { length: 10_000 },
      (_, n) => open(streams, null, Math.floor(n / 2_000)).reader,
    );
    expect(() => open(streams, null, 0)).toThrow("too_many_streams");
    expect(() => open(streams, null, 9)).toThrow("too_many_streams");
    expect(log.listeners).toBe(5);
    await Promise.all(readers.map((reader) => reader.cancel()));
    expect([streams.size, log.listeners]).toEqual([0, 0]);
  });
});
