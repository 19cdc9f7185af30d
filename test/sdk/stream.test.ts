// Following over connections that break: before, between, and in the middle of events.

import { afterEach, describe, expect, test } from "bun:test";
import { Triggers } from "../../src/sdk/client.ts";
import type { TriggersError } from "../../src/sdk/error.ts";
import type { StreamOptions } from "../../src/sdk/stream.ts";
import { inTurn, type Program, type Receiver, raw, refusingUrl, startReceiver } from "../help/receiver.ts";
import { told } from "../help/stub.ts";

const receivers: Receiver[] = [];
afterEach(() => {
  for (const one of receivers.splice(0)) one.stop();
});

const PATH = "/api/inbox/stream";
const HEAD = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ndate: Sat, 21 Nov 2026 08:30:00 GMT\r\n";
/** Quick, for a reconnection waits this long first. */
const START = "retry: 1\nid: p0\n\n";
const event = (n: number, more: object = {}) => `id: p${n}\ndata: ${JSON.stringify(told(`e${n}`, more))}\n\n`;
/** A body that ends with its connection, or stays open. */
const body = (text: string, thenEnd = true) => raw(`${HEAD}\r\n${text}`, thenEnd);
/** A body in chunks, of which the last does not come. */
const openChunk = (text: string) =>
  raw(`${HEAD}transfer-encoding: chunked\r\n\r\n${text.length.toString(16)}\r\n${text}\r\n1000\r\n`, false);

function start(program: Program, inbox?: Program) {
  const receiver = startReceiver().on(PATH, program);
  if (inbox) receiver.on("/api/inbox", inbox);
  receivers.push(receiver);
  const stop = new AbortController();
  const breaks: TriggersError[] = [];
  const triggers = new Triggers({ url: receiver.url, key: "k", retriesMax: 0 });
  const stream = (options: StreamOptions = {}) =>
    triggers.stream({ signal: stop.signal, onReconnect: (error) => breaks.push(error), ...options });
  /** Ids of the events, until there are so many. */
  const ids = async (count: number, options?: StreamOptions) => {
    const seen: string[] = [];
    for await (const { id } of stream(options)) {
      seen.push(id);
      if (seen.length === count) stop.abort();
    }
    return seen;
  };
  const asked = () =>
    receiver.received.filter(({ path }) => path.startsWith(PATH)).map((one) => one.header("last-event-id"));
  return { receiver, stop, breaks, stream, ids, asked };
}

test("events come with their place in the stream, and of the type that was asked for", async () => {
  const { receiver, stream } = start(body(`${START}: hello\n\n${event(1)}${event(2)}`, false));
  for await (const one of stream({ type: "order.*" })) {
    expect(one).toMatchObject({
      id: "e1",
      streamId: "p1",
      type: "order.created",
      payloadText: '{"order":1}',
    });
    break;
  }
  expect(receiver.received[0]?.path).toBe(`${PATH}?type=order.*`);
  expect(receiver.received[0]?.header("x-api-key")).toBe("k");
  await receiver.idle();
});

describe("a connection that breaks is made again behind the last whole event:", () => {
  const half = event(3).slice(0, 30);
  test.each([
    ["at the end of an event", body(START + event(1) + event(2))],
    ["in the middle of an event", body(START + event(1) + event(2) + half)],
    ["in the middle of an event's id", body(`${START}${event(1)}${event(2)}id: p`)],
    ["before an event's empty line", body(START + event(1) + event(2) + event(3).slice(0, -1))],
    ["with a farewell", body(`${START}${event(1)}${event(2)}event: close\ndata: {"reason":"shutdown"}\n\n`)],
  ])("%s", async (_name, first) => {
    const { ids, asked } = start(inTurn(first, body(event(3) + event(4), false)));
    expect(await ids(4)).toEqual(["e1", "e2", "e3", "e4"]);
    expect(asked()).toEqual([null, "p2"]);
  });

  test("within a chunk", async () => {
    const { receiver, stop, stream, asked } = start(
      inTurn(openChunk(START + event(1) + event(2) + half), body(event(3) + event(4), false)),
    );
    const seen: string[] = [];
    for await (const { id } of stream()) {
      seen.push(id);
      // Only now: a runtime may drop what was not read when a connection fails.
      if (id === "e2") receiver.hangUp();
      if (id === "e4") stop.abort();
    }
    expect(seen).toEqual(["e1", "e2", "e3", "e4"]);
    expect(asked()).toEqual([null, "p2"]);
  });

  test("with no event yet, behind the place where the stream began", async () => {
    const { ids, asked } = start(inTurn(body(START), body(event(1), false)));
    expect(await ids(1)).toEqual(["e1"]);
    expect(asked()).toEqual([null, "p0"]);
  });

  test("also when the server is busy or gone meanwhile", async () => {
    const { ids, asked, breaks } = start(
      inTurn(
        body(START + event(1)),
        { kind: "reset" },
        raw("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nretry-after: 0\r\n\r\n"),
        body(""),
        body(event(2), false),
      ),
    );
    expect(await ids(2)).toEqual(["e1", "e2"]);
    expect(asked()).toEqual([null, "p1", "p1", "p1", "p1"]);
    expect(breaks.map(({ status }) => status)).toEqual([0, 0, 503, 0]);
  });

  test("when it has fallen silent", async () => {
    const { ids, asked, breaks } = start(inTurn(body(START + event(1), false), body(event(2), false)));
    expect(await ids(2, { silenceMaxSeconds: 0.2 })).toEqual(["e1", "e2"]);
    expect(asked()).toEqual([null, "p1"]);
    expect(breaks).toMatchObject([{ code: "timeout" }]);
  });

  test("for a reader that was too slow", async () => {
    const slow = `event: error\ndata: {"status":408,"code":"slow_reader","detail":"Read on."}\n\n`;
    const { ids, asked } = start(inTurn(body(START + event(1) + slow), body(event(2), false)));
    expect(await ids(2)).toEqual(["e1", "e2"]);
    expect(asked()).toEqual([null, "p1"]);
  });
});

