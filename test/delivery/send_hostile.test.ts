// Receivers that lie, stall, flood or talk nonsense: whatever they do, an attempt ends with a word about it and within its
// deadline, little of what they send is read, and the next delivery to the same host is as if nothing had been.
import { describe, expect, test } from "bun:test";
import type { Socket } from "bun";
import fc from "fast-check";
import type { AttemptErrorKind, AttemptOutcome } from "../../src/webhook/verdict.ts";
import { answer, type Behavior, type Program, raw, refusingUrl, shortBody } from "../help/receiver.ts";
import {
  attempt,
  EVENT,
  endAfterEachTest,
  receiver,
  runScript,
  SEND_MODULE,
  sender,
} from "../help/sending.ts";

const OK = "HTTP/1.1 200 OK\r\n";
const CHUNKED = `${OK}transfer-encoding: chunked\r\n\r\n`;
const LENGTH_2 = "content-length: 2\r\n\r\nok";
const EARLY_HINTS = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n";

/** More than is read of anything. */
const FLOOD_BYTES = 1 << 20;

endAfterEachTest();

type Case = [what: string, behavior: Behavior];
/** It sends these bytes and then nothing, with the connection open: only the sender can end it. */
const silent = (bytes: string) => raw(bytes, false);

describe("a receiver that misbehaves", () => {
  const resets: Case[] = [
    ["resets the connection", { kind: "reset" }],
    ["hangs up without a word", { kind: "hang_up" }],
    ["hangs up within the status line", raw("HTTP/1.1 20")],
    ["hangs up within the headers", raw(`${OK}x-a: `)],
  ];
  test.each(resets)("and %s fails the attempt as connection_reset", async (_what, behavior) => {
    await meet(behavior, { status: null, error: failure("connection_reset"), responseExcerpt: null });
  });

  const broken: [...Case, excerpt: string][] = [
    ["says less than it promised", shortBody, "short"],
    ["breaks off a chunk", raw(`${CHUNKED}5\r\nab`), "ab"],
    ["leaves out the last chunk", raw(`${CHUNKED}3\r\nabc\r\n`), "abc"],
    ["writes a chunk that is none", silent(`${CHUNKED}ZZ\r\n`), ""],
    ["writes a chunk of negative size", silent(`${CHUNKED}-1\r\nabc\r\n`), ""],
    ["writes a chunk of more than 64 bits", silent(`${CHUNKED}${"F".repeat(17)}\r\nabc`), ""],
    ["puts more into a chunk than it said", silent(`${CHUNKED}3\r\nabcdef\r\n0\r\n\r\n`), "abc"],
    ["ends the lines of its chunks badly", silent(`${CHUNKED}3\nabc\n0\n\n`), ""],
    [
      "writes 1 MB of chunk extension",
      silent(`${CHUNKED}2;${"x".repeat(FLOOD_BYTES)}\r\nok\r\n0\r\n\r\n`),
      "",
    ],
    [
      "writes 1 MB of trailer",
      silent(`${CHUNKED}2\r\nok\r\n0\r\nx: ${"x".repeat(FLOOD_BYTES)}\r\n\r\n`),
      "ok",
    ],
  ];
  test.each(broken)(
    "and %s within its body fails the attempt, though its status was 200",
    async (_what, behavior, responseExcerpt) => {
      await meet(behavior, { status: 200, error: failure("connection_reset"), responseExcerpt });
    },
  );

  const nonsense: Case[] = [
    ["speaks another protocol", silent("SSH-2.0-OpenSSH_9.6\r\n")],
    ["speaks HTTP/2", silent("\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x80")],
    ["answers as in HTTP/0.9, with a page and no headers", silent("<html><body>hello</body></html>\n")],
    ["ends its lines with LF alone", silent("HTTP/1.1 200 OK\ncontent-length: 2\n\nok")],
    ["ends its lines with CR alone", silent("HTTP/1.1 200 OK\rcontent-length: 2\r\rok")],
    ["gives a status of two digits", silent(`HTTP/1.1 20 OK\r\n${LENGTH_2}`)],
    ["gives a status of four digits", silent(`HTTP/1.1 2000 OK\r\n${LENGTH_2}`)],
    ["gives two lengths", silent(`${OK}content-length: 1\r\ncontent-length: 2\r\n\r\nab`)],
    ["gives one length twice", silent(`${OK}content-length: 2\r\n${LENGTH_2}`)],
    ["gives a list of lengths", silent(`${OK}content-length: 2, 2\r\n\r\nok`)],
    [
      "gives a length and chunks",
      silent(`${OK}content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`),
    ],
    ["gives a negative length", silent(`${OK}content-length: -1\r\n\r\n`)],
    ["gives a length of more than 64 bits", silent(`${OK}content-length: 18446744073709551618\r\n\r\nok`)],
    ["gives a length that is no number", silent(`${OK}content-length: 0x2\r\n\r\nok`)],
    ["puts a space behind a header's name", silent(`${OK}content-length : 2\r\n\r\nok`)],
    ["puts a NUL into a header", silent(`${OK}x-a: a\0b\r\n${LENGTH_2}`)],
    [
      "gives an interim answer a body",
      silent(`HTTP/1.1 100 Continue\r\ncontent-length: 3\r\n\r\nabc${OK}${LENGTH_2}`),
    ],
    ["switches protocols", silent("HTTP/1.1 101 S\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n")],
    ["writes a header of 1 MB", silent(`${OK}x-a: ${"x".repeat(FLOOD_BYTES)}\r\n${LENGTH_2}`)],
    ["writes 1 MB of headers", silent(`${OK}${"x-a: b\r\n".repeat(FLOOD_BYTES / 8)}${LENGTH_2}`)],
    ["writes a reason of 1 MB", silent(`HTTP/1.1 200 ${"x".repeat(FLOOD_BYTES)}\r\n${LENGTH_2}`)],
    ["writes 1 MB of empty lines", silent(`${"\r\n".repeat(FLOOD_BYTES / 2)}`)],
    ["gives 101 interim answers", silent(`${EARLY_HINTS.repeat(101)}${OK}${LENGTH_2}`)],
  ];
  test.each(nonsense)("and %s fails the attempt as bad_response", async (_what, behavior) => {
    await meet(behavior, { status: null, error: failure("bad_response"), responseExcerpt: null });
  });

  const stalls: [...Case, status: number | null, message: RegExp][] = [
    ["hangs before its answer", { kind: "hang" }, null, /before an answer came/],
    ["drips its headers", { kind: "drip_headers" }, null, /before an answer came/],
    ["drips its body", { kind: "drip_body", status: 200 }, 200, /before the answer was whole/],
    ["stops within its status line", silent("HTTP/1.1 20"), null, /before an answer came/],
    ["stops within its headers", silent(`${OK}x-a: `), null, /before an answer came/],
    ["stops within its body", silent(`${OK}content-length: 9\r\n\r\nab`), 200, /before the answer was whole/],
    ["stops within a chunk", silent(`${CHUNKED}10\r\nab`), 200, /before the answer was whole/],
    ["stops before the last chunk", silent(`${CHUNKED}2\r\nab\r\n`), 200, /before the answer was whole/],
    [
      "promises a chunk of 16 EB",
      silent(`${CHUNKED}${"F".repeat(16)}\r\nab`),
      200,
      /before the answer was whole/,
    ],
    ["gives no length and no end", silent("HTTP/1.0 200 OK\r\n\r\nab"), 200, /before the answer was whole/],
    [
      "only ever says that it goes on",
      silent("HTTP/1.1 102 Processing\r\n\r\n".repeat(50)),
      null,
      /before an answer came/,
    ],
    ["is slower than the deadline", answer(200, { delayMs: 60_000 }), null, /before an answer came/],
  ];
  test.each(stalls)("and %s is given up at the deadline", async (_what, behavior, status, message) => {
    const error = failure("timeout", message);
    await meet(
      behavior,
      { status, error, responseExcerpt: status === null ? null : expect.any(String) },
      100,
    );
  });

  test.each(["unread", "unread_body"] as const)(
    "and leaves a large request unread (%s) is given up at the deadline, and its connection is dropped",
    async (onConnect) => {
      const one = receiver(undefined, { onConnect });
      const event = { ...EVENT, data: JSON.stringify("x".repeat(32 << 20)) };
      const outcome = await sender().send(attempt(one.url, { event, timeoutMs: 300 }));
      expect(outcome).toMatchObject({ status: null, error: failure("timeout"), responseExcerpt: null });
      one.readOn();
      await one.idle();
      expect(one.connectionsSeen).toBe(1);
    },
  );

  test("and refuses connections fails the attempt", async () => {
    const outcome = await sender().send(attempt(refusingUrl()));
    expect(outcome).toMatchObject({
      status: null,
      error: { kind: "connection_refused" },
      responseExcerpt: null,
    });
  });

  test("and resets each connection at once fails the attempt", async () => {
    const one = receiver(undefined, { onConnect: "reset" });
    expect((await sender().send(attempt(one.url))).error?.kind).toBe("connection_reset");
  });

  test("and hangs in the TLS handshake is given up at the deadline, and its connection is dropped", async () => {
    const one = receiver(undefined, { onConnect: "hang" });
    const url = one.url.replace("http:", "https:");
    const outcome = await sender().send(attempt(url, { timeoutMs: 100 }));
    expect(outcome).toMatchObject({
      error: { kind: "timeout", message: expect.stringMatching(/before the request was sent/) },
    });
    await one.idle();
    expect(one.connectionsSeen).toBe(1);
  });

  test("and speaks no TLS where it should fails the attempt", async () => {
    const one = receiver(raw("HTTP/1.1 400 Bad Request\r\n\r\n"));
    const plain = Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      socket: { data: (socket) => void socket.end("HTTP/1.1 400 No\r\n\r\n") },
    });
    const outcome = await sender().send(attempt(`https://127.0.0.1:${plain.port}/`));
    plain.stop(true);
    expect(outcome).toMatchObject({ status: null, error: { kind: "tls_failed" } });
    expect(one.received).toEqual([]);
  });

  test("and answers without reading a large request is told by its answer, and its connection is dropped", async () => {
    const accepted = Promise.withResolvers<Socket>();
    const closed = Promise.withResolvers<void>();
    const early = Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      socket: {
        open(socket) {
          socket.pause();
          socket.write("HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno");
          accepted.resolve(socket);
        },
        data() {},
        close: () => closed.resolve(),
      },
    });
    const data = JSON.stringify("x".repeat(32 << 20));
    const outcome = await sender().send(
      attempt(`http://127.0.0.1:${early.port}/`, { event: { ...EVENT, data } }),
    );
    expect(outcome).toMatchObject({ status: 413, error: null, responseExcerpt: "no" });
    (await accepted.promise).resume(); // only a socket that reads hears of its end
    await closed.promise;
    early.stop(true);
  });

  test("cannot make an attempt throw, hang, or tell what is not so, whatever bytes it writes", async () => {
    let bytes = "";
    const one = receiver(() => raw(bytes));
    const { send, close } = sender();
    const line = fc.constantFrom(
      "HTTP/1.1 200 OK",
      "HTTP/1.1 99 X",
      "HTTP/1.0 500",
      "HTTP/2 200",
      "content-length: 3",
      "content-length: -1",
      "transfer-encoding: chunked",
      "connection: close",
      "upgrade: x",
      "3",
      "abc",
      "0",
      "",
      "\0",
      ": x",
    );
    const texts = fc.oneof(
      fc.array(line, { maxLength: 12 }).map((lines) => lines.join("\r\n")),
      fc.string({ unit: "binary" }),
    );
    await fc.assert(
      fc.asyncProperty(texts, async (text) => {
        bytes = text;
        const outcome = await send(attempt(one.url));
        expect(outcome.status === null).toBe(outcome.responseExcerpt === null);
        expect(outcome.status !== null || outcome.error !== null).toBe(true);
        expect(["undefined", "connection_reset", "bad_response"]).toContain(String(outcome.error?.kind));
      }),
      { numRuns: 300 },
    );
    close();
    await one.idle();
  });
});

