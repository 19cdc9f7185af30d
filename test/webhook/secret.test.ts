import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Webhook } from "standardwebhooks";
import { newSigningSecret, parseSigningSecret } from "../../src/webhook/secret.ts";

const secretOf = (byteCount: number) => `whsec_${new Uint8Array(byteCount).fill(7).toBase64()}`;

describe("a signing secret", () => {
  test("that is new has 32 random bytes and is never the same twice", () => {
    const secrets = Array.from({ length: 100 }, newSigningSecret);
    expect(new Set(secrets).size).toBe(100);
    for (const secret of secrets) {
      expect(secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/);
      const parsed = parseSigningSecret(secret);
      expect(parsed.ok && parsed.key.length).toBe(32);
    }
  });

  test("that is new can be used by the official library", () => {
    expect(() => new Webhook(newSigningSecret())).not.toThrow();
  });

  test("of 24 to 64 bytes is read as exactly these bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 24, maxLength: 64 }), (bytes) => {
        const parsed = parseSigningSecret(`whsec_${bytes.toBase64()}`);
        expect(parsed.ok && [...parsed.key]).toEqual([...bytes]);
      }),
    );
  });

  test.each([
    ["nothing", ""],
    ["no prefix", new Uint8Array(32).toBase64()],
    ["the prefix of something else", `whpk_${new Uint8Array(32).toBase64()}`],
    ["the prefix in capitals", `WHSEC_${new Uint8Array(32).toBase64()}`],
    ["no key", "whsec_"],
    ["23 bytes", secretOf(23)],
    ["65 bytes", secretOf(65)],
    ["a megabyte", secretOf(1 << 20)],
    ["the padding left out", secretOf(32).replace("=", "")],
    ["the URL's alphabet", `whsec_${new Uint8Array(33).fill(255).toBase64({ alphabet: "base64url" })}`],
    ["white space within", secretOf(33).replace("Bw", "B w")],
    ["a line break at its end", `${secretOf(32)}\n`],
    ["bits behind its last byte", secretOf(32).replace(/.=$/, "d=")],
    ["no base64", `whsec_${"!".repeat(44)}`],
  ])("with %s is refused", (_what, text) => {
    expect(parseSigningSecret(text)).toEqual({ ok: false, detail: expect.any(String) });
  });

  test("that is refused is not repeated in the refusal", () => {
    for (const text of ["SECRETsecretSECRET", "whsec_SECRETsecretSECRET", `whsec_${"SECRET".repeat(20)}`]) {
      const parsed = parseSigningSecret(text);
      expect(parsed.ok ? "accepted" : parsed.detail).not.toMatch(/accepted|SECRET/);
    }
  });
});
