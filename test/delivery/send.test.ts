import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { Socket } from "bun";
import fc from "fast-check";
import { Webhook } from "standardwebhooks";
import { type Attempt, createSender, type Lookup, type Sender } from "../../src/delivery/send.ts";
import { type Egress, parseEgress } from "../../src/webhook/guard.ts";
import type { AttemptErrorKind } from "../../src/webhook/verdict.ts";
import {
  answer,
  type Behavior,
  gzipBomb,
  type Program,
  type Receiver,
  type ReceiverOptions,
  raw,
  redirectTo,
  refusingUrl,
  shortBody,
  startReceiver,
} from "../help/receiver.ts";

const KEY = new Uint8Array(32).fill(9);
const OLD_KEY = new Uint8Array(24).fill(8);
const EVENT = {
  id: "0197a1b2-0000-7000-8000-000000000001",
  type: "order.created",
  timestampMs: 0,
  data: "{}",
};
const SEND_MODULE = path.resolve(import.meta.dir, "../../src/delivery/send.ts");

/** What each test started; ended after it, so that no test hears of another. */
const started: { receivers: Receiver[]; senders: Sender[] } = { receivers: [], senders: [] };

afterEach(() => {
  for (const sender of started.senders.splice(0)) sender.close();
  for (const one of started.receivers.splice(0)) one.stop();
});

function receiver(program?: Program, options?: ReceiverOptions): Receiver {
  const one = startReceiver(options);
  if (program !== undefined) one.on("*", program);
  started.receivers.push(one);
  return one;
}

function sender(setting: true | string[] | undefined = true, lookup?: Lookup): Sender {
  const options = { egress: egressOf(setting), userAgentVersion: "1.2.3" };
  const one = createSender(lookup === undefined ? options : { ...options, lookup });
  started.senders.push(one);
  return one;
}

function egressOf(setting: true | string[] | undefined): Egress {
  const parsed = parseEgress(setting);
  if (!parsed.ok) throw new Error(parsed.detail);
  return parsed.egress;
}

/** The long deadline is never reached where an answer comes; a test that expects a timeout gives a short one. */
function attempt(url: string, rest: Partial<Attempt> = {}): Attempt {
  return { url, timeoutMs: 30_000, attemptNumber: 1, event: EVENT, secretKeys: [KEY], ...rest };
}

/** A resolver that answers every name with these addresses, and counts how often it was asked. */
function resolving(...addresses: string[]): Lookup & { asked: string[] } {
  const asked: string[] = [];
  const lookup: Lookup = (hostname, done) => {
    asked.push(hostname);
    done(addresses.map((address) => ({ address, family: address.includes(":") ? 6 : 4 })));
  };
  return Object.assign(lookup, { asked });
}

