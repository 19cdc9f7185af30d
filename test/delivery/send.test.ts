// What an attempt puts on the wire, and what it says about every kind of answer. Receivers that misbehave are in
// send_hostile.test.ts, connections in send_connections.test.ts, names and the egress guard in send_egress.test.ts, TLS in
// send_tls.test.ts.
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Webhook } from "standardwebhooks";
import { Webhook as SvixWebhook } from "svix";
import { answer, gzipBomb, type Receiver, raw, redirectTo } from "../help/receiver.ts";
import { attempt, EVENT, endAfterEachTest, KEY, receiver, sender } from "../help/sending.ts";

const OLD_KEY = new Uint8Array(24).fill(8);

endAfterEachTest();

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
  ])(
    "carries the payload's own text and verifies with the official library and with svix (%#)",
    async (data) => {
      const { url, next } = bound(receiver());
      const { status } = await sender().send(attempt(url, { event: { ...EVENT, data } }));
      const { body, header } = await next();
      expect(status).toBe(200);
      expect(body).toEndWith(`,"data":${data}}`);
      expect(Buffer.byteLength(body)).toBe(Number(header("content-length")));
      verify(KEY, body, header);
    },
  );

  test("is signed with every key it is given, as during a secret's overlap", async () => {
    const { url, next } = bound(receiver());
    await sender().send(attempt(url, { secretKeys: [KEY, OLD_KEY] }));
    const { body, header } = await next();
    verify(KEY, body, header);
    verify(OLD_KEY, body, header);
    expect(() => verify(new Uint8Array(32), body, header)).toThrow("No matching signature");
    expect(() => verify(KEY, `${body} `, header)).toThrow("No matching signature");
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

/** A receiver's parts that a test names, with `next` still knowing whose it is. */
function bound(one: Receiver) {
  return { url: one.url, port: one.port, next: () => one.next() };
}

/** As a receiver does, with each of the two libraries that they use; throws when one refuses. */
function verify(key: Uint8Array, body: string, header: (name: string) => string | null): void {
  const names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
  const headers = Object.fromEntries(names.map((name) => [name, header(name) ?? ""]));
  const secret = `whsec_${key.toBase64()}`;
  new Webhook(secret).verify(body, headers);
  new SvixWebhook(secret).verify(body, headers);
}
