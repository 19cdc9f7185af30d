// Who is calling: from the headers of a request to a principal, before anything else of the request is read.
//
// A proof says "this text matched that stored hash". It is what is cached, by the key's text, for 5 minutes from its
// verification; the principal hangs on it. Surprise: an invalidation drops the principal and keeps the proof. The
// next request reads the record again (5 µs) and hashes nothing, unless the stored hash itself is another one.
// A key in use is proved anew before its 5 minutes are over, while its requests go on with the old proof: else all keys that
// were proved together, after a start, would wait for each other's hashes together every 5 minutes (50 keys: 2.5 s).
//
// A made-up key costs a checksum and one read. Unknown ids are not remembered: a flood never repeats one, and a key
// must work at once when it has just been made. A guess at a known id costs one of 5 tokens, and only then a hash.

import { API_KEY_LENGTH, type ParsedApiKey, parseApiKey } from "../base/api_key.ts";
import { lru } from "../base/lru.ts";
import type { KeyRecord, Organization, Reads, UsedKey } from "../store/store.ts";
import type { Scope } from "../wire/tiers.ts";
import type { HashGate } from "./key_hash.ts";
import { addressGroup } from "./limit.ts";

/** The caller, as it was at the latest change of its key or organization. */
export type Principal = {
  readonly kind: "principal";
  readonly org: number;
  readonly organization: Organization;
  readonly keyId: string;
  readonly scopes: readonly Scope[];
  readonly expiresAtMs: number | null;
};

/**
 * Why not. All but `busy` are 401: no key, a text that is none, two different keys, no such key (any more), past
 * its time, an organization that is switched off, a wrong secret. `busy` is 429: nothing was found out about the
 * key, because too many hashes wait, or too many guesses at it came from this address.
 */
export type AuthRefusal =
  | { readonly kind: "missing" }
  | { readonly kind: "malformed" }
  | { readonly kind: "conflicting" }
  | { readonly kind: "unknown" }
  | { readonly kind: "expired" }
  | { readonly kind: "disabled" }
  | { readonly kind: "wrong_secret" }
  | { readonly kind: "busy"; readonly retryAfterSeconds: number };

export type AuthenticatorOptions = {
  readonly reads: Pick<Reads, "keyRecord">;
  /** Shared with whoever hashes new keys. */
  readonly gate: HashGate;
  /** Counts `cache_lookups_total`: once for each key that is well-formed. */
  readonly onCacheLookup?: (result: "hit" | "miss") => void;
};

export type Authenticator = {
  /**
   * The principal of a request's `X-API-Key` or `Authorization: Bearer`, at once when the cache knows it. Rejects
   * or throws only when the store cannot be read. `addressOf` gives the client's address, which is asked only for a
   * key that is not cached: it costs 1.3 us, four times the rest of a cached call. `nowMs` is since 1970.
   */
  authenticate(
    headers: Headers,
    addressOf: () => string,
    nowMs: number,
  ): Principal | AuthRefusal | Promise<Principal | AuthRefusal>;
  /** A key was changed or deleted: call it when the write is committed, before it is answered. */
  invalidateKey(keyId: string): void;
  /** Tier, limit, name or `disabled` of an organization was changed, or it was erased: likewise. */
  invalidateOrganization(org: number): void;
  /** The keys used since the last call, each with its latest use; at most 10 000. For `Store.touchKeys`. */
  drainUsed(): UsedKey[];
};

/** 0.6 KB each. At one hash of 20 ms at a time, no more than 15 000 could be proved in their 5 minutes. */
const PROOFS_MAX = 10_000;
const PROOF_TTL_MS = 300_000;
/**
 * At which part of its 5 minutes a proof is renewed: anywhere between these, so that those of one moment part, and so early that
 * it outlives a client's minute of rest.
 */
