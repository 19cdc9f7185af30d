// Answers that are made piece by piece: the same bytes as small ones, nothing left of a client that goes away, and no
// more of them at once than memory has room for.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { connect, type Socket } from "node:net";
import fc from "fast-check";
import { LargeAnswers } from "../../src/http/large_answers.ts";
import { linePieces, pagePieces } from "../../src/http/pieces.ts";
import { Turns } from "../../src/http/turns.ts";
import { gaugeIs } from "../help/gauge.ts";
import { type Api, type Organization, TestServer } from "../help/server.ts";

const PER_ORGANIZATION = 32;
/** So that a page is more than the sockets take of an answer that nobody reads. */
const LARGE_EVENTS = 60;
const LARGE_PAYLOAD = "x".repeat(200_000);

let server: TestServer;

beforeAll(async () => {
  server = await TestServer.start();
});
afterAll(async () => {
  await server?.stop();
});

async function sendAll(api: Api, payloads: readonly unknown[]): Promise<void> {
  for (let from = 0; from < payloads.length; from += 20) {
    const events = payloads.slice(from, from + 20).map((payload) => ({ type: "large", payload }));
    const { status, body } = await api.post("/api/events/batch", { events });
    expect([status, body.accepted]).toEqual([202, events.length]);
  }
}

async function largeOrganization(name: string): Promise<Organization> {
  const made = await server.organization({ name });
  await sendAll(made.api, Array(LARGE_EVENTS).fill(LARGE_PAYLOAD));
  return made;
}

/** Each event's own text, the oldest first, from pages that have just this one. */
async function eventTexts(api: Api): Promise<readonly string[]> {
  const texts: string[] = [];
  for (let cursor = ""; ; ) {
    const { text, body } = await api.get(`/api/inbox?order=asc&limit=1${cursor}`);
    texts.push(text.slice('{"events":['.length, text.lastIndexOf('],"next_cursor":')));
    if (!body.has_more) return texts;
    cursor = `&cursor=${body.next_cursor}`;
  }
}

/** A client that sends the request and reads nothing. */
async function ask(path: string, { key = "", method = "GET" } = {}): Promise<Socket> {
  const { hostname, port } = new URL(server.url);
  const socket = connect(Number(port), hostname);
  socket.pause();
  socket.on("error", () => {});
  await new Promise<void>((resolve) => socket.once("connect", resolve));
  socket.write(`${method} ${path} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: ${key}\r\n\r\n`);
  return socket;
}

describe("a large page", () => {
  test("has the same bytes as small ones, whatever the limits and the sizes", async () => {
    const { api } = await server.organization();
    const sizes = fc.sample(fc.oneof(fc.nat(100), fc.nat(60_000), fc.constant(262_142)), {
      numRuns: 90,
      seed: 7,
    });
    // Characters of one to four bytes: what is cut between pieces must not be cut within one.
    const payloads = sizes.map((size) => "aé€😀".repeat(size / 10).concat("x".repeat(size % 10)));
    await sendAll(api, payloads);
    const texts = await eventTexts(api);
    expect(texts).toHaveLength(payloads.length);
    const limits = fc.integer({ min: 1, max: 100 });
    const asked = fc.asyncProperty(
      limits,
      fc.constantFrom("asc", "desc"),
      fc.boolean(),
      async (limit, order, waits) => {
        const told: string[] = [];
        for (let cursor = ""; ; ) {
          const query = `order=${order}&limit=${limit}${waits ? "&wait=1&type=lar*" : ""}${cursor}`;
          const { status, text, body } = await api.get(`/api/inbox?${query}`);
          expect(status).toBe(200);
          const count = body.events.length;
          const own = (order === "asc" ? texts : texts.toReversed()).slice(told.length, told.length + count);
          const end = JSON.stringify({ next_cursor: body.next_cursor, has_more: body.has_more });
          expect(text === `{"events":[${own.join(",")}],${end.slice(1)}`).toBe(true);
          told.push(...own);
          if (!body.has_more) break;
          expect(count === limit || Buffer.byteLength(text) > 7_000_000).toBe(true);
          cursor = `&cursor=${body.next_cursor}`;
        }
        expect(told).toHaveLength(texts.length);
      },
    );
    await fc.assert(asked, { numRuns: 20 });
  });

  test("of one event, however large, has a Content-Length", async () => {
    const { api } = await server.organization();
    await sendAll(api, ["x".repeat(262_142), "x".repeat(262_142)]);
    const { headers, text } = await api.get("/api/inbox?limit=1");
    expect(headers.get("content-length")).toBe(String(text.length));
  });

  test("HEAD tells its head and makes nothing of it", async () => {
    const { api } = await largeOrganization("Head");
    const head = await api.send("HEAD", "/api/inbox?limit=1000");
    expect([head.status, head.text, head.headers.get("content-type")]).toEqual([200, "", "application/json"]);
    await gaugeIs(server.api(), "large_answers", 0);
  });

  test("of which the client goes away is not made to its end", async () => {
    const { id, key } = await largeOrganization("Gone");
    const paths = [
      "/api/inbox?limit=1000",
      "/api/inbox?limit=1000&wait=1",
      `/api/admin/organizations/${id}/export`,
    ];
    const sockets = await Promise.all(paths.map((path) => ask(path, { key })));
    await gaugeIs(server.api(), "large_answers", paths.length);
    for (const socket of sockets) socket.destroy();
    await gaugeIs(server.api(), "large_answers", 0);
    expect(server.output).not.toMatch(/"level":"error"/);
  });
});