describe("a receiver with odd manners", () => {
  const odd: [...Case, status: number, excerpt: string][] = [
    [
      "says Continue to a request that did not ask",
      silent(`HTTP/1.1 100 Continue\r\n\r\n${OK}${LENGTH_2}`),
      200,
      "ok",
    ],
    ["gives early hints, more than once", silent(`${EARLY_HINTS.repeat(5)}${OK}${LENGTH_2}`), 200, "ok"],
    ["gives 100 interim answers", silent(`${EARLY_HINTS.repeat(100)}${OK}${LENGTH_2}`), 200, "ok"],
    ["speaks HTTP/1.0 with a length", silent(`HTTP/1.0 200 OK\r\n${LENGTH_2}`), 200, "ok"],
    ["speaks HTTP/1.0 and ends its answer by hanging up", raw("HTTP/1.0 200 OK\r\n\r\nok"), 200, "ok"],
    ["ends its answer by hanging up", raw(`${OK}\r\nok`), 200, "ok"],
    ["starts with empty lines", silent(`\r\n\r\n${OK}${LENGTH_2}`), 200, "ok"],
    ["gives a body with a status that has none", silent(`HTTP/1.1 204 No Content\r\n${LENGTH_2}`), 204, ""],
    [
      "sends a second answer behind the first",
      silent(`${OK}${LENGTH_2}HTTP/1.1 500 No\r\n${LENGTH_2}`),
      200,
      "ok",
    ],
    ["writes 15 KB of headers", silent(`${OK}x-a: ${"x".repeat(15 << 10)}\r\n${LENGTH_2}`), 200, "ok"],
    ["gives the status 999", silent(`HTTP/1.1 999 Odd\r\n${LENGTH_2}`), 999, "ok"],
    ["gives the status 000", silent(`HTTP/1.1 000 Odd\r\n${LENGTH_2}`), 0, "ok"],
  ];
  test.each(odd)("that %s is told by its status", async (_what, behavior, status, responseExcerpt) => {
    await meet(behavior, { status, error: null, responseExcerpt });
  });
});

