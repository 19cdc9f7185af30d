// The text form of an API key, 64 characters that survive a double click:
//   zap_live_ | zap_test_   6 key id (public)   43 secret   6 checksum      all base62 behind the prefix
// Surprise: the checksum protects no one's secret. It refuses made-up and mistyped keys for 0.3 µs, before a row is
// read or an argon2 hash (20 ms) is spent; whoever knows the scheme can compute it.

export type Environment = "live" | "test";

/** A key in its parts. `keyId` may be shown and logged, `secret` is hashed and forgotten. */
export type ParsedApiKey = {
  readonly keyId: string;
  readonly secret: string;
  readonly environment: Environment;
};

export const API_KEY_LENGTH = 64;

const BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const KEY_ID_AT = 9;
const SECRET_AT = 15;
const CHECKSUM_AT = 58;
const PATTERN = /^zap_(?:live|test)_[0-9A-Za-z]{55}$/;

/**
 * A fresh key. Its secret holds 43 * log2(62) = 256.03 random bits. Key ids have 36 bits: two of 10 000 keys meet
 * once in 1 100 such installations, so whoever stores a key must be ready to draw another.
 */
export function newApiKey(environment: Environment): {
  readonly apiKey: string;
  readonly keyId: string;
  readonly secret: string;
} {
  const keyId = randomBase62(SECRET_AT - KEY_ID_AT);
  const secret = randomBase62(CHECKSUM_AT - SECRET_AT);
  return { apiKey: formatApiKey(environment, keyId, secret), keyId, secret };
}

/** The text of a key from its parts. */
export function formatApiKey(environment: Environment, keyId: string, secret: string): string {
  const body = `zap_${environment}_${keyId}${secret}`;
  return body + checksum(body);
}

/** The parts of a well-formed key, or null: wrong length, alphabet, prefix or checksum. Says nothing of its worth. */
export function parseApiKey(text: string): ParsedApiKey | null {
  if (text.length !== API_KEY_LENGTH || !PATTERN.test(text)) return null;
  if (checksum(text.slice(0, CHECKSUM_AT)) !== text.slice(CHECKSUM_AT)) return null;
  return {
    keyId: text.slice(KEY_ID_AT, SECRET_AT),
    secret: text.slice(SECRET_AT, CHECKSUM_AT),
    environment: text.startsWith("zap_live_") ? "live" : "test",
  };
}

/** CRC-32 (ISO-HDLC, as in gzip) as 6 base62 digits, the least significant first. Finds any one wrong character. */
function checksum(body: string): string {
  let rest = Bun.hash.crc32(body);
  let digits = "";
  for (let i = CHECKSUM_AT; i < API_KEY_LENGTH; i++) {
    digits += BASE62.charAt(rest % 62);
    rest = Math.floor(rest / 62);
  }
  return digits;
}

/** Bytes from 248 up are thrown away: with them, `% 62` would favour the first 8 digits. */
function randomBase62(length: number): string {
  let text = "";
  while (text.length < length) {
    for (const byte of crypto.getRandomValues(new Uint8Array(length))) {
      if (byte < 248 && text.length < length) text += BASE62.charAt(byte % 62);
    }
  }
  return text;
}
