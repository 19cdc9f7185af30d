import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  checkExtraHeaders,
  type HeaderInput,
  webhookBody,
  webhookHeaders,
} from "../../src/webhook/request.ts";

const EVENT = {
  id: "0197a1b2-0000-7000-8000-000000000001",
  type: "order.created",
  timestampMs: 0,
  data: "{}",
};
const HEADERS: HeaderInput = {
  id: EVENT.id,
  type: EVENT.type,
  attemptNumber: 3,
  timestampSeconds: 1_700_000_000,
  signature: "v1,abc=",
  version: "1.2.3",
};

describe("a webhook's body", () => {
  test("names the event, its type, when it was accepted, and its payload, in this order", () => {
    const body = webhookBody({
      ...EVENT,
      timestampMs: Date.UTC(2024, 1, 29, 23, 59, 59, 7),
      data: '{"a":1}',
    });
    expect(body).toBe(
      `{"id":"${EVENT.id}","type":"order.created","timestamp":"2024-02-29T23:59:59.007Z","data":{"a":1}}`,
    );
  });

  test.each([
    '{"b":1,"a":2}',
    '{"a":1,"a":2}',
    "9007199254740993",
    "1.0",
    "1e400",
    "-0",
    '"\\u00e9\\/\\ud800"',
    '{ "spaced" :\n [ ] }',
    "null",
    '"$& $1 $` "',
  ])("carries the payload %s as the text that came in", (data) => {
    const body = webhookBody({ ...EVENT, data });
    expect(body.endsWith(`,"data":${data}}`)).toBe(true);
  });

  test("is valid JSON for any payload", () => {
    fc.assert(
      fc.property(fc.json(), (data) => {
        expect(JSON.parse(webhookBody({ ...EVENT, data }))).toEqual({
          id: EVENT.id,
          type: EVENT.type,
          timestamp: "1970-01-01T00:00:00.000Z",
          data: JSON.parse(data),
        });
      }),
    );
  });
});

describe("a webhook's headers", () => {
  test("are these and no others", () => {
    expect(webhookHeaders(HEADERS)).toEqual({
      "content-type": "application/json",
      "user-agent": "ZapierTriggers/1.2.3",
      "x-event-id": EVENT.id,
      "x-event-type": "order.created",
      "x-attempt": "3",
      "webhook-id": EVENT.id,
      "webhook-timestamp": "1700000000",
      "webhook-signature": "v1,abc=",
    });
  });

  test("have the endpoint's own beside them", () => {
    const headers = webhookHeaders({ ...HEADERS, extra: { Authorization: "Bearer x", "X-Tenant": "7" } });
    expect(headers).toEqual({ ...webhookHeaders(HEADERS), Authorization: "Bearer x", "X-Tenant": "7" });
  });

  test("cannot be replaced by the endpoint's own, in any case of letters", () => {
    const forged = {
      "Webhook-Signature": "v1,forged=",
      "X-EVENT-ID": "forged",
      "content-TYPE": "text/plain",
      "Content-Length": "0",
      "Transfer-Encoding": "chunked",
      "Webhook-Later": "forged",
      "Proxy-Authorization": "Basic x",
      Host: "forged.example",
      Connection: "close",
    };
    expect(webhookHeaders({ ...HEADERS, extra: forged })).toEqual(webhookHeaders(HEADERS));
  });
});

describe("an endpoint's own header", () => {
  test.each([
    ["Authorization", "Bearer x"],
    ["x-a", ""],
    ["x_a.b!", "tab\tand spaces"],
    ["Cookie", "a=b"],
    ["X-Forwarded-For", "203.0.113.1"],
    ["X-Event-Source", "shop"],
    ["webhook", "not one of webhook-*"],
  ])("%s: %s is accepted", (name, value) => {
    expect(checkExtraHeaders({ [name]: value })).toEqual({ ok: true });
  });

  test.each([
    ["", "x"],
    ["x y", "x"],
    ["x:y", "x"],
    ["x\r\ny", "x"],
    ["é", "x"],
    ["x-a", "line\nbreak"],
    ["x-a", "carriage\rreturn"],
    ["x-a", "zero\0"],
    ["x-a", "snow ☃"],
    ["x-a", "é"],
    ["x-a", "delete \x7f"],
    ["Host", "x"],
    ["WEBHOOK-ID", "x"],
    ["X-Attempt", "1"],
    ["Content-Length", "1"],
    ["accept-encoding", "gzip"],
    ["Proxy-Authorization", "Basic x"],
    ["proxy-authenticate", "Basic"],
    ["Proxy-Connection", "close"],
    ["TE", "trailers"],
    ["Trailer", "x"],
    ["Upgrade", "h2c"],
    ["HTTP2-Settings", "x"],
    ["Keep-Alive", "timeout=5"],
    ["Expect", "100-continue"],
    ["Content-Encoding", "gzip"],
    ["Content-Range", "bytes 0-1/2"],
    ["Webhook-Anything", "x"],
    ["x-a", " leading"],
    ["x-a", "trailing\t"],
    ["X-Good", "the same in other letters"],
  ])("%j: %j is refused by its name", (name, value) => {
    expect(checkExtraHeaders({ "x-good": "1", [name]: value })).toEqual({
      ok: false,
      name,
      detail: expect.any(String),
    });
  });

  test("that is refused does not have its value repeated", () => {
    const checked = checkExtraHeaders({ Authorization: "Bearer SECRET\n" });
    expect(checked.ok ? "accepted" : checked.detail).not.toMatch(/accepted|SECRET/);
  });

  test("is refused together with the others when they have more than 8 KB in all", () => {
    const headers = (bytes: number) => ({
      "x-a": "1",
      "x-b": "y".repeat(bytes - 2 * "x-a: \r\n".length - 1),
    });
    expect(checkExtraHeaders(headers(8 * 1024))).toEqual({ ok: true });
    expect(checkExtraHeaders(headers(8 * 1024 + 1))).toEqual({
      ok: false,
      name: null,
      detail: expect.stringContaining("8 KB"),
    });
  });
});
