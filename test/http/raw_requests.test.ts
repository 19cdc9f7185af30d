// Requests that no library would send, byte by byte. Of each: what it is answered, that nothing of it is stored unless
// it was whole, and that the server lives and serves the next client. That one request cannot be made to look like two
// (or two like one) is what matters most: a proxy in front would be deceived.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { eventually } from "../help/eventually.ts";
import { drip, sendAndReset, talk } from "../help/raw_socket.ts";
import { type Organization, TestServer } from "../help/server.ts";

let server: TestServer;
let acme: Organization;
beforeAll(async () => {
  server = await TestServer.start();
  acme = await server.organization();
});
afterAll(async () => {
  await server?.stop();
});

let events = 0;
/** A whole event; `marker` is in its type. */
function newEvent(): { body: string; marker: string } {
  const marker = `raw.n${++events}`;
  return { marker, body: JSON.stringify({ type: marker, payload: "é".repeat(3) }) };
}

/** A POST of an event with these header lines, and this body. */
function post(lines: string, body: string, version = "HTTP/1.1"): string {
  const head = `POST /api/events ${version}\r\nHost: localhost\r\nX-API-Key: ${acme.key}\r\n`;
  return `${head}Content-Type: application/json\r\n${lines}\r\n${body}`;
}

const bytesOf = (text: string) => Buffer.byteLength(text, "latin1");
const withLength = (body: string) => post(`Content-Length: ${bytesOf(body)}\r\n`, body);
const chunked = (...chunks: string[]) =>
  post(
    "Transfer-Encoding: chunked\r\n",
    chunks.map((one) => `${bytesOf(one).toString(16)}\r\n${one}\r\n`).join(""),
  );
const get = (path: string, lines = "Host: localhost\r\n") => `GET ${path} HTTP/1.1\r\n${lines}\r\n`;
const lastHealth = get("/health", "Host: localhost\r\nConnection: close\r\n");

/** The payload is UTF-8 on the wire, and the rest of the bytes are written one by one. */
const utf8 = (text: string) => Buffer.from(text).toString("latin1");

async function storedOf(marker: string): Promise<number> {
  return (await acme.api.get(`/api/inbox?type=${marker}`)).body.events.length;
}

async function servesOthers(): Promise<void> {
  expect((await server.api().get("/health")).status).toBe(200);
}

describe("a whole request", () => {
  test("is taken with a Content-Length, in chunks, in pieces of a byte, and under HTTP/1.0", async () => {
    const lengths = newEvent();
    const pieces = newEvent();
    const chunks = newEvent();
    const old = newEvent();
    const [body, inPieces, inChunks, ofOld] = [lengths, pieces, chunks, old].map((one) => utf8(one.body)) as [
      string,
      string,
      string,
      string,
    ];
    const answered = { until: /"status":"accepted".*\}/ };
    const results = await Promise.all([
      talk(server, withLength(body), answered),
      talk(server, [...withLength(inPieces)], { ...answered, pieces: true }),
      talk(server, `${chunked(inChunks.slice(0, 7), inChunks.slice(7))}0\r\n\r\n`, answered),
      talk(server, post(`Content-Length: ${bytesOf(ofOld)}\r\n`, ofOld, "HTTP/1.0")),
    ]);
    expect(results.map(({ statuses }) => statuses)).toEqual([[202], [202], [202], [202]]);
    expect(results[3]?.endedBy).toBe("server");
    for (const { marker } of [lengths, pieces, chunks, old]) expect(await storedOf(marker)).toBe(1);
  });

  test("is taken with chunk extensions, a trailer, and the same Content-Length twice", async () => {
    const body = utf8(newEvent().body);
    const size = bytesOf(body).toString(16);
    const head = "Transfer-Encoding: chunked\r\n";
    const answered = { until: /"status":"accepted".*\}/ };
    for (const request of [
      post(head, `${size};name="va;l\\"ue"\r\n${body}\r\n0\r\n\r\n`),
      post(head, `${size}\r\n${body}\r\n0;last\r\n\r\n`),
    ])
      expect((await talk(server, request, answered)).statuses).toEqual([202]);
    const length = `Content-Length: ${bytesOf(body)}\r\n`;
    expect((await talk(server, post(length + length, body), answered)).statuses).toEqual([202]);
  });

  test("is answered in its turn when one that is answered at once goes before it on the connection", async () => {
    const { body, marker } = newEvent();
    const requests = `${get("/health").repeat(20)}${withLength(utf8(body))}`;
    const { statuses } = await talk(server, requests, { until: /"accepted"/ });
    expect(statuses).toEqual([...Array(20).fill(200), 202]);
    expect(await storedOf(marker)).toBe(1);
  });

  test("of which only one may be in hand on a connection: another one ends it, and is not stored", async () => {
    const [first, second] = [newEvent(), newEvent()];
    const { statuses } = await talk(server, withLength(utf8(first.body)) + withLength(utf8(second.body)));
    expect(statuses).toEqual([]);
    await eventually(
      () => storedOf(first.marker),
      (count) => count === 1,
    );
    expect(await storedOf(second.marker)).toBe(0);
    await servesOthers();
  });
});