describe("a receiver without end", () => {
  const floods: [string, start: string, rest: string, expected: Partial<AttemptOutcome>][] = [
    ["headers", OK, "x-a: b\r\n", { status: null, error: failure("bad_response") }],
    ["one header", `${OK}x-a: `, "x", { status: null, error: failure("bad_response") }],
    ["empty lines", "", "\r\n", { status: null, error: failure("bad_response") }],
    ["interim answers", "", EARLY_HINTS, { status: null, error: failure("bad_response") }],
    ["100 Continue", "", "HTTP/1.1 100 Continue\r\n\r\n", { status: null, error: failure("bad_response") }],
    ["chunk extension", `${CHUNKED}1;`, "x", { status: 200, error: failure("connection_reset") }],
    [
      "trailers",
      `${CHUNKED}1\r\nx\r\n0\r\n`,
      "x-a: b\r\n",
      { status: 200, error: failure("connection_reset") },
    ],
    ["zeros before a chunk's size", CHUNKED, "0", { status: 200, error: null }],
    ["chunks of one byte", CHUNKED, "1\r\nx\r\n", { status: 200, error: null }],
    ["body, called gzip", `${OK}content-encoding: gzip\r\n\r\n`, "\0", { status: 200, error: null }],
    ["whole answers", "", `${OK}${LENGTH_2}`, { status: 200, error: null }],
  ];
  // The deadline is far away: what ends these attempts is how much came.
  test.each(floods)(
    "of %s is not read for long, and its connection is dropped",
    async (_what, start, rest, expected) => {
      await meet({ kind: "endless", start, rest }, expected);
    },
  );

  const limits: [string, string, Partial<AttemptOutcome>][] = [
    [
      "64 KB and a byte of a longer body",
      `${OK}content-length: 99999999\r\n\r\n${"x".repeat(65_537)}`,
      { status: 200, error: null },
    ],
    [
      "64 KB and a byte of a body without length",
      `${OK}\r\n${"x".repeat(65_537)}`,
      { status: 200, error: null },
    ],
    [
      "128 KB and a byte of empty lines and no answer",
      `${"\r\n".repeat(65_536)}\r`,
      { status: null, error: failure("bad_response", /128 KB/) },
    ],
    [
      "128 KB of zeros before a chunk's size",
      `${CHUNKED}${"0".repeat(131_072)}`,
      { status: 200, error: null },
    ],
  ];
  test.each(limits)(
    "is read no further than %s, though it then sends nothing more",
    async (_what, bytes, expected) => {
      await meet(silent(bytes), expected);
    },
  );

  test("within 64 KB of body and 128 KB in all is read on, until the deadline", async () => {
    const unfinished = [`${OK}content-length: 65537\r\n\r\n${"x".repeat(65_536)}`, "\r\n".repeat(65_536)];
    for (const bytes of unfinished) await meet(silent(bytes), { error: failure("timeout") }, 100);
  });

  test("costs no memory that stays, however many attempts are made", async () => {
    const one = receiver();
    const behaviors: Behavior[] = [
      ...floods.map(([, start, rest]): Behavior => ({ kind: "endless", start, rest })),
      silent(`${OK}x-a: ${"x".repeat(FLOOD_BYTES)}\r\n${LENGTH_2}`),
      { kind: "reset" },
      shortBody,
    ];
    for (const [index, behavior] of behaviors.entries()) one.on(`/${index}`, behavior);
    const grownMb = Number(await runScript(growth(one.url, behaviors.length)));
    expect(grownMb).toBeLessThan(32);
  });
});

