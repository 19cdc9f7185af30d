// CloudEvents 1.0, as the official library sends them over HTTP, and what the standard says beside.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { CloudEvent, HTTP, type Message } from "cloudevents";
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

const STRUCTURED = { "content-type": "application/cloudevents+json" };
const BATCH = { "content-type": "application/cloudevents-batch+json; charset=utf-8" };
const BINARY = { "ce-specversion": "1.0", "ce-id": "1", "ce-source": "/orders", "ce-type": "order.created" };

const sendMessage = (api: Api, path: string, message: Message): Promise<Answer> =>
  api.send("POST", path, {
    body: message.body as string,
    headers: message.headers as Record<string, string>,
  });
const stored = async (api: Api, { body }: Answer) => (await api.get(`/api/events/${body.id}`)).body;
/** The payload's own text. */
const payloadOf = async (api: Api, { body }: Answer): Promise<string | undefined> =>
  /"payload":(.*),"status"/s.exec((await api.get(`/api/events/${body.id}`)).text)?.[1];

const event = (id: string, rest: object = {}) =>
  new CloudEvent({
    id,
    source: "https://example.com/orders",
    type: "com.example.order.created",
    subject: "1042",
    time: "2026-11-21T08:30:00Z",
    datacontenttype: "application/json",
    data: { order_id: 1042, name: "Jörg" },
    tenant: "north",
    ...rest,
  });

describe("what the official library sends", () => {
  test.each([
    ["structured", HTTP.structured],
    ["binary", HTTP.binary],
  ] as const)("is taken in %s mode", async (mode, serialize) => {
    const answer = await sendMessage(acme.api, "/api/events", serialize(event(`lib-${mode}`)));
    expect([answer.status, answer.body.status]).toEqual([202, "accepted"]);
    expect(await stored(acme.api, answer)).toMatchObject({
      type: "com.example.order.created",
      dedup_id: `https://example.com/orders lib-${mode}`,
      payload: { order_id: 1042, name: "Jörg" },
    });
  });

  test("is one event, in whatever mode it is sent again", async () => {
    const one = event("once");
    const first = await sendMessage(acme.api, "/api/events", HTTP.binary(one));
    const again = await sendMessage(acme.api, "/api/events", HTTP.structured(one));
    expect([again.status, again.body.event_id]).toEqual([409, first.body.id]);
    const batch = await acme.api.post("/api/events/batch", `[${JSON.stringify(one)}]`, BATCH);
    expect(batch.body.results[0]).toMatchObject({ status: "duplicate", id: first.body.id });
  });

  test("is taken as a batch", async () => {
    const { api } = await server.organization();
    const events = [event("b1"), event("b2", { type: "not ours" }), event("b3", { data: undefined })];
    const { status, body } = await api.post("/api/events/batch", JSON.stringify(events), BATCH);
    expect([status, body.accepted, body.rejected]).toEqual([202, 2, 1]);
    expect(body.results[1].detail).toContain('/type: It has " "');
    const inbox = (await api.get("/api/inbox?order=asc")).body.events;
    expect(inbox.map((one: { payload: unknown }) => one.payload)).toEqual([
      { order_id: 1042, name: "Jörg" },
      null,
    ]);
    expect((await api.post("/api/events/batch", "[]", BATCH)).body).toMatchObject({
      accepted: 0,
      results: [],
    });
  });

  test("is taken with binary and with textual data", async () => {
    const bytes = new Uint8Array([0, 255, 128, 10]);
    const binary = event("bytes", { data: bytes, datacontenttype: "application/octet-stream" });
    const text = event("text", { data: "<b>é</b>\n", datacontenttype: "text/html" });
    for (const [one, serialize, expected] of [
      [binary, HTTP.structured, "AP+ACg=="],
      [text, HTTP.structured, "<b>é</b>\n"],
      [text.cloneWith({ id: "text2" }), HTTP.binary, "<b>é</b>\n"],
    ] as const) {
      const answer = await sendMessage(acme.api, "/api/events", serialize(one));
      expect((await stored(acme.api, answer)).payload).toBe(expected);
    }
    const headers = { ...BINARY, "ce-id": "raw", "content-type": "application/octet-stream" };
    const answer = await acme.api.send("POST", "/api/events", { body: bytes, headers });
    expect((await stored(acme.api, answer)).payload).toBe("AP+ACg==");
  });
});