describe("the request", () => {
  test("is a POST to the URL's path and query, with the contract's headers and nothing that asks for encoding", async () => {
    const { url, next, port } = bound(receiver());
    await sender().send(attempt(`${url}/a/b%20c?x=1&y=%2F#fragment`, { attemptNumber: 4 }));
    const { method, path: target, rawHeaders, header } = await next();
    expect(method).toBe("POST");
    expect(target).toBe("/a/b%20c?x=1&y=%2F");
    expect(Object.fromEntries(rawHeaders.map(([name, value]) => [name.toLowerCase(), value]))).toEqual({
      host: `127.0.0.1:${port}`,
      connection: "keep-alive",
      "content-type": "application/json",
      "content-length": expect.stringMatching(/^\d+$/),
      "accept-encoding": "identity",
      "user-agent": "ZapierTriggers/1.2.3",
      "x-event-id": EVENT.id,
      "x-event-type": EVENT.type,
      "x-attempt": "4",
      "webhook-id": EVENT.id,
      "webhook-timestamp": expect.stringMatching(/^\d{10}$/),
      "webhook-signature": expect.stringMatching(/^v1,[A-Za-z0-9+/]{43}=$/),
    });
    expect(header("Webhook-Id")).toBe(EVENT.id);
  });

  test.each([
    '{"n":9007199254740993,"f":1.0,"e":1e400}',
    '"\\ud800 \\/ é ☃ 🎉"',
    `"${"é☃🎉".repeat(20_000)}"`,
  ])("carries the payload's own text and verifies with the official library (%#)", async (data) => {
    const { url, next } = bound(receiver());
    const { status } = await sender().send(attempt(url, { event: { ...EVENT, data } }));
    const { body, header } = await next();
    expect(status).toBe(200);
    expect(body).toEndWith(`,"data":${data}}`);
    expect(Buffer.byteLength(body)).toBe(Number(header("content-length")));
    verify(KEY, body, header);
  });

  test("is signed with every key it is given, as during a secret's overlap", async () => {
    const { url, next } = bound(receiver());
    await sender().send(attempt(url, { secretKeys: [KEY, OLD_KEY] }));
    const { body, header } = await next();
    verify(KEY, body, header);
    verify(OLD_KEY, body, header);
    expect(() => verify(new Uint8Array(32), body, header)).toThrow("No matching signature");
  });

  test("carries the endpoint's own headers, which cannot replace ours", async () => {
    const { url, next } = bound(receiver());
    const extraHeaders = { Authorization: "Bearer x", "X-Event-Id": "forged", "Content-Length": "1" };
    await sender().send(attempt(url, { extraHeaders }));
    const { header, body } = await next();
    expect(header("authorization")).toBe("Bearer x");
    expect(header("x-event-id")).toBe(EVENT.id);
    expect(header("content-length")).toBe(String(body.length));
  });

  test.each([{ "bad name": "x" }, { "x-a": "line\r\nbreak: 1" }, { "x-a": "snow ☃" }])(
    "is not sent with the header %j, and says why",
    async (extraHeaders: Record<string, string>) => {
      const one = receiver();
      const outcome = await sender().send(attempt(one.url, { extraHeaders }));
      expect(outcome).toMatchObject({ status: null, error: { kind: "invalid_request" } });
      expect(one.received).toEqual([]);
    },
  );
});

describe("an answer", () => {
  test.each([200, 201, 204, 299, 304, 400, 404, 410, 429, 500, 503, 599])(
    "of %d is told by its status",
    async (status) => {
      const one = receiver(answer(status, { body: status === 204 || status === 304 ? "" : "hello" }));
      const outcome = await sender().send(attempt(one.url));
      expect(outcome).toMatchObject({ status, error: null, retryAfter: null });
      expect(outcome.responseExcerpt).toBe(status === 204 || status === 304 ? "" : "hello");
      expect(outcome.durationMs).toBeGreaterThanOrEqual(0);
      expect(outcome.startedAtMs).toBeLessThanOrEqual(Date.now());
    },
  );

  test.each([301, 302, 303, 307, 308])("of %d is not followed", async (status) => {
    const elsewhere = receiver();
    const one = receiver(redirectTo(`${elsewhere.url}/there`, status));
    expect(await sender().send(attempt(one.url))).toMatchObject({ status, error: null });
    expect(one.received).toHaveLength(1);
    expect(elsewhere.connectionsSeen).toBe(0);
  });

  test("has its Retry-After passed on as it came", async () => {
    const one = receiver(answer(503, { headers: { "Retry-After": "Sun, 06 Nov 1994 08:49:37 GMT" } }));
    expect((await sender().send(attempt(one.url))).retryAfter).toBe("Sun, 06 Nov 1994 08:49:37 GMT");
  });

  test.each([200, 500])(
    "with an endless body is told by its status %d, and its connection is dropped",
    async (status) => {
      const one = receiver({ kind: "endless_body", status });
      const outcome = await sender().send(attempt(one.url));
      expect(outcome).toMatchObject({ status, error: null, responseExcerpt: "y".repeat(1024) });
      await one.idle();
    },
  );

  test("of exactly 64 KB is read to its end, and its connection is used again", async () => {
    const one = receiver(answer(200, { body: "x".repeat(65_536) }));
    const { send } = sender();
    for (let turn = 0; turn < 3; turn++) expect(await send(attempt(one.url))).toMatchObject({ status: 200 });
    expect(one.connectionsSeen).toBe(1);
  });

  test("that is a gzip bomb is not unpacked", async () => {
    const one = receiver(gzipBomb());
    const outcome = await sender().send(attempt(one.url));
    expect(outcome).toMatchObject({ status: 200, error: null });
    expect(outcome.responseExcerpt).toStartWith("\u001f\ufffd\b");
    expect(outcome.responseExcerpt?.length).toBeLessThanOrEqual(1024);
  });

  test("is kept to its first 1 KB, without half a character at the cut", async () => {
    const one = receiver(answer(200, { body: `a${"é".repeat(2000)}` }));
    expect((await sender().send(attempt(one.url))).responseExcerpt).toBe(`a${"é".repeat(511)}`);
  });

  test("of any bytes is kept as well-formed text of at most 1 KB", async () => {
    let body: Uint8Array = new Uint8Array();
    const one = receiver(() => answer(200, { body }));
    const { send } = sender();
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 1500, size: "max" }), async (bytes) => {
        body = bytes;
        const { responseExcerpt } = await send(attempt(one.url));
        const whole = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
        expect(responseExcerpt?.isWellFormed()).toBe(true);
        expect(whole.replace(/^\ufeff/, "")).toStartWith(responseExcerpt ?? "none");
        if (bytes.length <= 1024) expect(responseExcerpt).toBe(whole.replace(/^\ufeff/, ""));
      }),
    );
  });

  test("with more bytes than it said is whole, and its connection is not used again", async () => {
    const one = receiver(
      raw("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 500 Smuggled\r\n\r\n", false),
    );
    const { send } = sender();
    for (let turn = 0; turn < 2; turn++) {
      expect(await send(attempt(one.url))).toMatchObject({ status: 200, error: null, responseExcerpt: "ok" });
    }
    expect(one.connectionsSeen).toBe(2);
  });
});

