// Cutting a member out of JSON text, against JSON.parse and against texts whose parts are known.

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { containerText, elementMemberTexts, memberText } from "../../src/wire/raw_json.ts";

const space = fc.stringMatching(/^[ \t\r\n]{0,3}$/);
const number = fc.constantFrom("0", "-0", "1.0", "1e400", "9007199254740993", "-12.50E+3", "1E-7", "10");
const word = fc.constantFrom("true", "false", "null");

/** A string literal in which any character may be written as an escape. */
const literal = fc
  .array(fc.tuple(fc.string({ unit: "binary", minLength: 1, maxLength: 2 }), fc.boolean()), { maxLength: 6 })
  .map(
    (parts) => `"${parts.map(([text, isEscaped]) => (isEscaped ? escapes(text) : plain(text))).join("")}"`,
  );

const { value } = fc.letrec<{ value: string }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    number,
    word,
    literal,
    fc.constantFrom('"\\\\"', '"\\""', '"{"', '"]},\\\\\\""', "[]", "{}"),
    fc
      .tuple(fc.array(tie("value"), { maxLength: 4 }), space)
      .map(([items, gap]) => `[${items.join(`,${gap}`)}${gap}]`),
    fc
      .tuple(fc.array(fc.tuple(literal, space, tie("value")), { maxLength: 4 }), space)
      .map(([members, gap]) => `{${gap}${members.map(([k, s, v]) => `${k}${s}:${s}${v}`).join(",")}}`),
  ),
}));

const wanted = fc.constantFrom("payload", "type", "", "__proto__", 'a"b\\', "é", "😀");
const member = fc.record({
  key: fc.oneof(
    wanted.map((key) => JSON.stringify(key)),
    wanted.map((key) => `"${escapes(key)}"`),
    literal,
  ),
  value,
  gap: space,
});

const scalar = fc.oneof(number, word, literal);
const scalarMember = fc.record({ key: member.map(({ key }) => key), value: scalar, gap: space });
const payloadMember = fc.record({
  key: fc.constantFrom('"payload"', '"p\\u0061yload"'),
  value,
  gap: space,
});

test("a container among texts is cut out as any member is, also when it is there twice or spelt otherwise", () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(scalarMember, payloadMember), { maxLength: 5 }), space, (members, gap) => {
      const list = members.map((one) => `${one.gap}${one.key}${one.gap}:${one.gap}${one.value}${one.gap}`);
      const text = `${gap}{${list.join(",") || gap}}${gap}`;
      expect(containerText(text, "payload")).toBe(memberText(text, "payload"));
    }),
    { numRuns: 5_000 },
  );
});

test("a container's text is looked for in any JSON, without an end or an error", () => {
  fc.assert(
    fc.property(value, (text) => {
      containerText(text, "payload");
    }),
    { numRuns: 2_000 },
  );
});

describe("the text of a member", () => {
  test("is cut out exactly as it stands, whatever is around it", () => {
    fc.assert(
      fc.property(fc.array(member, { maxLength: 6 }), wanted, space, (members, key, gap) => {
        const list = members.map((one) => `${one.gap}${one.key}${one.gap}:${one.gap}${one.value}${one.gap}`);
        const text = `${gap}{${list.join(",") || gap}}${gap}`;
        const last = members.findLast((one) => JSON.parse(one.key) === key);
        expect(memberText(text, key)).toBe(last?.value ?? null);
      }),
      { numRuns: 2_000 },
    );
  });

  test("means what JSON.parse finds there", () => {
    fc.assert(
      fc.property(fc.array(member, { minLength: 1, maxLength: 6 }), wanted, (members, key) => {
        const text = `{${members.map((one) => `${one.key}:${one.value}`).join(",")}}`;
        const found = memberText(text, key);
        const parsed = JSON.parse(text) as object;
        expect(found !== null).toBe(Object.hasOwn(parsed, key));
        if (found !== null)
          expect(JSON.parse(found)).toEqual(Object.getOwnPropertyDescriptor(parsed, key)?.value);
      }),
      { numRuns: 2_000 },
    );
  });

  test.each([
    ["a number beyond 2^53", '{"payload":9007199254740993}', "9007199254740993"],
    ["a number with a zero behind the point", '{"payload":1.0}', "1.0"],
    ["a number beyond the largest double", '{"payload":1e400}', "1e400"],
    ["an object with a key twice", '{"payload":{"b":1,"a":2,"b":3}}', '{"b":1,"a":2,"b":3}'],
    ["a member that is there twice", '{"payload":1,"payload":2}', "2"],
    ["a member whose key is escaped", '{"pay\\u006coad":"x"}', '"x"'],
    ["a string that ends in a backslash", '{"payload":"\\\\"}', '"\\\\"'],
    ["half a surrogate pair", '{"payload":"\\ud800"}', '"\\ud800"'],
    ["a member of a member", '{"x":{"payload":1}}', null],
    ["nothing", "{}", null],
    ["a list 100 000 deep", `{"payload":${nested(100_000)}}`, nested(100_000)],
  ])("of %s", (_, text, expected) => {
    expect(memberText(text, "payload")).toBe(expected);
  });
});

