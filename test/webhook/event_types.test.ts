import { expect, test } from "bun:test";
import fc from "fast-check";
import { typeMatcher } from "../../src/webhook/event_types.ts";
import { TYPE, TYPE_PATTERN } from "../../src/wire/type_pattern.ts";

const words = fc.string({ unit: fc.constantFrom(..."aB0._:/-"), minLength: 1, maxLength: 5 });
const patterns = fc.array(
  words.chain((word) => fc.constantFrom(word, `${word}*`)),
  { maxLength: 5 },
);

test.each([
  [["*"], "anything.at-all", true],
  [["order.*"], "order.created", true],
  [["order.*"], "order.", true],
  [["order.*"], "order", false],
  [["order.*"], "orders.created", false],
  [["order*"], "orders.created", true],
  [["order.created"], "order.created", true],
  [["order.created"], "order.created.late", false],
  [["order.created"], "Order.created", false],
  [["a", "order.*", "b"], "b", true],
  [[], "a", false],
])("%j on %s: %p", (list, type, expected) => {
  expect(typeMatcher(list)(type)).toBe(expected);
});

test("an event is wanted when one of the patterns wants it", () => {
  fc.assert(
    fc.property(patterns, words, (list, type) => {
      const one = list.some((pattern) => typeMatcher([pattern])(type));
      expect(typeMatcher(list)(type)).toBe(one);
      expect(typeMatcher([...list, "*"])(type)).toBe(true);
    }),
  );
});

test("a beginning with * wants exactly the types that begin so, and a type itself alone", () => {
  fc.assert(
    fc.property(words, words, (word, type) => {
      expect(typeMatcher([`${word}*`])(type)).toBe(type.startsWith(word));
      expect(typeMatcher([word])(type)).toBe(type === word);
      expect(typeMatcher([`${word}*`])(word + type)).toBe(true);
    }),
  );
});

test("every type is also a pattern, for itself alone", () => {
  fc.assert(
    fc.property(words, (type) => {
      expect([TYPE.test(type), TYPE_PATTERN.test(type), TYPE_PATTERN.test(`${type}*`)]).toEqual([
        true,
        true,
        true,
      ]);
      expect(TYPE.test(`${type}*`)).toBe(false);
      expect(typeMatcher([type])(type)).toBe(true);
    }),
  );
});
