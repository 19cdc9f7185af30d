import { afterEach, expect, test } from "bun:test";
import { Triggers } from "../../src/sdk/client.ts";
import { type Answering, Stub, told } from "../help/stub.ts";

const stubs: Stub[] = [];
afterEach(async () => {
  for (const one of stubs.splice(0)) await one.stop();
});

function start(answering: Answering) {
  const stub = new Stub({ "GET /api/inbox": answering });
  stubs.push(stub);
  return {
    stub,
    triggers: new Triggers<{ "order.created": { order: number } }>({ url: stub.url, key: "k" }),
  };
}

test("the inbox is read page by page, as far as it is asked for", async () => {
  const { stub, triggers } = start(({ query }) => {
    const page = Number(query.get("cursor") ?? 0);
    const events = page === 1 ? [] : [told(`${page}-a`), told(`${page}-b`)];
    const next_cursor = page < 3 ? String(page + 1) : null;
    return Response.json({ events, next_cursor, has_more: page < 3 });
  });
  const filter = {
    status: "undelivered",
    type: "order.*",
    since: new Date(0),
    order: "asc",
    pageSize: 2,
  } as const;
  const ids = (await Array.fromAsync(triggers.inbox(filter))).map(({ id }) => id);
  expect(ids).toEqual(["0-a", "0-b", "2-a", "2-b", "3-a", "3-b"]);
  expect(Object.fromEntries(stub.asked[3]?.query ?? [])).toEqual({
    status: "undelivered",
    type: "order.*",
    since: "1970-01-01T00:00:00.000Z",
    order: "asc",
    limit: "2",
    cursor: "3",
  });
  for await (const event of triggers.inbox()) {
    expect(event.payload.order).toBe(1);
    break;
  }
  expect(stub.asked).toHaveLength(5);
});

test("a payload comes parsed, and as the text that was sent", async () => {
  const payload = '{ "b": 1.0, "a": 9007199254740993, "e": "\\u00e9]}" }';
  const text = JSON.stringify({
    events: [told("a"), told("b", { payload: 0 })],
    next_cursor: null,
    has_more: false,
  });
  const { triggers } = start(() => new Response(text.replace('{"order":1}', payload)));
  const [first, second] = await Array.fromAsync(triggers.inbox());
  expect(first?.payloadText).toBe(payload);
  expect(first).toMatchObject({
    id: "a",
    type: "order.created",
    dedupId: null,
    payload: { b: 1, a: 9007199254740992, e: "é]}" } as never,
    status: "pending",
    createdAt: "2026-11-21T08:30:00.000Z",
    leaseCount: null,
  });
  expect(second?.payloadText).toBe("0");
});

test("another service's answer is no inbox", async () => {
  for (const body of [{}, { events: 1 }, { events: [1] }, []]) {
    const { triggers } = start(() => Response.json(body));
    await expect(Array.fromAsync(triggers.inbox())).rejects.toMatchObject({ code: "not_this_service" });
  }
});