test("a stream goes on behind the place of an earlier one", async () => {
  const { ids, asked } = start(body(event(8), false));
  expect(await ids(1, { after: "p7" })).toEqual(["e8"]);
  expect(asked()).toEqual(["p7"]);
});

describe("since a time", () => {
  const page = (events: object[], next: string | null = null) => {
    const text = JSON.stringify({ events, next_cursor: next, has_more: next !== null });
    return raw(`HTTP/1.1 200 OK\r\ncontent-length: ${text.length}\r\n\r\n${text}`, false);
  };

  test("the inbox comes first, and what is in both comes once", async () => {
    const before = { updated_at: "2026-11-21T08:00:00.000Z" };
    const during = { updated_at: "2026-11-21T08:30:01.000Z" };
    const { ids, receiver } = start(
      body(START + event(3, during) + event(4, during) + event(1, during), false),
      inTurn(page([told("e1", before), told("e2", before)], "c"), page([told("e3", during)])),
    );
    // e1 is on the stream again long after it was first seen: that is the server's word, and not hidden.
    expect(await ids(5, { since: "2026-11-21T07:00:00Z" })).toEqual(["e1", "e2", "e3", "e4", "e1"]);
    expect(receiver.received[0]?.path).toBe(PATH);
    expect(receiver.received[1]?.path).toContain("since=2026-11-21T07%3A00%3A00Z&order=asc&limit=1000");
  });
});

describe("a stream ends", () => {
  test("quietly by its signal, wherever it is", async () => {
    const silent = start(body(START, false));
    const ended = silent.ids(1);
    await silent.receiver.waitFor(1);
    silent.stop.abort();
    expect(await ended).toEqual([]);

    const connecting = start({ kind: "hang" });
    const never = connecting.ids(1);
    await connecting.receiver.waitFor(1);
    connecting.stop.abort();
    expect(await never).toEqual([]);

    const paused = start(inTurn(body("retry: 60000\nid: p0\n\n"), body("", false)));
    expect(await paused.ids(1, { onReconnect: () => paused.stop.abort() })).toEqual([]);
  });

  test("when the server takes the key away, after what it sent before", async () => {
    const gone = `event: error\ndata: {"status":401,"code":"invalid_api_key","detail":"Gone."}\n\n`;
    const { stream, receiver } = start(body(START + event(1) + gone, false));
    const seen: string[] = [];
    const following = (async () => {
      for await (const { id } of stream()) seen.push(id);
    })();
    expect(await following.catch((error) => error)).toMatchObject({
      status: 401,
      code: "invalid_api_key",
      detail: "Gone.",
    });
    expect(seen).toEqual(["e1"]);
    await receiver.idle();
  });

  test("when its first connection does not come about, or breaks before it is known where it stands", async () => {
    const broken = start(body(": hello\n\n"));
    await expect(broken.stream().next()).rejects.toMatchObject({ status: 0, code: "unreachable" });
    const triggers = new Triggers({ url: refusingUrl(), key: "k" });
    await expect(triggers.stream().next()).rejects.toMatchObject({ status: 0, code: "unreachable" });
    const { stream } = start(raw("HTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\n{}"));
    await expect(stream().next()).rejects.toMatchObject({ status: 403 });
  });
});