describe("a receiver that misbehaves", () => {
  const faults: [string, Behavior, number | null, AttemptErrorKind][] = [
    ["resets the connection", { kind: "reset" }, null, "connection_reset"],
    ["hangs up without a word", { kind: "hang_up" }, null, "connection_reset"],
    ["hangs up within the headers", raw("HTTP/1.1 200 OK\r\nx-a: "), null, "connection_reset"],
    ["says less than it promised", shortBody, 200, "connection_reset"],
    [
      "breaks off a chunk",
      raw("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab"),
      200,
      "connection_reset",
    ],
    [
      "writes a chunk that is none",
      raw("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\n", false),
      200,
      "connection_reset",
    ],
    ["speaks another protocol", raw("SSH-2.0-OpenSSH_9.6\r\n", false), null, "bad_response"],
    [
      "gives two lengths",
      raw("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", false),
      null,
      "bad_response",
    ],
    [
      "gives a length and chunks",
      raw("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", false),
      null,
      "bad_response",
    ],
    [
      "writes endless headers",
      raw(`HTTP/1.1 200 OK\r\n${"x-a: b\r\n".repeat(100_000)}`, false),
      null,
      "bad_response",
    ],
    [
      "switches protocols",
      raw("HTTP/1.1 101 S\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n", false),
      null,
      "bad_response",
    ],
  ];

  test.each(faults)(
    "and %s fails the attempt, and its connection is dropped",
    async (_what, behavior, status, kind) => {
      const one = receiver(behavior);
      const outcome = await sender().send(attempt(one.url));
      expect(outcome).toMatchObject({
        status,
        error: { kind, message: expect.stringMatching(/^[A-Z].*\.$/) },
      });
      expect(outcome.responseExcerpt === null).toBe(status === null);
      await one.idle();
      expect(one.received).toHaveLength(1);
    },
  );

  const stalls: [string, Behavior, number | null, RegExp][] = [
    ["hangs before its headers", { kind: "hang" }, null, /before an answer came/],
    ["drips its headers", { kind: "drip_headers" }, null, /before an answer came/],
    ["drips its body", { kind: "drip_body", status: 200 }, 200, /before the answer was whole/],
    [
      "stops within its body",
      raw("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab", false),
      200,
      /before the answer was whole/,
    ],
    [
      "only ever says that it goes on",
      raw("HTTP/1.1 102 Processing\r\n\r\n".repeat(50), false),
      null,
      /before an answer came/,
    ],
    ["is slower than the deadline", answer(200, { delayMs: 60_000 }), null, /before an answer came/],
  ];

  test.each(stalls)(
    "and %s is given up at the deadline, and its connection is dropped",
    async (_what, behavior, status, message) => {
      const one = receiver(behavior);
      const outcome = await sender().send(attempt(one.url, { timeoutMs: 100 }));
      expect(outcome).toMatchObject({
        status,
        error: { kind: "timeout", message: expect.stringMatching(message) },
      });
      await one.idle();
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

describe("connections", () => {
  test("are used again, one after the other and as many as are in flight at once", async () => {
    const one = receiver();
    const { send } = sender();
    for (let turn = 0; turn < 20; turn++) await send(attempt(one.url));
    expect(one.connectionsSeen).toBe(1);
    for (let round = 0; round < 5; round++) {
      await Promise.all(Array.from({ length: 8 }, () => send(attempt(one.url))));
    }
    expect(one.connectionsSeen).toBeLessThanOrEqual(8);
    expect(one.received).toHaveLength(60);
  });

  test("are used again after an answer of failure", async () => {
    const one = receiver(answer(500));
    const { send } = sender();
    for (let turn = 0; turn < 5; turn++) await send(attempt(one.url));
    expect(one.connectionsSeen).toBe(1);
  });

  test("that the receiver closes after each answer, without a word, fail no attempt", async () => {
    const one = receiver({ kind: "close_after_answer" });
    const { send } = sender();
    for (let turn = 0; turn < 50; turn++) {
      expect(await send(attempt(one.url))).toMatchObject({ status: 200, error: null });
    }
    expect(one.received.length).toBeGreaterThanOrEqual(50);
  });

  test.each<Behavior>([{ kind: "hang_up" }, { kind: "reset" }])(
    "that were kept and are closed under a request make it go out again, unchanged, on a new one: %j",
    async (fault) => {
      const one = receiver((received) =>
        one.received.length === 2 && received.connection === 1 ? fault : answer(),
      );
      const { send } = sender();
      await send(attempt(one.url));
      expect(await send(attempt(one.url, { attemptNumber: 2 }))).toMatchObject({ status: 200, error: null });
      const [, lost, again] = await one.waitFor(3);
      expect(one.received).toHaveLength(3);
      expect([lost?.connection, again?.connection]).toEqual([1, 2]);
      expect(again?.body).toBe(lost?.body ?? "none");
      for (const name of ["webhook-id", "webhook-signature", "webhook-timestamp", "x-attempt"]) {
        expect(again?.header(name)).toBe(lost?.header(name) ?? "none");
      }
    },
  );

  test("that were kept and all died make a request go out again on a new one, not on the next dead one", async () => {
    const one = receiver(({ connection }) =>
      connection <= 4 && one.received.filter((other) => other.connection === connection).length > 1
        ? { kind: "hang_up" }
        : answer(),
    );
    const { send } = sender();
    await Promise.all(Array.from({ length: 4 }, () => send(attempt(one.url))));
    expect(one.connectionsSeen).toBe(4);
    expect(await send(attempt(one.url))).toMatchObject({ status: 200, error: null });
    expect(one.connectionsSeen).toBe(5);
  });

  test("that are closed under a request make it go out again only once", async () => {
    const one = receiver(() => (one.received.length === 1 ? answer() : { kind: "hang_up" }));
    const { send } = sender();
    await send(attempt(one.url));
    expect((await send(attempt(one.url))).error?.kind).toBe("connection_reset");
    await one.idle();
    expect(one.received).toHaveLength(3);
  });

  test("that break within an answer do not make the request go out again", async () => {
    const one = receiver(() => (one.received.length === 1 ? answer() : raw("HTTP/1.1 2")));
    const { send } = sender();
    await send(attempt(one.url));
    expect((await send(attempt(one.url))).error?.kind).toBe("connection_reset");
    await one.idle();
    expect(one.received).toHaveLength(2);
  });

  test("keep a request that goes out again within its one deadline", async () => {
    const one = receiver(
      () => [answer(), { kind: "hang_up" } as const][one.received.length - 1] ?? { kind: "hang" },
    );
    const { send } = sender();
    await send(attempt(one.url));
    expect((await send(attempt(one.url, { timeoutMs: 100 }))).error?.kind).toBe("timeout");
    await one.idle();
    expect(one.received).toHaveLength(3);
  });

  test("and file descriptors are all given back by 1000 attempts to a receiver that hangs", async () => {
    const one = receiver({ kind: "hang" });
    const { send } = sender();
    await send(attempt(one.url, { timeoutMs: 50 })); // opens what is opened once
    const openBefore = openDescriptors();
    for (let round = 0; round < 10; round++) {
      const outcomes = await Promise.all(
        Array.from({ length: 100 }, () => send(attempt(one.url, { timeoutMs: 50 }))),
      );
      expect(new Set(outcomes.map((outcome) => outcome.error?.kind))).toEqual(
        new Set<AttemptErrorKind>(["timeout"]),
      );
    }
    await one.idle();
    expect(openDescriptors()).toBeLessThanOrEqual(openBefore);
  });

  test("and timers keep no process alive that has nothing else to do", async () => {
    const one = receiver();
    const script = `
      const { createSender } = await import(${JSON.stringify(SEND_MODULE)});
      const sender = createSender({ egress: { allowPrivate: true, allowed: [] }, userAgentVersion: "1" });
      const event = { id: "1", type: "t", timestampMs: 0, data: "1" };
      const attempt = { timeoutMs: 3600000, attemptNumber: 1, event, secretKeys: [new Uint8Array(32)] };
      for (const host of ["127.0.0.1", "localhost"]) {
        console.log((await sender.send({ ...attempt, url: "http://" + host + ":${one.port}/" })).status);
      }`;
    expect(await runScript(script)).toBe("200\n200\n");
  });
});

describe("a closed sender", () => {
  test("ends what is in flight, and what comes later, as cancelled, and drops its connections", async () => {
    const one = receiver();
    one.on("/hang", { kind: "hang" });
    const { send, close } = sender();
    await Promise.all([send(attempt(one.url)), send(attempt(one.url))]);
    const inFlight = [send(attempt(`${one.url}/hang`)), send(attempt(`${one.url}/hang`))];
    await one.waitFor(4);
    close();
    close();
    for (const outcome of [...(await Promise.all(inFlight)), await send(attempt(one.url))]) {
      expect(outcome).toMatchObject({ status: null, error: { kind: "cancelled" } });
    }
    await one.idle();
    expect(one.received).toHaveLength(4);
  });
});

describe("the egress guard", () => {
  test("refuses a literal address before anything is connected, and names the setting that opens it", async () => {
    const one = receiver();
    const outcome = await sender([]).send(attempt(one.url.replace("http:", "https:")));
    expect(outcome).toMatchObject({ status: null, error: { kind: "blocked_address" } });
    expect(outcome.error?.message).toContain("WEBHOOK_ALLOW_PRIVATE");
    expect(one.connectionsSeen).toBe(0);
  });

  test.each(["127.0.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "169.254.169.254"])(
    "refuses a name that resolves to %s, without telling the address",
    async (address) => {
      const one = receiver();
      const lookup = resolving(address);
      const outcome = await sender([], lookup).send(attempt(`https://innocent.test:${one.port}/`));
      expect(outcome.error?.kind).toBe("blocked_address");
      expect(outcome.error?.message).toContain("innocent.test");
      expect(outcome.error?.message).toContain("WEBHOOK_ALLOW_PRIVATE");
      expect(outcome.error?.message).not.toContain(address);
      expect(lookup.asked).toEqual(["innocent.test"]);
      expect(one.connectionsSeen).toBe(0);
    },
  );

  test("lets plain http go to listed networks only, whatever a name resolves to", async () => {
    const outcome = await sender(["127.0.0.0/8"], resolving("8.8.8.8")).send(attempt("http://public.test/"));
    expect(outcome.error).toEqual({
      kind: "blocked_address",
      message: expect.stringContaining("plain http"),
    });
    expect((await sender().send(attempt("http://[::1%25lo]/"))).error?.kind).toBe("invalid_request");
    expect((await sender([]).send(attempt("http://public.test/"))).error?.kind).toBe("blocked_address");
  });

  test("connects to an allowed address of a name and never to its others", async () => {
    const allowed = receiver();
    const other = receiver(undefined, { hostname: "127.0.0.2", port: allowed.port });
    const { send } = sender(["127.0.0.1"], resolving("127.0.0.2", "127.0.0.1", "10.0.0.1"));
    expect((await send(attempt(`http://both.test:${allowed.port}/`))).status).toBe(200);
    expect(allowed.received).toHaveLength(1);
    expect(other.connectionsSeen).toBe(0);
  });

  test("connects to the address it checked: the name is asked once for each connection", async () => {
    const one = receiver({ kind: "close_after_answer" });
    const rebinding = receiver(undefined, { hostname: "127.0.0.2", port: one.port });
    let turn = 0;
    const lookup: Lookup = (_hostname, done) =>
      done([{ address: turn++ === 0 ? "127.0.0.1" : "127.0.0.2", family: 4 }]);
    const { send } = sender(["127.0.0.1"], lookup);
    expect((await send(attempt(`http://rebinding.test:${one.port}/`))).status).toBe(200);
    await one.idle();
    expect((await send(attempt(`http://rebinding.test:${one.port}/`))).error?.kind).toBe("blocked_address");
    expect(turn).toBe(2);
    expect(rebinding.connectionsSeen).toBe(0);
  });
});

describe("a name", () => {
  test("that resolves to nothing fails the attempt", async () => {
    const outcome = await sender(true, resolving()).send(attempt("https://nowhere.test/"));
    expect(outcome.error).toEqual({ kind: "dns_failed", message: expect.stringContaining("nowhere.test") });
  });

  test("that no resolver can know fails the attempt", async () => {
    const outcome = await sender().send(attempt(`https://${"x".repeat(64)}.test/`));
    expect(outcome.error?.kind).toBe("dns_failed");
  });

  test("whose resolver hangs is given up at the deadline, and a late answer connects to nothing", async () => {
    const one = receiver();
    const late: (() => void)[] = [];
    const lookup: Lookup = (_hostname, done) => late.push(() => done([{ address: "127.0.0.1", family: 4 }]));
    const { send } = sender(true, lookup);
    const outcome = await send(attempt(`http://slow.test:${one.port}/`, { timeoutMs: 100 }));
    expect(outcome).toMatchObject({
      error: { kind: "timeout", message: expect.stringMatching(/before the request was sent/) },
    });
    for (const answerLate of late.splice(0)) answerLate();
    const again = send(attempt(`http://slow.test:${one.port}/`));
    for (const answerNow of late.splice(0)) answerNow();
    expect((await again).status).toBe(200);
    expect(one.connectionsSeen).toBe(1);
  });

  test("with addresses that do not answer is tried at its next one", async () => {
    const one = receiver();
    const { send } = sender(true, resolving("127.0.0.3", "127.0.0.1"));
    expect((await send(attempt(`http://two.test:${one.port}/`))).status).toBe(200);
  });
});

const openssl = Bun.which("openssl");
if (openssl === null)
  console.warn("The TLS tests of the sender did not run: there is no openssl here to make certificates.");

describe.if(openssl !== null)("over TLS", () => {
  let directory = "";
  beforeAll(() => {
    directory = mkdtempSync(path.join(tmpdir(), "send-tls-"));
    makeCertificates(directory);
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  function tlsReceiver(program?: Program): Receiver {
    const read = (name: string) => readFileSync(path.join(directory, name), "utf8");
    return receiver(program, { tls: { cert: read("right.pem"), key: read("right.key") } });
  }

  /** In a process of its own, since whom to trust is read from the environment at a process's start. */
  async function outcomesFrom(hosts: string[], port: number, environment: Record<string, string>) {
    const script = `
      const { createSender } = await import(${JSON.stringify(SEND_MODULE)});
      const lookup = (_, done) => done([{ address: "127.0.0.1", family: 4 }]);
      const sender = createSender({ egress: { allowPrivate: true, allowed: [] }, userAgentVersion: "1", lookup });
      const event = { id: "1", type: "t", timestampMs: 0, data: "1" };
      const attempt = { timeoutMs: 30000, attemptNumber: 1, event, secretKeys: [new Uint8Array(32)] };
      const outcomes = [];
      for (const host of ${JSON.stringify(hosts)}) {
        outcomes.push(await sender.send({ ...attempt, url: "https://" + host + ":${port}/" }));
      }
      console.log(JSON.stringify(outcomes));`;
    return JSON.parse(await runScript(script, environment));
  }

  test("a certificate of the right name from a trusted CA is accepted, and its connection is used again", async () => {
    const one = tlsReceiver();
    const trust = { NODE_EXTRA_CA_CERTS: path.join(directory, "ca.pem") };
    const outcomes = await outcomesFrom(["right.test", "right.test", "RIGHT.test"], one.port, trust);
    expect(outcomes).toMatchObject(Array.from({ length: 3 }, () => ({ status: 200, error: null })));
    expect(one.received[0]?.header("host")).toBe(`right.test:${one.port}`);
    expect(one.connectionsSeen).toBe(1);
  });

  test("a certificate of another name is refused, and nothing is sent", async () => {
    const one = tlsReceiver();
    const trust = { NODE_EXTRA_CA_CERTS: path.join(directory, "ca.pem") };
    const outcomes = await outcomesFrom(["wrong.test", "127.0.0.1"], one.port, trust);
    expect(outcomes).toMatchObject(
      Array.from({ length: 2 }, () => ({ status: null, error: { kind: "tls_failed" } })),
    );
    expect(outcomes[0].error.message).toContain("ERR_TLS_CERT_ALTNAME_INVALID");
    expect(one.received).toEqual([]);
  });

  test("a certificate from an unknown CA is refused, also where the environment asks to accept all", async () => {
    const one = tlsReceiver();
    for (const environment of [{}, { NODE_TLS_REJECT_UNAUTHORIZED: "0" }]) {
      const outcomes = await outcomesFrom(["right.test"], one.port, environment);
      expect(outcomes).toMatchObject([{ status: null, error: { kind: "tls_failed" } }]);
    }
    expect(one.received).toEqual([]);
  });

  test("a connection that was kept and is closed under a request makes it go out again", async () => {
    const one = tlsReceiver(() => (one.received.length === 2 ? { kind: "hang_up" } : answer()));
    const trust = { NODE_EXTRA_CA_CERTS: path.join(directory, "ca.pem") };
    const outcomes = await outcomesFrom(["right.test", "right.test"], one.port, trust);
    expect(outcomes).toMatchObject(Array.from({ length: 2 }, () => ({ status: 200, error: null })));
    expect(one.received.map(({ connection }) => connection)).toEqual([1, 1, 2]);
  });

  test("a proxy named in the environment does not get the request, since it would choose the address", async () => {
    const [one, proxy] = [tlsReceiver(), receiver()];
    const environment = {
      NODE_EXTRA_CA_CERTS: path.join(directory, "ca.pem"),
      HTTPS_PROXY: proxy.url,
      HTTP_PROXY: proxy.url,
      ALL_PROXY: proxy.url,
      NODE_USE_ENV_PROXY: "1",
    };
    expect(await outcomesFrom(["right.test"], one.port, environment)).toMatchObject([{ status: 200 }]);
    expect(proxy.connectionsSeen).toBe(0);
  });
});

/** A receiver's parts that a test names, with `next` still knowing whose it is. */
function bound(one: Receiver) {
  return { url: one.url, port: one.port, next: () => one.next() };
}

function verify(key: Uint8Array, body: string, header: (name: string) => string | null): void {
  const names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
  const headers = Object.fromEntries(names.map((name) => [name, header(name) ?? ""]));
  new Webhook(key, { format: "raw" }).verify(body, headers);
}

function openDescriptors(): number {
  return readdirSync("/dev/fd").length;
}

/** Runs a script in a Bun of its own and gives what it printed; fails when it does not end well. */
async function runScript(script: string, environment: Record<string, string> = {}): Promise<string> {
  const file = path.join(mkdtempSync(path.join(tmpdir(), "send-script-")), "script.ts");
  writeFileSync(file, script);
  const child = Bun.spawn([process.execPath, file], {
    env: { PATH: process.env.PATH ?? "", HOME: tmpdir(), ...environment },
    stdout: "pipe",
    stderr: "pipe",
  });
  const [output, errors, exitCode] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  rmSync(path.dirname(file), { recursive: true, force: true });
  if (exitCode !== 0) throw new Error(`exit code ${exitCode}: ${errors}`);
  return output;
}

/** ca.pem, and right.pem with right.key for the name right.test. */
function makeCertificates(directory: string): void {
  const run = (command: string) => {
    const { exitCode, stderr } = Bun.spawnSync([openssl ?? "openssl", ...command.split(" ")], {
      cwd: directory,
    });
    if (exitCode !== 0) throw new Error(`openssl ${command}: ${stderr}`);
  };
  writeFileSync(path.join(directory, "extensions"), "subjectAltName=DNS:right.test");
  const newKey = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
  run(`req -x509 ${newKey} -keyout ca.key -out ca.pem -subj /CN=TestCA -days 2`);
  run(`req ${newKey} -keyout right.key -out right.csr -subj /CN=right.test`);
  run(
    "x509 -req -in right.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out right.pem -days 2 -extfile extensions",
  );
}
