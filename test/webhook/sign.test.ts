import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Webhook } from "standardwebhooks";
import { signatureHeader } from "../../src/webhook/sign.ts";

const nowSeconds = () => Math.floor(Date.now() / 1000);
const keys = fc.uint8Array({ minLength: 24, maxLength: 64 });
const bodies = fc.string({ unit: "binary", maxLength: 2000 });

/** What a receiver does with the official library; throws when the signature is wrong. */
function verify(
  key: Uint8Array,
  id: string,
  timestampSeconds: number,
  body: string,
  signature: string,
): void {
  const headers = {
    "webhook-id": id,
    "webhook-timestamp": String(timestampSeconds),
    "webhook-signature": signature,
  };
  new Webhook(key, { format: "raw" }).verify(body, headers, { jsonParse: false });
}

describe("a webhook's signature", () => {
  test("is the one of the Standard Webhooks specification", () => {
    // The example of the specification's own test suites.
    const key = Uint8Array.fromBase64("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    expect(signatureHeader([key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, '{"test": 2432232314}')).toBe(
      "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    );
  });

  test("is accepted by the official library for any key and body", () => {
    fc.assert(
      fc.property(keys, fc.uuid(), bodies, (key, id, body) => {
        const at = nowSeconds();
        verify(key, id, at, body, signatureHeader([key], id, at, body));
      }),
    );
  });

  test("is refused by the official library when key, id, time or body is another", () => {
    fc.assert(
      fc.property(keys, fc.uuid(), bodies, (key, id, body) => {
        const at = nowSeconds();
        const signature = signatureHeader([key], id, at, body);
        const otherKey = key.map((byte, index) => (index === 0 ? byte ^ 1 : byte));
        expect(() => verify(otherKey, id, at, body, signature)).toThrow("No matching signature");
        expect(() => verify(key, `${id}x`, at, body, signature)).toThrow("No matching signature");
        expect(() => verify(key, id, at - 1, body, signature)).toThrow("No matching signature");
        expect(() => verify(key, id, at, `${body} `, signature)).toThrow("No matching signature");
      }),
    );
  });

  test("is given once for each key, and either of two keys verifies it", () => {
    const [old, fresh] = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)];
    const at = nowSeconds();
    const signature = signatureHeader([fresh, old], "id", at, "{}");
    expect(signature).toMatch(/^v1,[A-Za-z0-9+/]{43}= v1,[A-Za-z0-9+/]{43}=$/);
    verify(old, "id", at, "{}", signature);
    verify(fresh, "id", at, "{}", signature);
    expect(() => verify(new Uint8Array(32), "id", at, "{}", signature)).toThrow("No matching signature");
  });
});