/** Each with a whole event in it; nothing of it may be stored. `{length}` is its Content-Length, `{hex}` as a chunk's. */
const DECEITS: readonly (readonly [name: string, lines: string, body: string])[] = [
  [
    "Content-Length and Transfer-Encoding",
    "Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n",
    "{hex}\r\n{body}\r\n0\r\n\r\n",
  ],
  [
    "the same the other way round",
    "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
    "{hex}\r\n{body}\r\n0\r\n\r\n",
  ],
  ["two Content-Lengths that differ", "Content-Length: {length}\r\nContent-Length: 3\r\n", "{body}"],
  ["a list of Content-Lengths", "Content-Length: {length}, {length}\r\n", "{body}"],
  ["a negative Content-Length", "Content-Length: -{length}\r\n", "{body}"],
  ["a Content-Length with a sign", "Content-Length: +{length}\r\n", "{body}"],
  ["a Content-Length in hex", "Content-Length: 0x{hex}\r\n", "{body}"],
  ["an empty Content-Length", "Content-Length: \r\n", "{body}"],
  ["a Content-Length beyond any integer", "Content-Length: 99999999999999999999999999\r\n", "{body}"],
  ["a space before the colon", "Transfer-Encoding : chunked\r\nContent-Length: {length}\r\n", "{body}"],
  ["an unknown Transfer-Encoding", "Transfer-Encoding: xchunked\r\n", "{hex}\r\n{body}\r\n0\r\n\r\n"],
  ["Transfer-Encoding: identity", "Transfer-Encoding: identity\r\n", "{body}"],
  ["gzip before chunked", "Transfer-Encoding: gzip, chunked\r\n", "{hex}\r\n{body}\r\n0\r\n\r\n"],
  [
    "two Transfer-Encodings",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    "{hex}\r\n{body}\r\n0\r\n\r\n",
  ],
  ["a chunk's size that is no number", "Transfer-Encoding: chunked\r\n", "zz\r\n{body}\r\n0\r\n\r\n"],
  ["a negative chunk", "Transfer-Encoding: chunked\r\n", "-1\r\n{body}\r\n0\r\n\r\n"],
  [
    "a chunk beyond any integer",
    "Transfer-Encoding: chunked\r\n",
    "ffffffffffffffffff\r\n{body}\r\n0\r\n\r\n",
  ],
  ["a chunk that does not end where it said", "Transfer-Encoding: chunked\r\n", "{hex}\r\n{body}XX0\r\n\r\n"],
  [
    "an endless chunk extension",
    "Transfer-Encoding: chunked\r\n",
    `{hex};${"a".repeat(100_000)}\r\n{body}\r\n0\r\n\r\n`,
  ],
  ["a folded header", "X-Folded: a\r\n b\r\nContent-Length: {length}\r\n", "{body}"],
  ["a header's name with a space", "X Y: a\r\nContent-Length: {length}\r\n", "{body}"],
  ["a control byte in a header", "X-Control: a\x01b\r\nContent-Length: {length}\r\n", "{body}"],
  ["a NUL in a header", "X-Nul: a\0b\r\nContent-Length: {length}\r\n", "{body}"],
  ["a bare CR in a header", "X-Cr: a\rb\r\nContent-Length: {length}\r\n", "{body}"],
];

