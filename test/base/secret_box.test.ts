import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { createSecretBox, SECRET_KEY_BYTES } from "../../src/base/secret_box.ts";

const keys = fc
  .uint8Array({ minLength: SECRET_KEY_BYTES, maxLength: SECRET_KEY_BYTES })
  .map((bytes) => bytes.toHex());
const twoKeys = fc.uniqueArray(keys, { minLength: 2, maxLength: 2 });
const texts = fc.string({ unit: "binary", maxLength: 300 }).filter((text) => text.isWellFormed());
const NEW = "a0".repeat(SECRET_KEY_BYTES);
const OLD = "0b".repeat(SECRET_KEY_BYTES);

describe("a sealed text", () => {
  test("opens with its key and in its place, whatever it says", () => {
    fc.assert(
      fc.property(keys, texts, texts, (key, text, place) => {
        const box = createSecretBox([key]);
        expect(createSecretBox([key]).open(box.seal(text, place), place)).toBe(text);
      }),
    );
  });

  test("opens neither in another place nor with another key", () => {
    fc.assert(
      fc.property(
        twoKeys,
        texts,
        fc.uniqueArray(texts, { minLength: 2, maxLength: 2 }),
        (pair, text, places) => {
          const [[key = "", other = ""], [place = "", elsewhere = ""]] = [pair, places];
          const sealed = createSecretBox([key]).seal(text, place);
          expect(createSecretBox([key]).open(sealed, elsewhere)).toBeNull();
          expect(createSecretBox([other]).open(sealed, place)).toBeNull();
          expect(createSecretBox([]).open(sealed, place)).toBeNull();
        },
      ),
    );
  });

  test("does not open once a single bit of it was changed", () => {
    const box = createSecretBox([NEW]);
    const [, version, id, base64 = ""] = box.seal("whsec_something", "row").split(":");
    const bytes = Buffer.from(base64, "base64");
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.nat(7), (at, bit) => {
        const changed = Buffer.from(bytes);
        changed[at] = (changed[at] ?? 0) ^ (1 << bit);
        expect(box.open(`sealed:${version}:${id}:${changed.toString("base64")}`, "row")).toBeNull();
      }),
    );
  });

  test("does not open when it was cut short", () => {
    const box = createSecretBox([NEW]);
    const sealed = box.seal("whsec_something", "row");
    const start = sealed.lastIndexOf(":") + 1;
    for (let end = start + 4; end < sealed.length; end += 4)
      expect(box.open(sealed.slice(0, end), "row")).toBeNull();
  });

  test("says nothing of what is in it, and never the same twice", () => {
    const box = createSecretBox([NEW]);
    const sealed = [1, 2, 3].map(() => box.seal("whsec_something", "row"));
    expect(new Set(sealed).size).toBe(3);
    for (const one of sealed) {
      expect(one).toStartWith("sealed:1:");
      expect(one).not.toContain("something");
      expect(one).not.toContain(NEW);
      expect(Buffer.from(one.split(":")[3] ?? "", "base64").includes("something")).toBe(false);
    }
  });
});

describe("keys are exchanged", () => {
  test("with NEW,OLD: what the old one sealed opens and is to be sealed again, by the new one", () => {
    const old = createSecretBox([OLD]).seal("secret", "row");
    const both = createSecretBox([NEW, OLD]);
    expect(both.open(old, "row")).toBe("secret");
    expect(both.isCurrent(old)).toBe(false);
    const sealed = both.seal("secret", "row");
    expect(both.isCurrent(sealed)).toBe(true);
    expect(createSecretBox([NEW]).open(sealed, "row")).toBe("secret");
    expect(createSecretBox([OLD]).open(sealed, "row")).toBeNull();
  });
});

describe("text that was never sealed", () => {
  test("comes back as it is, and is to be sealed once there is a key", () => {
    const text = '{"signing":[]}';
    expect(createSecretBox([NEW]).open(text, "row")).toBe(text);
    expect(createSecretBox([NEW]).isCurrent(text)).toBe(false);
  });

  test("stays plain without a key", () => {
    const none = createSecretBox([]);
    expect(none.seal("secret", "row")).toBe("secret");
    expect(none.isCurrent("secret")).toBe(true);
    expect(none.isCurrent(createSecretBox([OLD]).seal("secret", "row"))).toBe(false);
  });
});
