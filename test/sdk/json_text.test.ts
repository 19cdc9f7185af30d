import { expect, test } from "bun:test";
import fc from "fast-check";
import { elementTexts, memberText } from "../../src/sdk/json_text.ts";

test("a member's text is what was written, to the last digit and escape", () => {
  const text = '{ "a" : 9007199254740993 , "b":[1.0, {"c":"]}\\""}],"c":"\\u00e9\\\\" ,"d":{},"e":null}';
  expect(memberText(text, "a")).toBe("9007199254740993");
  expect(memberText(text, "b")).toBe('[1.0, {"c":"]}\\""}]');
  expect(memberText(text, "c")).toBe('"\\u00e9\\\\"');
  expect(memberText(text, "d")).toBe("{}");
  expect(memberText(text, "e")).toBe("null");
  expect(memberText(text, "f")).toBeNull();
});

test("a name may be written with escapes, and the last of two members counts, as in JSON.parse", () => {
  expect(memberText('{"payload":1,"p\\u0061yload":2}', "payload")).toBe("2");
});

test("pieces of any object and list, in any layout, parse to what the whole parses to", () => {
  const layouts = [undefined, 2, "\t"];
  fc.assert(
    fc.property(fc.jsonValue(), fc.jsonValue(), fc.constantFrom(...layouts), (first, second, layout) => {
      const object = JSON.stringify({ first, second }, null, layout);
      expect(JSON.parse(memberText(object, "first") ?? "")).toEqual(JSON.parse(object).first);
      expect(JSON.parse(memberText(object, "second") ?? "")).toEqual(JSON.parse(object).second);
      const list = JSON.stringify([first, second, first], null, layout);
      expect(elementTexts(list).map((text) => JSON.parse(text))).toEqual(JSON.parse(list));
    }),
  );
  expect(elementTexts(" [ ] ")).toEqual([]);
});

test("text that is no JSON hangs nobody", () => {
  const quietly = (work: () => unknown) => {
    try {
      work();
    } catch (error) {
      expect(error).toBeInstanceOf(SyntaxError);
    }
  };
  for (const text of ["", "{", '{"a', '{"a":', '{"a":[', "[", "[,,", "[1 2", '["', "\\", "[}", "{]"]) {
    quietly(() => memberText(text, "a"));
    quietly(() => elementTexts(text));
  }
});
