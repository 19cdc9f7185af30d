// Signing secrets as people see them: `whsec_` and base64, the form of Standard Webhooks
// (https://www.standardwebhooks.com). Decoding is strict, because a receiver's library may be: a secret that two
// decoders read differently would fail every signature and say nothing about why. Details never repeat the secret.

const PREFIX = "whsec_";
const NEW_SECRET_BYTES = 32;
const SECRET_BYTES_MIN = 24;
const SECRET_BYTES_MAX = 64;

export type ParsedSecret = { ok: true; key: Uint8Array } | { ok: false; detail: string };

/** A new secret: `whsec_` and the base64 of 32 random bytes. */
export function newSigningSecret(): string {
  return PREFIX + crypto.getRandomValues(new Uint8Array(NEW_SECRET_BYTES)).toBase64();
}

/** The key of a `whsec_...` secret, 24..64 bytes of standard base64 with its padding, or what is wrong with it. */
export function parseSigningSecret(text: string): ParsedSecret {
  if (!text.startsWith(PREFIX)) return { ok: false, detail: `A signing secret starts with ${PREFIX}.` };
  const key = strictBase64(text.slice(PREFIX.length));
  if (key === null) {
    return { ok: false, detail: `After ${PREFIX} a signing secret is standard base64 with its padding.` };
  }
  if (key.length < SECRET_BYTES_MIN || key.length > SECRET_BYTES_MAX) {
    const size = `${SECRET_BYTES_MIN} to ${SECRET_BYTES_MAX} bytes`;
    return { ok: false, detail: `A signing secret holds ${size} in base64; this one holds ${key.length}.` };
  }
  return { ok: true, key };
}

function strictBase64(text: string): Uint8Array | null {
  try {
    const bytes = Uint8Array.fromBase64(text, { lastChunkHandling: "strict" });
    // fromBase64 skips white space, which other decoders refuse.
    return bytes.toBase64() === text ? bytes : null;
  } catch {
    return null;
  }
}
