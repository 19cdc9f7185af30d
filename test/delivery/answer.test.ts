// Reading an answer: where the network cut it makes no difference, and whatever comes, the reading ends and throws nothing.

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Answer } from "../../src/delivery/answer.ts";

/** What an answer comes to, when its bytes come in pieces that end at these places. */
function told(bytes: Buffer, cuts: readonly number[]) {
  const answer = new Answer();
  const places = [...new Set([0, ...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length])].sort(
    (a, b) => a - b,
  );
  for (let n = 1; n < places.length && answer.over === null; n++) {
    answer.read(bytes.subarray(places[n - 1], places[n]));
  }
  answer.end();
  const { status, retryAfter, fault, over } = answer;
  return { status, retryAfter, fault, over, excerpt: answer.excerpt() };
}

const cuts = fc.array(fc.nat(5_000), { maxLength: 12 });
const headerValue = fc.stringMatching(/^[\x21-\x7e][\x20-\x7e]{0,20}$/);
const header = fc.tuple(fc.constantFrom("X-One", "Retry-After", "Server", "Set-Cookie"), headerValue);
const body = fc.uint8Array({ maxLength: 3_000 }).map((bytes) => Buffer.from(bytes));

/** The body as chunks of these sizes, with what may stand beside a size. */
function chunked(content: Buffer, sizes: readonly number[], extension: string): Buffer {
  const parts: Buffer[] = [];
  let at = 0;
  for (const size of [...sizes, content.length]) {
    const chunk = content.subarray(at, at + Math.max(1, size));
    at += chunk.length;
    if (chunk.length === 0) break;
    parts.push(Buffer.from(`${chunk.length.toString(16)}${extension}\r\n`), chunk, Buffer.from("\r\n"));
  }
  return Buffer.concat([...parts, Buffer.from("0\r\n\r\n")]);
}

const framed = fc.oneof(
  body.map((content) => ({ content, fields: [`Content-Length: ${content.length}`], bytes: content })),
  fc
    .tuple(body, fc.array(fc.nat(900), { maxLength: 5 }), fc.constantFrom("", ";a=b", " ; q"))
    .map(([content, sizes, extension]) => ({
      content,
      fields: ["Transfer-Encoding: chunked"],
      bytes: chunked(content, sizes, extension),
    })),
  body.map((content) => ({ content, fields: ["Connection: close"], bytes: content })),
);

const whole = fc
  .record({
    interim: fc.array(fc.constantFrom("HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 X\r\nA: b\r\n\r\n"), {
      maxLength: 2,
    }),
    status: fc.integer({ min: 200, max: 599 }).filter((status) => status !== 204 && status !== 304),
    headers: fc.array(header, { maxLength: 4 }),
    framed,
  })
  .map((parts) => {
    const fields = [...parts.headers.map(([name, value]) => `${name}: ${value}`), ...parts.framed.fields];
    const head = `${parts.interim.join("")}HTTP/1.1 ${parts.status} Some words\r\n${fields.join("\r\n")}\r\n\r\n`;
    return { ...parts, bytes: Buffer.concat([Buffer.from(head, "latin1"), parts.framed.bytes]) };
  });

describe("an answer", () => {
  test("says the same however it is cut, and is read to its end", () => {
    fc.assert(
      fc.property(whole, cuts, ({ bytes, status, framed: { content } }, places) => {
        const result = told(bytes, places);
        expect(result).toEqual(told(bytes, []));
        expect(result).toMatchObject({ status, over: "whole", fault: null });
        const first = new TextDecoder().decode(content.subarray(0, 1024), { stream: content.length > 1024 });
        expect(result.excerpt).toBe(first);
      }),
      { numRuns: 1_000 },
    );
  });

  test("that lost its end is not whole, unless the end of the connection is its end", () => {
    fc.assert(
      fc.property(whole, fc.nat(), ({ bytes, framed: { fields } }, place) => {
        const isEndedByClose = fields[0] === "Connection: close";
        fc.pre(!isEndedByClose);
        expect(told(bytes.subarray(0, place % bytes.length), []).over).not.toBe("whole");
      }),
      { numRuns: 1_000 },
    );
  });

  test("with any bytes changed is read without an error, the same however it is cut", () => {
    const change = fc.tuple(fc.nat(), fc.nat(255));
    fc.assert(
      fc.property(
        whole,
        fc.array(change, { minLength: 1, maxLength: 5 }),
        cuts,
        ({ bytes }, changes, places) => {
          const changed = Buffer.from(bytes);
          for (const [place, byte] of changes) changed[place % changed.length] = byte;
          expect(told(changed, places)).toEqual(told(changed, []));
        },
      ),
      { numRuns: 2_000 },
    );
  });

  test("of any bytes at all is read without an error", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 500 }), cuts, (bytes, places) => {
        expect(told(Buffer.from(bytes), places)).toEqual(told(Buffer.from(bytes), []));
      }),
      { numRuns: 2_000 },
    );
  });
});