describe("a request that contradicts itself", () => {
  test.each(DECEITS)("(%s) is refused, ends the connection, and stores nothing", async (_, lines, body) => {
    const event = newEvent();
    const inner = utf8(event.body);
    const fill = (text: string) =>
      text
        .replaceAll("{length}", String(bytesOf(inner)))
        .replaceAll("{hex}", bytesOf(inner).toString(16))
        .replaceAll("{body}", inner);
    // What follows would be answered if the connection went on.
    const { statuses, endedBy } = await talk(server, post(fill(lines), fill(body)) + lastHealth);
    expect([400, 413]).toContain(statuses[0] ?? 0);
    expect([statuses.length, endedBy]).toEqual([1, "server"]);
    await servesOthers();
    expect(await storedOf(event.marker)).toBe(0);
  });

  test("cannot hide a second one in its body", async () => {
    const hidden = newEvent();
    const second = withLength(utf8(hidden.body));
    const smuggled = `0\r\n\r\n${second}`;
    const attempts = [
      post(`Content-Length: ${bytesOf(smuggled)}\r\nTransfer-Encoding: chunked\r\n`, smuggled),
      post(`Transfer-Encoding: chunked\r\nContent-Length: ${bytesOf(smuggled)}\r\n`, smuggled),
      // As a body it is a body: no JSON, and nothing else.
      post(`Content-Length: ${bytesOf(second)}\r\n`, second),
      `GET /api/inbox HTTP/1.1\r\nHost: localhost\r\nX-API-Key: ${acme.key}\r\nContent-Length: ${bytesOf(second)}\r\n\r\n${second}`,
    ];
    for (const attempt of attempts)
      expect((await talk(server, attempt, { until: /\r\n\r\n.*[}\]]/s })).statuses).toHaveLength(1);
    await servesOthers();
    expect(await storedOf(hidden.marker)).toBe(0);
  });
});