const RENEWED_FROM = 0.4;
const RENEWED_UNTIL = 0.7;
/** A renewal is put off when so many hashes wait: whoever waits for one goes before. */
const RENEWAL_WAITING_MAX = 8;
const RENEWAL_AGAIN_MS = 1_000;
/** Remembered wrong texts, as SHA-256: a client that retries with a wrong key costs one hash, not one each time. */
const WRONG_MAX = 10_000;
/** Guesses at one key id from one address: 5 at once, then one in 10 s. */
const GUESSES_MAX = 5;
const GUESS_INTERVAL_MS = 10_000;
const GUESSERS_MAX = 10_000;

const MISSING: AuthRefusal = { kind: "missing" };
const MALFORMED: AuthRefusal = { kind: "malformed" };
const CONFLICTING: AuthRefusal = { kind: "conflicting" };
const UNKNOWN: AuthRefusal = { kind: "unknown" };
const EXPIRED: AuthRefusal = { kind: "expired" };
const DISABLED: AuthRefusal = { kind: "disabled" };
const WRONG_SECRET: AuthRefusal = { kind: "wrong_secret" };
const TRY_AGAIN: AuthRefusal = { kind: "busy", retryAfterSeconds: 1 };

/** `principal` is null after an invalidation, until the record is read again. */
type Proof = {
  readonly keyId: string;
  readonly secretHash: string;
  readonly provedAtMs: number;
  /** When it should be proved anew, if it is used then. */
  renewAtMs: number;
  principal: Principal | null;
};

/** An authenticator with an empty cache. One per process: what it does not hear of, it does not invalidate. */
export function createAuthenticator(options: AuthenticatorOptions): Authenticator {
  return new CachingAuthenticator(options);
}

/** What a stored key may do. */
export function principalOf(record: KeyRecord): Principal {
  const { org, organization, keyId, scopes, expiresAtMs } = record;
  return { kind: "principal", org, organization, keyId, scopes, expiresAtMs };
}

class CachingAuthenticator implements Authenticator {
  #options: AuthenticatorOptions;
  /** By the key's text. A Map finds it by hash, so the time it takes tells nothing about a secret. */
  #proofs = lru<string, Proof>(PROOFS_MAX);
  /** Verifications that run, by the key's text: whoever brings the same text waits for the same hash. */
  #flights = new Map<string, Promise<Proof | AuthRefusal>>();
  /** SHA-256 of a wrong text, to the stored hash that it was wrong for. */
  #wrong = lru<string, string>(WRONG_MAX);
  #guesses = new GuessLimit();
  #usedAtMs = new Map<string, number>();

  constructor(options: AuthenticatorOptions) {
    this.#options = options;
  }

  authenticate(headers: Headers, addressOf: () => string, nowMs: number) {
    const text = presentedKey(headers);
    if (typeof text !== "string") return text;
    const proof = this.#proofs.get(text);
    const answer = isFresh(proof, nowMs) ? this.#answerOf(text, proof, nowMs) : null;
    if (answer === null) return this.#prove(text, proof, addressOf, nowMs);
    if (proof !== undefined && nowMs >= proof.renewAtMs) this.#renew(text, proof, nowMs);
    this.#options.onCacheLookup?.("hit");
    return answer;
  }