/**
 * One attempt with a receiver that does this, and one with a healthy path of the same host behind it: the first ends as
 * expected and leaves no connection behind that the second could stumble over.
 */
async function meet(behavior: Program, expected: object, timeoutMs = 30_000): Promise<void> {
  const one = receiver(behavior).on("/healthy", answer(200, { body: "healthy" }));
  const { send } = sender();
  expect(await send(attempt(one.url, { timeoutMs }))).toMatchObject(expected);
  expect(one.received).toHaveLength(1);
  const next = await send(attempt(`${one.url}/healthy`));
  expect(next).toMatchObject({ status: 200, error: null, responseExcerpt: "healthy" });
  expect(one.received).toHaveLength(2);
  await one.idle(1);
}

const failure = (kind: AttemptErrorKind, message = /^[A-Z\d].*\.$/) => ({
  kind,
  message: expect.stringMatching(message),
});

/**
 * Prints by how many MB the process has grown from the third to the last of 12 rounds over all paths. In a process of its
 * own, so that what the receivers hold does not count.
 */
const growth = (url: string, paths: number) => `
  const { createSender } = await import(${JSON.stringify(SEND_MODULE)});
  const sender = createSender({ egress: { allowPrivate: true, allowed: [] }, userAgentVersion: "1" });
  const event = { id: "1", type: "t", timestampMs: 0, data: "1" };
  const attempt = { timeoutMs: 30000, attemptNumber: 1, event, secretKeys: [new Uint8Array(32)] };
  const residentMb = [];
  for (let round = 0; round < 12; round++) {
    for (let path = 0; path < ${paths}; path++) {
      await Promise.all(Array.from({ length: 4 }, () => sender.send({ ...attempt, url: "${url}/" + path })));
    }
    Bun.gc(true);
    residentMb.push(process.memoryUsage().rss / 1e6);
  }
  sender.close();
  console.log(residentMb.at(-1) - residentMb[2]);`;