test("what is leased is told as the inbox tells it, and so is what is exported", async () => {
  const { api, id } = await server.organization();
  await sendAll(
    api,
    Array.from({ length: 50 }, (_, n) => ({ n, text: "é".repeat(n * 2_000) })),
  );
  const texts = await eventTexts(api);
  const { body, text } = await api.post("/api/inbox/lease", { max: 1000 });
  const leased = texts.map((one) => `${one.slice(0, -1)},"lease_count":1}`).join(",");
  const head = JSON.stringify({ lease_id: body.lease_id, leased_until: body.leased_until });
  expect(text === `${head.slice(0, -1)},"events":[${leased}]}`).toBe(true);
  const exported = (await server.api().get(`/api/admin/organizations/${id}/export`)).text
    .trimEnd()
    .split("\n");
  const events = exported.map((line) => JSON.parse(line)).filter(({ kind }) => kind === "event");
  expect(events.map((one) => [one.id, one.payload])).toEqual(
    texts.map((one) => JSON.parse(one)).map((one) => [one.id, one.payload]),
  );
});

test("of an organization that takes none of them only so many are open, and then its pages are short", async () => {
  const greedy = await largeOrganization("Greedy");
  const other = await largeOrganization("Other");
  const path = "/api/inbox?limit=1000&order=asc";
  const sockets = await Promise.all(
    Array.from({ length: PER_ORGANIZATION + 8 }, () => ask(path, { key: greedy.key })),
  );
  await gaugeIs(server.api(), "large_answers", PER_ORGANIZATION);
  const texts = await eventTexts(greedy.api);
  const told: string[] = [];
  for (let cursor = ""; ; ) {
    const { headers, body } = await greedy.api.get(`${path}${cursor}`);
    expect(headers.get("content-length")).not.toBeNull();
    expect(body.events.length).toBeWithin(1, LARGE_EVENTS);
    told.push(...body.events.map((event: unknown) => JSON.stringify(event)));
    if (!body.has_more) break;
    cursor = `&cursor=${body.next_cursor}`;
  }
  expect(told).toEqual([...texts]);
  expect((await greedy.api.post("/api/inbox/lease", { max: 1000 })).body.events).toHaveLength(1);
  expect((await other.api.get(path)).body.events.length).toBeGreaterThan(30);
  for (const socket of sockets) socket.destroy();
  await gaugeIs(server.api(), "large_answers", 0);
  expect((await greedy.api.get(path)).body.events.length).toBeGreaterThan(30);
});

test("a stop lets a large answer be read to its end", async () => {
  const own = await TestServer.start();
  const { api, key } = await own.organization();
  await sendAll(api, Array(LARGE_EVENTS).fill(LARGE_PAYLOAD));
  const response = await fetch(`${own.url}/api/inbox?limit=1000`, { headers: { "x-api-key": key } });
  const exited = own.stop();
  const page = (await response.json()) as { events: { payload: string }[] };
  expect(page.events.length).toBeGreaterThan(30);
  expect(page.events.every(({ payload }) => payload === LARGE_PAYLOAD)).toBe(true);
  expect(await exited).toBe(0);
});

describe("pieces", () => {
  const asked = { request: new Request("http://localhost/"), requestId: "r", principal: null };
  const kit = { patiently: <T>(_: Request, run: () => Promise<T>) => run() };

  function answering() {
    const errors: unknown[] = [];
    const large = new LargeAnswers(new Turns(), { error: (...args: unknown[]) => void errors.push(args) });
    const text = async (pieces: Parameters<LargeAnswers["answer"]>[2]) =>
      new Response((await large.answer(kit, asked, pieces)).body).text();
    return { large, errors, text };
  }

  test("are joined to one list, however many rows each has", async () => {
    const bites = fc.array(fc.array(fc.nat()), { minLength: 1 });
    const joined = fc.asyncProperty(bites, fc.boolean(), async (all, hasMore) => {
      const { text } = answering();
      const last = hasMore ? 7 : null;
      const given = all.map((rows, i) => ({
        rows,
        next: i === all.length - 1 ? last : i,
        isLast: i === all.length - 1,
      }));
      const pieces = pagePieces("list", given, String, (key) => `c${key}`);
      const next_cursor = hasMore ? "c7" : null;
      expect(await text(pieces)).toBe(JSON.stringify({ list: all.flat(), next_cursor, has_more: hasMore }));
    });
    await fc.assert(joined);
  });

  test("that fail in the middle break the answer off, and the log hears of it", async () => {
    const { large, errors, text } = answering();
    const failing = () => {
      let left = 5;
      const next = () => {
        if (left-- <= 0) throw new Error("no more");
        return { text: "x".repeat(100_000), isLast: false };
      };
      return { next, cut: null };
    };
    expect(await text(failing()).catch(String)).toContain("broken off");
    expect(errors).toHaveLength(1);
    const background = new Response(large.background(asked, failing()));
    expect(await background.text().catch(String)).toContain("broken off");
    expect(errors).toHaveLength(2);
    expect(large.size).toBe(0);
  });

  test("of lines are the lines", async () => {
    const lines = fc.asyncProperty(fc.array(fc.string({ maxLength: 20 }), { maxLength: 50 }), async (all) => {
      const long = all.map((line) => line.repeat(1_000));
      const { large } = answering();
      const body = large.background(asked, linePieces(long));
      expect(await new Response(body).text()).toBe(long.map((line) => `${line.toWellFormed()}\n`).join(""));
    });
    await fc.assert(lines, { numRuns: 30 });
  });
});