  /** Walks all proofs: 0.7 ms at 10 000. A key is changed at most as often as a new one is hashed, 50 a second. */
  invalidateKey(keyId: string): void {
    this.#proofs.forEach((proof) => {
      if (proof.keyId === keyId) proof.principal = null;
    });
  }

  invalidateOrganization(org: number): void {
    this.#proofs.forEach((proof) => {
      if (proof.principal?.org === org) proof.principal = null;
    });
  }

  drainUsed(): UsedKey[] {
    const used = [...this.#usedAtMs].map(([keyId, lastUsedAtMs]) => ({ keyId, lastUsedAtMs }));
    this.#usedAtMs.clear();
    return used;
  }

  /** The answer that a proof gives now, or null when it proves nothing any more. */
  #answerOf(text: string, proof: Proof, nowMs: number): Principal | AuthRefusal | null {
    if (proof.principal === null) {
      const record = this.#options.reads.keyRecord(proof.keyId);
      if (record?.secretHash !== proof.secretHash) {
        this.#proofs.delete(text);
        return null;
      }
      proof.principal = principalOf(record);
    }
    const refusal = refusalOf(proof.principal, nowMs);
    if (refusal !== null) return refusal;
    this.#noteUse(proof.principal.keyId, nowMs);
    return proof.principal;
  }

  /** Nobody waits for it, and when nothing comes of it the proof runs out as if it had not been tried. */
  #renew(text: string, proof: Proof, nowMs: number): void {
    const { gate, reads } = this.#options;
    proof.renewAtMs = nowMs + RENEWAL_AGAIN_MS;
    if (gate.waiting >= RENEWAL_WAITING_MAX || this.#flights.has(text)) return;
    const key = parseApiKey(text);
    const record = reads.keyRecord(proof.keyId);
    if (key === null || record?.secretHash !== proof.secretHash) return;
    this.#takeOff(text, key, record, null, nowMs).catch(() => {}); // a damaged row: told to whoever asks after the 5 minutes
  }

  /** What can be refused without a hash is; the rest waits for one. */
  #prove(text: string, old: Proof | undefined, addressOf: () => string, nowMs: number) {
    const key = parseApiKey(text);
    if (key === null) return MALFORMED;
    this.#options.onCacheLookup?.("miss");
    const flight = this.#flights.get(text);
    if (flight !== undefined) return this.#land(text, flight, nowMs);
    const record = this.#options.reads.keyRecord(key.keyId);
    if (record === null) return UNKNOWN;
    const refusal = refusalOf(record, nowMs);
    if (refusal !== null) return refusal;
    if (this.#wrong.size > 0 && this.#wrong.get(digestOf(text)) === record.secretHash) return WRONG_SECRET;
    // A text that was right 5 minutes ago is no guess: guesses from the same address must not shut it out.
    const isGuess = old?.secretHash !== record.secretHash;
    const guesser = `${key.keyId} ${addressGroup(addressOf())}`;
    const waitSeconds = isGuess ? this.#guesses.take(guesser, nowMs) : 0;
    if (waitSeconds > 0) return { kind: "busy", retryAfterSeconds: waitSeconds } as const;
    return this.#land(text, this.#takeOff(text, key, record, isGuess ? guesser : null, nowMs), nowMs);
  }

  #takeOff(text: string, key: ParsedApiKey, record: KeyRecord, guesser: string | null, nowMs: number) {
    const flight = this.#verify(text, key, record, guesser, nowMs).finally(() => this.#flights.delete(text));
    this.#flights.set(text, flight);
    return flight;
  }

  /**
   * The record is read again after the hash: what was invalidated meanwhile is seen, and from here to the cache
   * nothing waits, so that no invalidation falls in between.
   */
  async #verify(text: string, key: ParsedApiKey, record: KeyRecord, guesser: string | null, nowMs: number) {
    const { secretHash } = record;
    const checked = await this.#options.gate.verify(key.keyId, key.secret, secretHash, guesser === null);
    if (checked.kind === "done" && !checked.value) {
      this.#wrong.set(digestOf(text), secretHash);
      return WRONG_SECRET;
    }
    if (guesser !== null) this.#guesses.giveBack(guesser);
    if (checked.kind === "busy") return checked;
    const current = this.#options.reads.keyRecord(key.keyId);
    if (current === null) return UNKNOWN;
    if (current.secretHash !== secretHash) return TRY_AGAIN;
    const age = RENEWED_FROM + (RENEWED_UNTIL - RENEWED_FROM) * Math.random();
    const times = { provedAtMs: nowMs, renewAtMs: nowMs + age * PROOF_TTL_MS };
    const proof: Proof = { keyId: key.keyId, secretHash, ...times, principal: principalOf(current) };
    this.#proofs.set(text, proof);
    return proof;
  }

  /**
   * Each waiter's own answer. A proof is judged when it is used: it may have been invalidated once more, and a key
   * that was rotated during the wait (1.3 s in a full queue) has expired since `nowMs`. Only the length of the wait
   * is measured here; the time of day is the caller's.
   */
  async #land(text: string, flight: Promise<Proof | AuthRefusal>, nowMs: number) {
    const startedMs = performance.now();
    const outcome = await flight;
    if ("kind" in outcome) return outcome;
    const waitedMs = Math.ceil(performance.now() - startedMs);
    return this.#answerOf(text, outcome, nowMs + waitedMs) ?? UNKNOWN;
  }

  /** At 10 000 keys without a drain, the one noted first is forgotten: a lost time of use, not a lost key. */
  #noteUse(keyId: string, nowMs: number): void {
    this.#usedAtMs.set(keyId, nowMs);
    if (this.#usedAtMs.size <= PROOFS_MAX) return;
    for (const oldest of this.#usedAtMs.keys()) {
      this.#usedAtMs.delete(oldest);
      return;
    }
  }
}

