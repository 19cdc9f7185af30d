// POST /api/events/batch: one answer for each event, and no bad one spoils the rest.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { type Answer, type Api, type Organization, TestServer } from "../help/server.ts";

let server: TestServer;
let acme: Organization;

beforeAll(async () => {
  server = await TestServer.start();
  acme = await server.organization();
});
afterAll(async () => {
  await server?.stop();
});

const sendAll = (api: Api, events: unknown): Promise<Answer> => api.post("/api/events/batch", { events });
const inboxIds = async (api: Api): Promise<string[]> =>
  (await api.get("/api/inbox?order=asc&limit=1000")).body.events.map((event: { id: string }) => event.id);

describe("a batch", () => {
  test("is stored in its order, and each event has its own id", async () => {
    const { api } = await server.organization();
    const events = Array.from({ length: 1_000 }, (_, n) => ({ type: "order.created", payload: { n } }));
    const { status, body } = await sendAll(api, events);
    expect([status, body.accepted, body.duplicates, body.rejected]).toEqual([202, 1_000, 0, 0]);
    const ids = body.results.map((result: { id: string }) => result.id);
    expect(new Set(ids).size).toBe(1_000);
    expect(body.results.every((result: { status: string }) => result.status === "accepted")).toBe(true);
    expect(await inboxIds(api)).toEqual(ids);
  });

  test("takes what is good and says of the rest what is wrong with it", async () => {
    const { api } = await server.organization();
    const large = "x".repeat(262_143);
    const { status, body } = await sendAll(api, [
      { type: "a", payload: 1 },
      { type: "a b", payload: 1 },
      { type: "a" },
      { type: "a", payload: large },
      { type: "a", payload: 1, priority: 1 },
      { type: "a", payload: 1, dedup_id: "" },
      { type: "a", payload: 1, deliver_at: "tomorrow" },
      7,
      null,
      [],
      { type: "z", payload: null },
    ]);
    expect(status).toBe(202);
    expect([body.accepted, body.duplicates, body.rejected]).toEqual([2, 0, 9]);
    const told = body.results.map(({ status, code }: { status: string; code?: string }) => code ?? status);
    expect(told).toEqual([
      "accepted",
      "validation_failed",
      "validation_failed",
      "payload_too_large",
      ...Array.from({ length: 6 }, () => "validation_failed"),
      "accepted",
    ]);
    for (const [at, place] of [
      [1, "/type"],
      [2, "/payload"],
      [4, "/priority"],
      [5, "/dedup_id"],
      [6, "/deliver_at"],
    ] as const) {
      expect(body.results[at]).toEqual({
        status: "rejected",
        code: "validation_failed",
        detail: expect.stringContaining(place),
      });
    }
    expect(await inboxIds(api)).toEqual([body.results[0].id, body.results[10].id]);
  });

  test("of bad events alone is answered in the same way, and stores nothing", async () => {
    const { api } = await server.organization();
    const { status, body } = await sendAll(api, [1, 2]);
    expect([status, body.accepted, body.rejected]).toEqual([202, 0, 2]);
    expect(await inboxIds(api)).toEqual([]);
  });

  test("finds duplicates of earlier events and within itself, and names the first", async () => {
    const { api } = await server.organization();
    const before = (await api.post("/api/events", { type: "a", payload: 0, dedup_id: "one" })).body.id;
    const events = [
      { type: "a", payload: 1, dedup_id: "one" },
      { type: "a", payload: 2, dedup_id: "two" },
      { type: "a", payload: 3 },
      { type: "a", payload: 4, dedup_id: "two" },
    ];
    const { body } = await sendAll(api, events);
    expect([body.accepted, body.duplicates, body.rejected]).toEqual([2, 2, 0]);
    const duplicate = (id: string) => ({
      status: "duplicate",
      id,
      code: "duplicate_event",
      detail: expect.any(String),
    });
    expect(body.results[0]).toEqual(duplicate(before));
    expect(body.results[3]).toEqual(duplicate(body.results[1].id));
    const again = await sendAll(api, events);
    expect([again.body.accepted, again.body.duplicates]).toEqual([1, 3]);
  });

  test("keeps each payload as it was written", async () => {
    const { api } = await server.organization();
    const payloads = [
      "9007199254740993",
      "1.0",
      "1e400",
      '{"b" :\n 1, "a":2,"b":3}',
      '"\\u00e9]},"',
      "[ 1 ,2]",
      "null",
    ];
    const items = payloads.map((payload) => `{ "payload" : ${payload} , "type":"a"}`);
    await api.post("/api/events/batch", ` {"events":[${items.join(" ,\t")}] } `);
    const { text } = await api.get("/api/inbox?order=asc");
    for (const payload of payloads) expect(text).toContain(`"payload":${payload},`);
  });

  test("has for each event the answer that the event would have had alone", async () => {
    const [batched, single] = [await server.organization(), await server.organization()];
    const event = fc.oneof(
      fc.record(
        { type: fc.constantFrom("a", "a.b", "ä", ""), payload: fc.jsonValue() },
        { requiredKeys: [] },
      ),
      fc.record({
        type: fc.constant("a"),
        payload: fc.constant(1),
        dedup_id: fc.constantFrom("x", "y", "z", ""),
      }),
      fc.jsonValue(),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(event, { minLength: 1, maxLength: 5 }), async (events) => {
        const { body } = await sendAll(batched.api, events);
        for (const [at, one] of events.entries()) {
          const alone = await single.api.post("/api/events", JSON.stringify(one));
          expect(body.results[at].code).toBe(alone.body.code);
          expect(body.results[at].status).toBe(
            alone.status === 202 ? "accepted" : alone.status === 409 ? "duplicate" : "rejected",
          );
        }
      }),
      { numRuns: 60 },
    );
  });

  test.each([
    [{}, "/events"],
    [{ events: [] }, "/events"],
    [{ events: "x" }, "/events"],
    [{ events: Array.from({ length: 1_001 }, () => ({ type: "a", payload: 1 })) }, "/events"],
    [{ events: [{ type: "a", payload: 1 }], all: true }, "/all"],
    [[{ type: "a", payload: 1 }], ""],
  ] as const)("is refused as a whole when it is none (%#)", async (body, pointer) => {
    const refused = await acme.api.post("/api/events/batch", body);
    expect([refused.status, refused.body.errors[0].pointer]).toEqual([422, pointer]);
    expect(refused.headers.get("x-ratelimit-limit")).toBe("100000");
  });

  test("is refused with one Idempotency-Key for all", async () => {
    const body = { events: [{ type: "a", payload: 1 }] };
    const refused = await acme.api.post("/api/events/batch", body, { "idempotency-key": "x" });
    expect([refused.status, refused.body.code]).toEqual([422, "validation_failed"]);
  });

  test("of more than 8 MiB is refused, announced or not", async () => {
    const limit = 8 * 1024 * 1024;
    const { api } = await server.organization();
    const items = Array.from({ length: 33 }, () => `{"type":"a","payload":"${"x".repeat(250_000)}"}`).join(
      ",",
    );
    const rest = limit - `{"events":[${items}]}`.length;
    const exact = `{"events":[${items}]${" ".repeat(rest)}}`;
    expect((await api.post("/api/events/batch", exact)).body.accepted).toBe(33);
    const chunked = new ReadableStream({
      start(controller) {
        controller.enqueue(new TextEncoder().encode(`${exact} `));
        controller.close();
      },
    });
    for (const body of [`${exact} `, chunked]) {
      const headers = { "content-type": "application/json" };
      const refused = await api.send("POST", "/api/events/batch", { body, headers });
      expect([refused.status, refused.body.code]).toEqual([413, "body_too_large"]);
      expect(refused.body.limit_bytes).toBe(limit);
    }
  });

  test("needs the scope publish", async () => {
    const { body } = await acme.api.post("/api/keys", { scopes: ["consume"] });
    const refused = await server.api(body.api_key).post("/api/events/batch", { events: [1] });
    expect([refused.status, refused.body.required_scope]).toEqual([403, "publish"]);
  });
});

describe("the rate limit", () => {
  const items = (count: number) => Array.from({ length: count }, () => ({ type: "a", payload: 1 }));

  test("counts each well-formed event of a batch, and refuses the whole batch when they do not all fit", async () => {
    const { api } = await server.organization({ tier: "free" });
    const first = await sendAll(api, [...items(60), 1, 2, 3]);
    expect([first.status, first.headers.get("x-ratelimit-remaining")]).toEqual([202, "40"]);
    const refused = await sendAll(api, items(41));
    expect([refused.status, refused.body.code]).toEqual([429, "rate_limited"]);
    expect(refused.body).toMatchObject({ limit: 100, fits_now: 40 });
    expect(refused.body.detail).toContain("40 of the 41");
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
    expect(await inboxIds(api)).toHaveLength(60);
    expect((await sendAll(api, items(40))).status).toBe(202);
  });

  test("says of a batch that is larger than a minute's limit that it never fits", async () => {
    const { api } = await server.organization({ tier: "free" });
    const refused = await sendAll(api, items(101));
    expect([refused.status, refused.body.fits_now]).toEqual([429, 100]);
    expect(refused.body.detail).toContain("can never fit");
    expect(await inboxIds(api)).toEqual([]);
  });
});
