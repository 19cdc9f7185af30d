// The `webhook-signature` header of Standard Webhooks: HMAC-SHA256 of `id.timestamp.body`, once per key, so that a
// receiver may go on with its old secret while a new one is being rolled out.

/**
 * The header's value: `v1,<base64>` for each key, separated by a space; "" without keys.
 * `timestampSeconds` is Unix time and must be the `webhook-timestamp` sent with it; `body` is the exact text sent, which
 * is signed as UTF-8. Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
 */
export function signatureHeader(
  secretKeys: readonly Uint8Array[],
  id: string,
  timestampSeconds: number,
  body: string,
): string {
  const signedContent = `${id}.${timestampSeconds}.${body}`;
  return secretKeys.map((key) => `v1,${hmacSha256Base64(key, signedContent)}`).join(" ");
}

function hmacSha256Base64(key: Uint8Array, text: string): string {
  return new Bun.CryptoHasher("sha256", key).update(text).digest("base64");
}