describe("what is no request", () => {
  const manyHeaders = Array.from({ length: 1_500 }, (_, n) => `A${n}: b\r\n`).join("");
  test.each([
    ["a TLS hello", 400, Buffer.from(`16030100c8010000c40303${"00".repeat(64)}`, "hex")],
    ["zeros", 400, Buffer.alloc(5_000)],
    ["HTTP/2", 400, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
    ["HTTP/0.9", 505, "GET /health\r\n\r\n"],
    ["HTTP/3.0", 505, "GET /health HTTP/3.0\r\nHost: a\r\n\r\n"],
    ["bare line feeds", 505, "GET /health HTTP/1.1\nHost: localhost\n\n"],
    ["a NUL in the path", 505, "GET /hea\0lth HTTP/1.1\r\nHost: localhost\r\n\r\n"],
    ["no Host", 400, get("/health", "")],
    ["a header of 20 KB", 431, get("/health", `Host: a\r\nX: ${"a".repeat(20_000)}\r\n`)],
    ["1 500 headers", 431, get("/health", `Host: a\r\n${manyHeaders}`)],
    ["a path of 20 KB", 431, get(`/${"a".repeat(20_000)}`)],
  ])("(%s) is refused with %i and ends the connection", async (_, status, bytes) => {
    const { statuses, endedBy } = await talk(server, [bytes]);
    expect([statuses, endedBy]).toEqual([[status], "server"]);
    await servesOthers();
  });

  test.each([
    ["an unknown method", "FOO /health HTTP/1.1\r\nHost: localhost\r\n\r\n"],
    ["a method in small letters", "get /health HTTP/1.1\r\nHost: localhost\r\n\r\n"],
    ["a method of 5 KB", `${"A".repeat(5_000)} /health HTTP/1.1\r\nHost: localhost\r\n\r\n`],
  ])("(%s) ends the connection without an answer", async (_, bytes) => {
    const { statuses, endedBy } = await talk(server, bytes);
    expect([statuses, endedBy]).toEqual([[], "server"]);
    await servesOthers();
  });

  test("(noise) never ends the server", async () => {
    const noise = () => crypto.getRandomValues(new Uint8Array(1 + Math.floor(Math.random() * 3_000)));
    const halves = (text: string) => Buffer.from(text, "latin1").subarray(0, Math.random() * text.length);
    const { body } = newEvent();
    const talks = Array.from({ length: 100 }, (_, n) =>
      talk(server, n % 2 === 0 ? [noise()] : [halves(withLength(utf8(body))), noise()], { halfClose: true }),
    );
    for (const { statuses } of await Promise.all(talks))
      expect(statuses.filter((status) => status >= 500 && status !== 505)).toEqual([]);
    await servesOthers();
  });
});

describe("a strange Host or target", () => {
  const HOSTS = [
    "",
    "a b/c?d#e",
    "[::1",
    "\xff\xfe",
    "http://evil.example",
    "a".repeat(5_000),
    "a\r\nHost: b",
  ];
  test.each(HOSTS)("(%s) leads nowhere else", async (host) => {
    const lines = `Host: ${host}\r\nX-API-Key: ${acme.key}\r\nConnection: close\r\n`;
    const { statuses, text } = await talk(server, get("/api/inbox?limit=1&type=nothing.of.it", lines));
    expect(statuses).toEqual([200]);
    expect(text).toContain('{"events":[],');
  });

  test("in absolute form is the path alone", async () => {
    const { statuses } = await talk(
      server,
      get("http://evil.example/health", "Host: a\r\nConnection: close\r\n"),
    );
    expect(statuses).toEqual([200]);
  });
});

describe("a client that goes away", () => {
  test("in the middle of the head, of the body or of a chunk leaves nothing behind", async () => {
    const event = newEvent();
    const body = utf8(event.body);
    const whole = [withLength(body), chunked(body)];
    for (const request of whole) {
      const headEnd = request.indexOf("\r\n\r\n") + 4;
      for (const end of [10, headEnd - 2, headEnd, headEnd + 5, request.length - 3]) {
        const { statuses } = await talk(server, request.slice(0, end), { halfClose: true });
        expect(statuses).toEqual([]);
        await sendAndReset(server, request.slice(0, end));
      }
    }
    await servesOthers();
    expect(await storedOf(event.marker)).toBe(0);
  });

  test("behind a whole request is not waited for: the event is stored", async () => {
    const [half, reset] = [newEvent(), newEvent()];
    await talk(server, withLength(utf8(half.body)), { halfClose: true });
    await sendAndReset(server, withLength(utf8(reset.body)));
    await eventually(
      () => storedOf(half.marker),
      (count) => count === 1,
    );
    await servesOthers();
  });
});

test("what drips is given up: a head after some 12 s, a body after some 28, and others are served meanwhile", async () => {
  const unauthorized = `POST /api/events HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n`;
  const heads = Array.from({ length: 200 }, () => drip(server, "GET /health HTTP/1.1\r\nX: "));
  const bodies = [
    drip(server, post("Content-Length: 1000\r\n", "")),
    drip(server, post("Transfer-Encoding: chunked\r\n", "3e8\r\n")),
    drip(server, unauthorized),
  ];
  await servesOthers();
  expect((await acme.api.post("/api/events", { type: "beside", payload: 1 })).status).toBe(202);
  expect((await Promise.all(heads)).filter((text) => text !== "")).toEqual([]);
  await servesOthers();
  const answers = await Promise.all(bodies);
  expect(answers.map((text) => text.slice(0, 12))).toEqual(["", "", "HTTP/1.1 401"]);
  await servesOthers();
});
