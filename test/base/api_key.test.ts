// The text form of API keys: what is made is understood, and nothing that differs from it by a slip is.

import { expect, test } from "bun:test";
import fc from "fast-check";
import { newApiKey, parseApiKey } from "../../src/base/api_key.ts";

const BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const ALPHABET = `${BASE62}_`;
const environment = fc.constantFrom("live" as const, "test" as const);

test("a key has 64 characters that a double click selects, and is read back into the parts it was made of", () => {
  fc.assert(
    fc.property(environment, (made) => {
      const { apiKey, keyId, secret } = newApiKey(made);
      expect(apiKey).toMatch(/^[A-Za-z0-9_]{64}$/);
      expect(apiKey).toStartWith(`zap_${made}_${keyId}${secret}`);
      expect(parseApiKey(apiKey)).toEqual({ keyId, secret, environment: made });
    }),
  );
});

test("keys handed out by an earlier release are still read: the checksum is CRC-32, least significant digit first", () => {
  const secret = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";
  const known = `zap_live_AbC123${secret}AeX3Z2`; // checksum by Python's zlib.crc32
  expect(parseApiKey(known)).toEqual({ keyId: "AbC123", secret, environment: "live" });
  const zeros = `zap_test_${"0".repeat(49)}`;
  expect(parseApiKey(`${zeros}IDn7w2`)?.environment).toBe("test");
  expect(parseApiKey(`${zeros}2w7nDI`)).toBeNull();
});

test("another prefix or alphabet is refused, even under a right checksum", () => {
  for (const text of [
    "zap_prod_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa77wFW2",
    "ZAP_live_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaavwlu94",
    "zap_live_aaaaaaaaaaaaaaaaaaaa-aaaaaaaaaaaaaaaaaaaaaaaaaaaaltqVg0",
    "zap_live_aaaaaaaaaaaaaaaaaaaa_aaaaaaaaaaaaaaaaaaaaaaaaaaaaAjahc3",
  ]) {
    expect(text).toHaveLength(64);
    expect(parseApiKey(text)).toBeNull();
  }
});

test("any one wrong character is refused", () => {
  fc.assert(
    fc.property(environment, fc.nat(63), fc.constantFrom(...ALPHABET), (made, at, character) => {
      const { apiKey } = newApiKey(made);
      fc.pre(apiKey[at] !== character);
      expect(parseApiKey(apiKey.slice(0, at) + character + apiKey.slice(at + 1))).toBeNull();
    }),
    { numRuns: 2_000 },
  );
});

test("two neighbouring characters in the wrong order are refused", () => {
  fc.assert(
    fc.property(fc.nat(62), (at) => {
      const { apiKey } = newApiKey("live");
      const swapped = apiKey.slice(0, at) + apiKey[at + 1] + apiKey[at] + apiKey.slice(at + 2);
      fc.pre(swapped !== apiKey);
      expect(parseApiKey(swapped)).toBeNull();
    }),
    { numRuns: 1_000 },
  );
});

test("a key cut short, with anything added, or of the other environment is refused", () => {
  const { apiKey } = newApiKey("live");
  for (let length = 0; length < apiKey.length; length++) {
    expect(parseApiKey(apiKey.slice(0, length))).toBeNull();
    expect(parseApiKey(apiKey.slice(length + 1))).toBeNull();
  }
  for (const extra of [" ", "\n", "\0", "a", ","]) {
    expect(parseApiKey(apiKey + extra)).toBeNull();
    expect(parseApiKey(extra + apiKey)).toBeNull();
  }
  expect(parseApiKey(apiKey.replace("_live_", "_test_"))).toBeNull();
  expect(parseApiKey(apiKey.toUpperCase())).toBeNull();
});

test("no text of any kind is taken for a key, or makes the parser throw", () => {
  const looksLikeOne = fc
    .array(fc.constantFrom(...ALPHABET), { minLength: 55, maxLength: 55 })
    .map((characters) => `zap_live_${characters.join("")}`);
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.string({ unit: "binary" })), (text) => parseApiKey(text) === null),
  );
  fc.assert(fc.property(looksLikeOne, (text) => parseApiKey(text) === null));
});

test("the secret's characters are drawn evenly from all 62", () => {
  const counts = new Map<string, number>();
  for (let i = 0; i < 5_000; i++) {
    for (const character of newApiKey("live").secret) counts.set(character, (counts.get(character) ?? 0) + 1);
  }
  // Chi-squared with 61 degrees of freedom: above 150 once in 10^9 runs. `byte % 62` without rejection scores 800.
  const expected = (5_000 * 43) / 62;
  const chiSquared = [...BASE62].reduce(
    (sum, c) => sum + ((counts.get(c) ?? 0) - expected) ** 2 / expected,
    0,
  );
  expect(counts.size).toBe(62);
  expect(chiSquared).toBeLessThan(150);
});

test("no two keys share a secret", () => {
  const secrets = new Set(Array.from({ length: 10_000 }, () => newApiKey("test").secret));
  expect(secrets.size).toBe(10_000);
});