/** The key's text as it was sent, or why there is none to look at. The scheme's case is free (RFC 9110, 11.1). */
function presentedKey(headers: Headers): string | AuthRefusal {
  const plain = headers.get("x-api-key");
  const authorization = headers.get("authorization");
  const bearer = authorization === null ? null : (/^bearer +(.*)$/i.exec(authorization)?.[1] ?? null);
  if (plain !== null && bearer !== null && plain !== bearer) return CONFLICTING;
  const text = plain ?? bearer;
  if (text === null) return authorization === null ? MISSING : MALFORMED;
  return text.length === API_KEY_LENGTH ? text : MALFORMED;
}

/** The age counts both ways, so that a wall clock set back does not keep a proof alive. */
function isFresh(proof: Proof | undefined, nowMs: number): proof is Proof {
  return proof !== undefined && Math.abs(nowMs - proof.provedAtMs) < PROOF_TTL_MS;
}

function refusalOf({ organization, expiresAtMs }: Principal | KeyRecord, nowMs: number): AuthRefusal | null {
  if (expiresAtMs !== null && expiresAtMs <= nowMs) return EXPIRED;
  return organization.disabled ? DISABLED : null;
}

function digestOf(text: string): string {
  return Bun.SHA256.hash(text, "base64");
}

/**
 * A bucket of guesses for each (key id, address), as one number: when it will be full again (GCRA). A guess takes
 * its token before the hash, else a thousand at once would all see a full bucket; a right one gives it back.
 */
class GuessLimit {
  #fullAtMs = lru<string, number>(GUESSERS_MAX);

  /**
   * Takes a token and answers 0, or takes none and answers how many seconds to wait for one. After a wall clock
   * went back the bucket is at worst empty: that, too, is written down, else it would stay empty till then.
   */
  take(guesser: string, nowMs: number): number {
    const latestMs = nowMs + GUESSES_MAX * GUESS_INTERVAL_MS;
    const fullAtMs = Math.min(Math.max(this.#fullAtMs.get(guesser) ?? 0, nowMs), latestMs);
    const waitMs = fullAtMs + GUESS_INTERVAL_MS - latestMs;
    this.#fullAtMs.set(guesser, waitMs > 0 ? fullAtMs : fullAtMs + GUESS_INTERVAL_MS);
    return waitMs > 0 ? Math.ceil(waitMs / 1_000) : 0;
  }

  giveBack(guesser: string): void {
    const fullAtMs = this.#fullAtMs.get(guesser);
    if (fullAtMs !== undefined) this.#fullAtMs.set(guesser, fullAtMs - GUESS_INTERVAL_MS);
  }
}