describe("the texts of a member of each element of a list", () => {
  const element = fc.oneof(
    value,
    fc.tuple(fc.array(member, { maxLength: 4 }), space).map(([members, gap]) => objectText(members, gap)),
  );
  const list = fc
    .tuple(fc.array(element, { maxLength: 5 }), space)
    .map(([items, gap]) => ({ items, text: `[${gap}${items.join(`${gap},${gap}`)}${gap}]` }));

  test("are those that are found in each element alone", () => {
    fc.assert(
      fc.property(list, wanted, space, ({ items, text }, key, gap) => {
        const expected = items.map((item) => (item.startsWith("{") ? memberText(item, key) : null));
        expect(elementMemberTexts(`${gap}${text}${gap}`, null, key)).toEqual(expected);
        const object = `${gap}{"x":${text},${gap}"events"${gap}:${text}${gap},"y":{"events":[]}}`;
        expect(elementMemberTexts(object, "events", key)).toEqual(expected);
      }),
      { numRuns: 2_000 },
    );
  });

  test("mean what JSON.parse finds there, also when the list is there twice", () => {
    fc.assert(
      fc.property(list, list, wanted, ({ text: first }, { text: second }, key) => {
        const text = `{"events":${first},"\\u0065vents":${second}}`;
        const found = elementMemberTexts(text, "events", key);
        const parsed = (JSON.parse(text) as { events: unknown[] }).events;
        expect(found?.length).toBe(parsed.length);
        for (const [at, one] of (found ?? []).entries()) {
          const isObject =
            typeof parsed[at] === "object" && parsed[at] !== null && !Array.isArray(parsed[at]);
          const own = isObject ? Object.getOwnPropertyDescriptor(parsed[at], key) : undefined;
          expect(one === null).toBe(own === undefined);
          if (one !== null) expect(JSON.parse(one)).toEqual(own?.value);
        }
      }),
      { numRuns: 2_000 },
    );
  });

  test.each([
    ["no list", '{"events":{"payload":1}}', "events", null],
    ["no member", '{"other":[{"payload":1}]}', "events", null],
    ["a list that is replaced by something else", '{"events":[{"payload":1}],"events":3}', "events", null],
    ["an empty list", '{"events":[ ]}', "events", []],
    [
      "elements that are no objects",
      '[1,"]",[{"payload":1}],null,{"payload":1.0}]',
      null,
      [null, null, null, null, "1.0"],
    ],
    ["scalars at the end of the list", '{"events":[{"payload":[1]},2]}', "events", ["[1]", null]],
    ["an object where a list is expected", '{"payload":1}', null, null],
  ] as const)("of %s", (_, text, name, expected) => {
    expect(elementMemberTexts(text, name, "payload")).toEqual(expected as never);
  });
});

function objectText(members: readonly { key: string; value: string; gap: string }[], gap: string): string {
  const list = members.map((one) => `${one.gap}${one.key}${one.gap}:${one.gap}${one.value}${one.gap}`);
  return `{${list.join(",") || gap}}`;
}

function nested(depth: number): string {
  return "[".repeat(depth) + "]".repeat(depth);
}

function escapes(text: string): string {
  return [...Array(text.length).keys()]
    .map((at) => `\\u${text.charCodeAt(at).toString(16).padStart(4, "0")}`)
    .join("");
}

function plain(text: string): string {
  return JSON.stringify(text).slice(1, -1);
}