describe("data", () => {
  const whole = (rest: string) =>
    `{"specversion":"1.0","id":"${crypto.randomUUID()}","source":"/s","type":"t"${rest}}`;

  test.each([
    [',"data":{"b":1.0, "a":9007199254740993}', '{"b":1.0, "a":9007199254740993}'],
    [',"data":null', "null"],
    ["", "null"],
    [',"data":"text"', '"text"'],
    [',"data":1,"data":1e400', "1e400"],
    [',"data_base64":"AAE="', '"AAE="'],
    [',"data_base64":null,"data":[ 1 ]', "[ 1 ]"],
    [',"subject":null,"time":"whenever","traceparent":"00-x","x":{"y":1}', "null"],
  ])("is the payload, exactly as it was written (%#)", async (rest, expected) => {
    const answer = await acme.api.post("/api/events", whole(rest), STRUCTURED);
    expect(answer.status).toBe(202);
    expect(await payloadOf(acme.api, answer)).toBe(expected);
    const batch = await acme.api.post("/api/events/batch", `[${whole(rest)}]`, BATCH);
    const told = { body: batch.body.results[0] } as Answer;
    expect(await payloadOf(acme.api, told)).toBe(expected);
  });

  test.each([
    ["application/json", ' {"a": 1.0}\n', '{"a": 1.0}'],
    ["application/vnd.acme+json; charset=UTF-8", "1e400", "1e400"],
    ["text/plain", "1", '"1"'],
    ["application/xml", "<a/>", '"PGEvPg=="'],
  ])("in binary mode is told apart by its media type: %s", async (type, body, expected) => {
    const headers = { ...BINARY, "ce-id": crypto.randomUUID(), "content-type": type };
    const answer = await acme.api.send("POST", "/api/events", { body, headers });
    expect([answer.status, await payloadOf(acme.api, answer)]).toEqual([202, expected]);
  });

  test("in binary mode may be missing", async () => {
    const headers = { ...BINARY, "ce-id": "empty" };
    const answer = await acme.api.send("POST", "/api/events", { headers });
    expect([answer.status, await payloadOf(acme.api, answer)]).toEqual([202, "null"]);
  });

  test.each([
    ["application/json", "{", 400, "malformed_json"],
    ["text/plain", new Uint8Array([255]), 400, "invalid_utf8"],
    ["text/plain; charset=latin1", "x", 415, "unsupported_media_type"],
    ["text/plain", "x".repeat(262_143), 413, "payload_too_large"],
    ["image/png", "x".repeat(200_000), 413, "payload_too_large"],
  ] as const)("that cannot be stored is refused (%#)", async (type, body, status, code) => {
    const headers = { ...BINARY, "content-type": type };
    const refused = await acme.api.send("POST", "/api/events", { body, headers });
    expect([refused.status, refused.body.code]).toEqual([status, code]);
  });
});

describe("attributes", () => {
  const full = { specversion: "1.0", id: "1", source: "/s", type: "t", data: 1 };

  test.each([
    [{ ...full, specversion: undefined }, "/specversion"],
    [{ ...full, specversion: "0.3" }, "/specversion"],
    [{ ...full, id: undefined }, "/id"],
    [{ ...full, id: "" }, "/id"],
    [{ ...full, id: null }, "/id"],
    [{ ...full, source: undefined }, "/source"],
    [{ ...full, source: "a b" }, "/source"],
    [{ ...full, type: undefined }, "/type"],
    [{ ...full, type: "order created" }, "/type"],
    [{ ...full, data_base64: "AA==" }, ""],
    [{ ...full, data: undefined, data_base64: "%" }, "/data_base64"],
    [[full], ""],
    ["x", ""],
  ] as const)("that are missing or wrong are refused with their place (%#)", async (body, pointer) => {
    const refused = await acme.api.post("/api/events", JSON.stringify(body), STRUCTURED);
    expect([refused.status, refused.body.code]).toEqual([422, "validation_failed"]);
    expect(refused.body.errors[0].pointer).toBe(pointer);
  });

  test("that are missing in binary mode are named as headers", async () => {
    for (const name of ["specversion", "id", "source", "type"]) {
      const headers: Record<string, string> = { ...BINARY, "content-type": "text/plain" };
      delete headers[`ce-${name}`];
      const refused = await acme.api.send("POST", "/api/events", { body: "1", headers });
      expect([refused.status, refused.body.errors]).toEqual([
        422,
        [{ pointer: `/ce-${name}`, detail: expect.any(String) }],
      ]);
    }
  });

  test("say which characters of a type cannot be", async () => {
    const refused = await acme.api.post(
      "/api/events",
      JSON.stringify({ ...full, type: "größe (neu)" }),
      STRUCTURED,
    );
    for (const one of ['"ö"', '"ß"', '" "', '"("', "A-Z a-z 0-9"]) expect(refused.body.detail).toContain(one);
  });

  test("in headers are decoded as the binding says, and refused when they cannot be", async () => {
    const headers = { ...BINARY, "ce-id": '"a \\"b\\" %C3%A9%25"', "content-type": "application/json" };
    const taken = await acme.api.send("POST", "/api/events", { body: "1", headers });
    expect((await stored(acme.api, taken)).dedup_id).toBe('/orders a "b" é%');
    for (const id of ["100%", "%ff", "é"]) {
      const wrong = { ...BINARY, "ce-id": id, "content-type": "application/json" };
      const refused = await acme.api.send("POST", "/api/events", { body: "1", headers: wrong });
      expect([refused.status, refused.body.errors[0].pointer]).toEqual([422, "/ce-id"]);
    }
  });

  test("source and id that are too long together are hashed, and still found again", async () => {
    const long = { ...full, id: "i".repeat(300) };
    const digest = new Bun.CryptoHasher("sha256").update(`/s ${long.id}`).digest("hex");
    const first = await acme.api.post("/api/events", JSON.stringify(long), STRUCTURED);
    expect((await stored(acme.api, first)).dedup_id).toBe(digest);
    expect((await acme.api.post("/api/events", JSON.stringify(long), STRUCTURED)).status).toBe(409);
    const other = { ...long, id: `${long.id}x` };
    expect((await acme.api.post("/api/events", JSON.stringify(other), STRUCTURED)).status).toBe(202);
  });

  test("are taken before Idempotency-Key, which is not looked at", async () => {
    const headers = { ...STRUCTURED, "idempotency-key": "same" };
    for (const id of ["k1", "k2"]) {
      const { status } = await acme.api.post("/api/events", JSON.stringify({ ...full, id }), headers);
      expect(status).toBe(202);
    }
  });
});

test("a CloudEvent at the wrong path is refused with a word about the right one", async () => {
  const batch = await acme.api.post("/api/events", "[]", BATCH);
  expect([batch.status, batch.body.detail]).toEqual([415, expect.stringContaining("/api/events/batch")]);
  const one = await acme.api.post("/api/events/batch", "{}", STRUCTURED);
  expect(one.status).toBe(415);
  const list = await acme.api.post("/api/events/batch", "{}", BATCH);
  expect(list.status).toBe(422);
});
