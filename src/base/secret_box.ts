// Secrets at rest: AES-256-GCM under a key that is not in the database, so that a copy of the file alone gives nothing
// away. Without a key a box writes plain text. Surprise: several keys may be given; the first one seals, all of them
// open, and that is how a key is exchanged.

import { createCipheriv, createDecipheriv, createHash, randomBytes } from "node:crypto";

const CIPHER = "aes-256-gcm";
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
export const SECRET_KEY_BYTES = 32;
/** `sealed:1:` id of the key `:` base64 of nonce, ciphertext and tag. */
const SEALED = /^sealed:1:([0-9a-f]{8}):([A-Za-z0-9+/=]+)$/;

export type SecretBox = {
  /** `context` is bound to the text: moved to another row, it does not open. */
  seal(text: string, context: string): string;
  /** Null when none of the keys opens it. Text that was never sealed comes back as it is. */
  open(stored: string, context: string): string | null;
  /** Whether `seal` would write it in this way: by the first key, or plain when there is none. */
  isCurrent(stored: string): boolean;
};

type Key = { readonly id: string; readonly bytes: Uint8Array };

/** @param keysHex each of 32 bytes in hexadecimal; none: nothing is sealed */
export function createSecretBox(keysHex: readonly string[]): SecretBox {
  const keys: readonly Key[] = keysHex.map((hex) => ({ id: keyId(hex), bytes: Buffer.from(hex, "hex") }));
  const [first] = keys;
  return {
    seal: (text, context) => (first ? sealWith(first, text, context) : text),
    open(stored, context) {
      const parts = SEALED.exec(stored);
      if (parts === null) return stored;
      const key = keys.find(({ id }) => id === parts[1]);
      return key ? openWith(key, parts[2] ?? "", context) : null;
    },
    isCurrent: (stored) => (SEALED.exec(stored)?.[1] ?? null) === (first?.id ?? null),
  };
}

function keyId(hex: string): string {
  return createHash("sha256").update(`key id:${hex}`).digest("hex").slice(0, 8);
}

function sealWith({ id, bytes }: Key, text: string, context: string): string {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv(CIPHER, bytes, nonce).setAAD(Buffer.from(context));
  const sealed = Buffer.concat([nonce, cipher.update(text, "utf8"), cipher.final(), cipher.getAuthTag()]);
  return `sealed:1:${id}:${sealed.toString("base64")}`;
}

function openWith({ bytes }: Key, base64: string, context: string): string | null {
  const sealed = Buffer.from(base64, "base64");
  const nonce = sealed.subarray(0, NONCE_BYTES);
  const text = sealed.subarray(NONCE_BYTES, -TAG_BYTES);
  try {
    const decipher = createDecipheriv(CIPHER, bytes, nonce);
    decipher.setAAD(Buffer.from(context)).setAuthTag(sealed.subarray(-TAG_BYTES));
    return decipher.update(text, undefined, "utf8") + decipher.final("utf8");
  } catch {
    return null; // not this key's, or changed on disk
  }
}
