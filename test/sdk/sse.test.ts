import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { SseParser } from "../../src/sdk/sse.ts";

const parse = (...chunks: string[]) => {
  const parser = new SseParser();
  const messages = chunks.flatMap((chunk) => parser.push(chunk));
  return { messages, lastId: parser.lastId, retryMs: parser.retryMs };
};

describe("server-sent events", () => {
  test("are fields up to an empty line; comments, unknown fields and empty messages are none", () => {
    const { messages, retryMs } = parse(
      ": hello\n\nid: 1\nevent: x\ndata: a\ndata:b\nwhat: c\n\nevent: y\n\nretry: 20\nretry: soon\ndata\n\n",
    );
    expect(messages).toEqual([
      { id: "1", name: "x", data: "a\nb" },
      { id: "1", name: "", data: "" },
    ]);
    expect(retryMs).toBe(20);
  });

  test("an id without data moves on what is asked for next", () => {
    expect(parse("id: 7\n\n")).toMatchObject({ messages: [], lastId: "7" });
  });

  test("a message that was cut off does not count, and its id is not gone on after", () => {
    expect(parse("id: 1\ndata: a\n\nid: 2\ndata: b\n")).toMatchObject({
      messages: [{ id: "1", data: "a" }],
      lastId: "1",
    });
  });

  test("a new connection drops what the last one cut off, and keeps the id", () => {
    const parser = new SseParser();
    parser.push("id: 1\ndata: a\n\nid: 2\ndata: b\ndat");
    parser.restart();
    expect(parser.lastId).toBe("1");
    expect(parser.push("data: c\n\n")).toEqual([{ id: "1", name: "", data: "c" }]);
  });

  test("come out the same however they are cut into chunks and whatever ends their lines", () => {
    const text = "id: 1\ndata: a\ndata: b\n\n: c\nid: 2\nevent: e\ndata: d\n\nid: 3\n\n";
    const expected = parse(text);
    fc.assert(
      fc.property(fc.constantFrom("\n", "\r\n", "\r"), fc.array(fc.nat(60)), (lineEnd, cuts) => {
        const whole = `${text.replaceAll("\n", lineEnd)}${lineEnd === "\r" ? ":\r" : ""}`;
        const at = [0, ...cuts.toSorted((a, b) => a - b), whole.length];
        const chunks = at.slice(1).map((end, index) => whole.slice(at[index], end));
        expect(parse(...chunks)).toEqual(expected);
      }),
    );
  });

  test("a message beyond all measure is refused instead of kept", () => {
    const parser = new SseParser();
    expect(() => {
      for (let i = 0; i < 10; i++) parser.push(`data: ${"x".repeat(1 << 20)}`);
    }).toThrow(RangeError);
  });
});
