// A house of keys in memory, over the real argon2id: who gets in is asked of it, and how many hashes that costs. Stored
// hashes are cheap ones (8 KiB, one pass), since verifying takes its cost from the hash. The clock is a number.

import { newApiKey } from "../../src/base/api_key.ts";
import { type AuthRefusal, createAuthenticator, type Principal } from "../../src/http/auth.ts";
import { HashGate } from "../../src/http/key_hash.ts";
import type { KeyRecord, Organization } from "../../src/store/store.ts";

export const T0 = Date.UTC(2026, 0, 1);
/** A proof holds for so long, and is renewed from the other age on when it is used. */
export const TTL_MS = 300_000;
export const RENEWED_FROM_MS = 120_000;
/** Where who asks is, when nothing else is said. */
export const ADDRESS = "192.0.2.1";

/** An authenticator over keys that a test makes, changes and deletes, with its counters. */
export function house() {
  const keys = new Map<string, KeyRecord>();
  const counts = { reads: 0, hit: 0, miss: 0 };
  const hooks = { soonAfterRead: () => {} };
  const gate = new HashGate();
  const auth = createAuthenticator({
    reads: {
      keyRecord(keyId) {
        counts.reads++;
        queueMicrotask(hooks.soonAfterRead);
        return keys.get(keyId) ?? null;
      },
    },
    gate,
    onCacheLookup: (result) => counts[result]++,
  });
  const change = (keyId: string, change: Partial<KeyRecord>) => {
    const record = keys.get(keyId);
    if (record === undefined) throw new Error(`no key ${keyId}`);
    keys.set(keyId, { ...record, ...change });
  };
  const addKey = async (org: Organization, { expiresAtMs = null as number | null } = {}) => {
    const key = newApiKey("live");
    const secretHash = await cheapHash(key.secret);
    const { keyId } = key;
    const dates = { createdAtMs: T0, expiresAtMs, lastUsedAtMs: null };
    const rest = { name: null, scopes: ["publish"] as const, secretHash, organization: org };
    keys.set(keyId, { keyId, org: org.org, ...dates, ...rest });
    return key;
  };
  const ask = (apiKey: string, nowMs = T0, address = ADDRESS) =>
    auth.authenticate(new Headers({ "x-api-key": apiKey }), () => address, nowMs);
  return { keys, counts, hooks, gate, auth, addKey, change, ask };
}

/** Resolves when no hash runs or waits, after one of its own: whoever comes last is served last. */
export async function untilCalm(gate: HashGate): Promise<void> {
  await gate.verify("last", "", "", false);
}

/** An organization of the free tier, but for `change`. */
export function organization(org = 1, change: Partial<Organization> = {}): Organization {
  const limits = { tier: "free", rateLimitPerMinute: 100, disabled: false } as const;
  return { org, id: `org-${org}`, name: "Acme", ...limits, createdAtMs: T0, updatedAtMs: T0, ...change };
}

/** A well-formed key of these parts: whoever knows the scheme can compute the checksum. */
export function keyText(keyId: string, secret: string): string {
  const body = `zap_live_${keyId}${secret}`;
  let rest = Bun.hash.crc32(body);
  let digits = "";
  for (let i = 0; i < 6; i++, rest = Math.floor(rest / 62)) {
    digits += "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz".charAt(rest % 62);
  }
  return body + digits;
}

/** A well-formed key with this id and another secret. */
export function guessAt(keyId: string): string {
  return keyText(keyId, newApiKey("live").secret);
}

/** For where only the order or the number of hashes counts. */
export function cheapHash(secret: string): Promise<string> {
  return Bun.password.hash(secret, { algorithm: "argon2id", memoryCost: 8, timeCost: 1 });
}

/** How many of each kind. */
export const kindsOf = (answers: readonly (Principal | AuthRefusal)[]) => {
  const kinds: Record<string, number> = {};
  for (const { kind } of answers) kinds[kind] = (kinds[kind] ?? 0) + 1;
  return kinds;
};
