// Authentication over a table of keys in memory and the real argon2id: who gets in, who does not, and how many hashes
// that may cost.

import { expect, test } from "bun:test";
import { newApiKey } from "../../src/base/api_key.ts";
import type { AuthRefusal } from "../../src/http/auth.ts";
import { hashSecret } from "../../src/http/key_hash.ts";
import type { KeyRecord, Organization } from "../../src/store/store.ts";
import {
  ADDRESS,
  cheapHash,
  guessAt,
  house,
  keyText,
  kindsOf,
  organization,
  RENEWED_FROM_MS,
  T0,
  TTL_MS,
} from "./auth_house.ts";

test("a key opens its organization, with its scopes, by one hash of the full cost", async () => {
  const { auth, keys, addKey, change, ask, gate } = house();
  const { apiKey, keyId, secret } = await addKey(organization(7), { expiresAtMs: T0 + 1_000_000 });
  change(keyId, { secretHash: await hashSecret(secret), scopes: ["consume", "manage"] });
  expect(await ask(apiKey)).toEqual({
    kind: "principal",
    org: 7,
    organization: keys.get(keyId)?.organization as Organization,
    keyId,
    scopes: ["consume", "manage"],
    expiresAtMs: T0 + 1_000_000,
  });
  expect(await ask(guessAt(keyId))).toEqual({ kind: "wrong_secret" });
  expect(auth.drainUsed()).toHaveLength(1);
  expect(gate.hashesTotal).toBe(2);
});

test("a key is taken from X-API-Key or from Authorization, whose scheme may be written in any case", async () => {
  const { auth, addKey } = house();
  const [{ apiKey }, other] = [await addKey(organization()), await addKey(organization())];
  const kindOf = async (headers: Record<string, string>) =>
    (await auth.authenticate(new Headers(headers), () => ADDRESS, T0)).kind;
  for (const headers of [
    { "X-API-KEY": apiKey },
    { authorization: `Bearer ${apiKey}` },
    { Authorization: `bEARER   ${apiKey} ` },
    { authorization: `Bearer ${apiKey}`, "x-api-key": apiKey },
    { authorization: "Basic dXNlcjpwYXNz", "x-api-key": apiKey },
  ]) {
    expect(await kindOf(headers)).toBe("principal");
  }
  expect(await kindOf({})).toBe("missing");
  expect(await kindOf({ authorization: `Bearer ${apiKey}`, "x-api-key": other.apiKey })).toBe("conflicting");
  for (const text of [
    "",
    "x",
    "Bearer",
    `Bearer${apiKey}`,
    `Basic ${apiKey}`,
    `Bearer ${apiKey} ${apiKey}`,
    apiKey,
  ]) {
    expect(await kindOf({ authorization: text })).toBe("malformed");
  }
  for (const text of [
    "",
    "hello",
    `${apiKey}, ${apiKey}`,
    apiKey.slice(1),
    `${apiKey}a`,
    "z".repeat(16_000),
  ]) {
    expect(await kindOf({ "x-api-key": text })).toBe("malformed");
  }
});

test("a key that was proved is answered at once, from one hash and one lookup in 2 minutes", async () => {
  const { addKey, ask, gate, counts } = house();
  const { apiKey } = await addKey(organization());
  const first = ask(apiKey, T0);
  expect(first).toBeInstanceOf(Promise);
  const principal = await first;
  const { reads } = counts;
  for (let i = 0; i < 1_000; i++) expect(ask(apiKey, T0 + i * 120)).toBe(principal);
  expect(gate.hashesTotal).toBe(1);
  expect(counts).toEqual({ reads, hit: 1_000, miss: 1 });
});

test("the 5 minutes run from the verification, not from the last use", async () => {
  const { addKey, ask, gate } = house();
  const { apiKey } = await addKey(organization());
  await ask(apiKey, T0);
  expect(ask(apiKey, T0 + RENEWED_FROM_MS - 1)).not.toBeInstanceOf(Promise);
  const again = ask(apiKey, T0 + TTL_MS);
  expect(again).toBeInstanceOf(Promise);
  expect((await again).kind).toBe("principal");
  expect(gate.hashesTotal).toBe(2);
  expect(ask(apiKey, T0 + 2 * TTL_MS - 1)).not.toBeInstanceOf(Promise);
  const setBack = ask(apiKey, T0 - TTL_MS);
  expect(setBack).toBeInstanceOf(Promise);
  expect((await setBack).kind).toBe("principal");
});

test("a hundred concurrent first uses of one key share one hash", async () => {
  const { addKey, ask, gate } = house();
  const { apiKey } = await addKey(organization());
  const answers = await Promise.all(Array.from({ length: 100 }, (_, i) => ask(apiKey, T0, `192.0.2.${i}`)));
  expect(kindsOf(answers)).toEqual({ principal: 100 });
  expect(gate.hashesTotal).toBe(1);
});

test("10 000 made-up keys with a right checksum cost no hash, and neither does garbage", async () => {
  const { addKey, ask, gate, counts } = house();
  const { apiKey, keyId } = await addKey(organization());
  const madeUp = Array.from({ length: 10_000 }, () => ask(newApiKey("live").apiKey));
  expect(kindsOf(await Promise.all(madeUp))).toEqual({ unknown: 10_000 });
  const broken = (i: number) =>
    `${apiKey.slice(0, 63)}${apiKey.endsWith("0") ? "1" : "0"}${"x".repeat(i % 2)}`;
  const garbage = Array.from({ length: 1_000 }, (_, i) => ask(broken(i)));
  expect(kindsOf(await Promise.all(garbage))).toEqual({ malformed: 1_000 });
  expect(gate.hashesTotal).toBe(0);
  expect(counts).toEqual({ reads: 10_000, hit: 0, miss: 10_000 });
  expect(await ask(apiKey)).toMatchObject({ kind: "principal", keyId });
});

test("a key works at once when it has just been made, also after it was asked for before", async () => {
  const { addKey, keys, ask } = house();
  const { apiKey, keyId } = await addKey(organization());
  const record = keys.get(keyId);
  keys.delete(keyId);
  expect(await ask(apiKey)).toEqual({ kind: "unknown" });
  if (record !== undefined) keys.set(keyId, record);
  expect((await ask(apiKey)).kind).toBe("principal");
});

test("1 000 wrong secrets for one key id cost 5 hashes, then one in 10 seconds", async () => {
  const { addKey, ask, gate } = house();
  const { keyId } = await addKey(organization());
  const flood = (nowMs: number) =>
    Promise.all(Array.from({ length: 1_000 }, () => ask(guessAt(keyId), nowMs)));
  expect(kindsOf(await flood(T0))).toEqual({ wrong_secret: 5, busy: 995 });
  expect(await ask(guessAt(keyId), T0 + 4_000)).toEqual({ kind: "busy", retryAfterSeconds: 6 });
  expect(kindsOf(await flood(T0 + 10_000))).toEqual({ wrong_secret: 1, busy: 999 });
  expect(kindsOf(await flood(T0 + 86_400_000))).toEqual({ wrong_secret: 5, busy: 995 });
  expect(gate.hashesTotal).toBe(11);
});

test("a clock set back by a day leaves guessers without a guess for 10 seconds, not for a day", async () => {
  const { addKey, ask } = house();
  const { keyId } = await addKey(organization());
  for (let i = 0; i < 5; i++) await ask(guessAt(keyId), T0 + 86_400_000);
  expect(await ask(guessAt(keyId), T0)).toEqual({ kind: "busy", retryAfterSeconds: 10 });
  expect(await ask(guessAt(keyId), T0 + 10_000)).toEqual({ kind: "wrong_secret" });
});

test("guesses from a thousand addresses hold up neither the first use of another key nor a proved one", async () => {
  const { addKey, ask, gate } = house();
  const [flooded, calm] = [await addKey(organization(1)), await addKey(organization(2))];
  await ask(flooded.apiKey, T0);
  const order: string[] = [];
  const guesses = Array.from({ length: 1_000 }, async (_, i) => {
    const answer = await ask(guessAt(flooded.keyId), T0, `2001:db8:0:${i.toString(16)}::1`);
    order.push(answer.kind);
    return answer;
  });
  expect(ask(flooded.apiKey, T0 + 1)).toMatchObject({ kind: "principal", org: 1 });
  const first = Promise.resolve(ask(calm.apiKey)).then((answer) => order.push(`calm ${answer.kind}`));
  const renewed = Promise.resolve(ask(flooded.apiKey, T0 + TTL_MS)).then(({ kind }) =>
    order.push(`renewed ${kind}`),
  );
  const answers = await Promise.all(guesses);
  const kinds = kindsOf(answers);
  expect(answers).toContainEqual({ kind: "busy", retryAfterSeconds: 2 });
  await Promise.all([first, renewed]);
  const hashed = order.filter((kind) => kind !== "busy");
  expect(hashed.slice(0, 3).toSorted()).toEqual(["calm principal", "renewed principal", "wrong_secret"]);
  expect(kinds).toEqual({ wrong_secret: 63, busy: 937 });
  expect(gate.hashesTotal).toBe(1 + 63 + 2);
});

test("a client that keeps sending one wrong key costs one hash", async () => {
  const { addKey, ask, gate } = house();
  const { keyId, apiKey } = await addKey(organization());
  const wrong = guessAt(keyId);
  for (let i = 0; i < 100; i++) expect(await ask(wrong, T0 + i * 1_000)).toEqual({ kind: "wrong_secret" });
  expect(gate.hashesTotal).toBe(1);
  expect((await ask(apiKey)).kind).toBe("principal");
});

test("right keys use up no guesses", async () => {
  const { auth, addKey, change, ask, gate } = house();
  const { apiKey, keyId, secret } = await addKey(organization());
  for (let i = 1; i <= 20; i++) {
    expect((await ask(apiKey)).kind).toBe("principal");
    expect(gate.hashesTotal).toBe(i);
    change(keyId, { secretHash: await cheapHash(secret) });
    auth.invalidateKey(keyId);
  }
});

test("guesses from a client's own address shut out neither its proved key nor that key's renewal", async () => {
  const { addKey, ask } = house();
  const { apiKey, keyId } = await addKey(organization());
  await ask(apiKey, T0);
  const later = T0 + TTL_MS;
  await Promise.all(Array.from({ length: 20 }, () => ask(guessAt(keyId), later - 1)));
  expect(await ask(guessAt(keyId), later - 1)).toMatchObject({ kind: "busy" });
  expect((await ask(apiKey, later - 1)).kind).toBe("principal");
  expect((await ask(apiKey, later)).kind).toBe("principal");
});

test("a deleted key is refused on the very next request, without a hash", async () => {
  const { auth, addKey, keys, ask, gate } = house();
  const [gone, kept] = [await addKey(organization()), await addKey(organization())];
  await Promise.all([ask(gone.apiKey), ask(kept.apiKey)]);
  keys.delete(gone.keyId);
  auth.invalidateKey(gone.keyId);
  expect(ask(gone.apiKey)).toEqual({ kind: "unknown" });
  expect(ask(kept.apiKey)).toMatchObject({ kind: "principal", keyId: kept.keyId });
  expect(gate.hashesTotal).toBe(2);
});

test("a rotated key is refused on the very next request, or when its overlap ends", async () => {
  const { auth, addKey, change, ask, gate } = house();
  const [now, later] = [await addKey(organization()), await addKey(organization())];
  await Promise.all([ask(now.apiKey), ask(later.apiKey)]);
  change(now.keyId, { expiresAtMs: T0 + 5 });
  change(later.keyId, { expiresAtMs: T0 + 60_000 });
  auth.invalidateKey(now.keyId);
  auth.invalidateKey(later.keyId);
  expect(ask(now.apiKey, T0 + 5)).toEqual({ kind: "expired" });
  expect(ask(later.apiKey, T0 + 59_999)).toMatchObject({ kind: "principal", expiresAtMs: T0 + 60_000 });
  expect(ask(later.apiKey, T0 + 60_000)).toEqual({ kind: "expired" });
  expect(ask(later.apiKey, T0 + TTL_MS + 1)).toEqual({ kind: "expired" });
  expect(gate.hashesTotal).toBe(2);
});

test("a tier, a limit and scopes that change count for the very next request, without a hash", async () => {
  const { auth, addKey, change, ask, gate } = house();
  const { apiKey, keyId } = await addKey(organization());
  await ask(apiKey);
  change(keyId, { organization: organization(1, { tier: "pro", rateLimitPerMinute: 1_234 }) });
  auth.invalidateOrganization(1);
  expect(ask(apiKey)).toMatchObject({ organization: { tier: "pro", rateLimitPerMinute: 1_234 } });
  change(keyId, { scopes: ["consume"] });
  auth.invalidateKey(keyId);
  expect(ask(apiKey)).toMatchObject({ scopes: ["consume"] });
  expect(gate.hashesTotal).toBe(1);
});

test("a disabled organization is refused on the very next request, and let in again on the one after", async () => {
  const { auth, addKey, change, ask, gate } = house();
  const { apiKey, keyId } = await addKey(organization(1));
  const bystander = await addKey(organization(2));
  await Promise.all([ask(apiKey), ask(bystander.apiKey)]);
  change(keyId, { organization: organization(1, { disabled: true }) });
  auth.invalidateOrganization(1);
  expect(ask(apiKey)).toEqual({ kind: "disabled" });
  expect(ask(apiKey)).toEqual({ kind: "disabled" });
  expect(ask(bystander.apiKey)).toMatchObject({ org: 2 });
  change(keyId, { organization: organization(1) });
  auth.invalidateOrganization(1);
  expect(ask(apiKey)).toMatchObject({ kind: "principal" });
  expect(gate.hashesTotal).toBe(2);
});

test("a key that expires is refused from that millisecond on, cached or not", async () => {
  const { addKey, ask, gate } = house();
  const { apiKey } = await addKey(organization(), { expiresAtMs: T0 + 100_000 });
  expect((await ask(apiKey, T0)).kind).toBe("principal");
  expect(ask(apiKey, T0 + 99_999)).toMatchObject({ kind: "principal" });
  expect(ask(apiKey, T0 + 100_000)).toEqual({ kind: "expired" });
  const cold = house();
  const { apiKey: dead } = await cold.addKey(organization(), { expiresAtMs: T0 });
  expect(cold.ask(dead, T0)).toEqual({ kind: "expired" });
  expect([gate.hashesTotal, cold.gate.hashesTotal]).toEqual([1, 0]);
});

test("what changes while a key's first hash runs counts for that request and for the next", async () => {
  const changes: [string, (h: ReturnType<typeof house>, keyId: string) => void, AuthRefusal["kind"]][] = [
    ["deleted", ({ keys }, keyId) => keys.delete(keyId), "unknown"],
    ["rotated", ({ change }, keyId) => change(keyId, { expiresAtMs: T0 }), "expired"],
    ["rotated a moment later", ({ change }, keyId) => change(keyId, { expiresAtMs: T0 + 1 }), "expired"],
    [
      "disabled",
      ({ change }, keyId) => change(keyId, { organization: organization(1, { disabled: true }) }),
      "disabled",
    ],
  ];
  for (const [, apply, kind] of changes) {
    const h = house();
    const { apiKey, keyId } = await h.addKey(organization());
    const inFlight = [h.ask(apiKey), h.ask(apiKey)];
    expect(h.gate.hashesTotal).toBe(1);
    apply(h, keyId);
    h.auth.invalidateKey(keyId);
    h.auth.invalidateOrganization(1);
    expect((await Promise.all(inFlight)).map((answer) => answer.kind)).toEqual([kind, kind]);
    expect((await h.ask(apiKey, T0 + 1)).kind).toBe(kind);
  }
});

test("a tier that changes while a key's first hash runs is the new one for that request", async () => {
  const { auth, addKey, change, ask, gate } = house();
  const { apiKey, keyId } = await addKey(organization());
  const inFlight = ask(apiKey);
  change(keyId, { organization: organization(1, { tier: "pro" }) });
  auth.invalidateOrganization(1);
  expect(await inFlight).toMatchObject({ organization: { tier: "pro" } });
  expect(ask(apiKey)).toMatchObject({ organization: { tier: "pro" } });
  expect(gate.hashesTotal).toBe(1);
});

test("a key deleted between its hash and the answers that waited for it is refused to all of them", async () => {
  const { auth, addKey, keys, hooks, ask } = house();
  const { apiKey, keyId } = await addKey(organization());
  const waiting = [ask(apiKey), ask(apiKey)];
  hooks.soonAfterRead = () => {
    keys.delete(keyId);
    auth.invalidateKey(keyId);
  };
  expect(kindsOf(await Promise.all(waiting))).toEqual({ unknown: 2 });
});

test("the cache holds 10 000 keys: one more, and the key not used for longest is hashed again", async () => {
  const { addKey, auth, keys, ask, gate } = house();
  const { keyId: modelId, secret } = await addKey(organization());
  const model = keys.get(modelId) as KeyRecord;
  const texts = Array.from({ length: 10_001 }, (_, i) => {
    const keyId = i.toString(36).padStart(6, "0");
    keys.set(keyId, { ...model, keyId });
    return keyText(keyId, secret);
  });
  const [oldest = "", second = ""] = texts;
  for (const text of texts.slice(0, 10_000)) await ask(text);
  expect(ask(oldest)).toMatchObject({ kind: "principal" });
  await ask(texts[10_000] ?? "");
  expect(ask(oldest)).toMatchObject({ kind: "principal" });
  expect(gate.hashesTotal).toBe(10_001);
  expect((await ask(second)).kind).toBe("principal");
  expect(gate.hashesTotal).toBe(10_002);
  expect(auth.drainUsed()).toHaveLength(10_000);
});

test("a right secret under another hash is verified anew, and a wrong one is not remembered for it", async () => {
  const { auth, addKey, change, ask, gate } = house();
  const { apiKey, keyId, secret } = await addKey(organization());
  await ask(apiKey);
  change(keyId, { secretHash: await cheapHash("another secret") });
  auth.invalidateKey(keyId);
  expect(await ask(apiKey)).toEqual({ kind: "wrong_secret" });
  change(keyId, { secretHash: await cheapHash(secret) });
  auth.invalidateKey(keyId);
  expect((await ask(apiKey)).kind).toBe("principal");
  expect(gate.hashesTotal).toBe(3);
});

test("a stored hash that changes while a secret is verified against it proves nothing", async () => {
  const { addKey, change, ask } = house();
  const { apiKey, keyId } = await addKey(organization());
  const secretHash = await cheapHash("another secret");
  const inFlight = ask(apiKey);
  change(keyId, { secretHash });
  expect(await inFlight).toEqual({ kind: "busy", retryAfterSeconds: 1 });
  expect(await ask(apiKey)).toEqual({ kind: "wrong_secret" });
});

test("a damaged stored hash is an error for its own key, each time, and for no other", async () => {
  const { addKey, change, ask } = house();
  const [damaged, sound] = [await addKey(organization()), await addKey(organization())];
  change(damaged.keyId, { secretHash: "$nonsense$" });
  await expect(Promise.resolve(ask(damaged.apiKey))).rejects.toThrow();
  await expect(Promise.resolve(ask(damaged.apiKey))).rejects.toThrow();
  expect((await ask(sound.apiKey)).kind).toBe("principal");
});

test("the times of use are handed over once, the latest of each key, and only of keys that got in", async () => {
  const { auth, addKey, ask } = house();
  const [a, b, expired] = [
    await addKey(organization()),
    await addKey(organization()),
    await addKey(organization(), { expiresAtMs: T0 }),
  ];
  await Promise.all([ask(a.apiKey, T0), ask(b.apiKey, T0)]);
  await Promise.all([ask(guessAt(b.keyId), T0 + 9_000), ask(expired.apiKey, T0 + 9_000)]);
  ask(a.apiKey, T0 + 7_000);
  ask(b.apiKey, T0 + 8_000);
  expect(auth.drainUsed()).toEqual([
    { keyId: a.keyId, lastUsedAtMs: T0 + 7_000 },
    { keyId: b.keyId, lastUsedAtMs: T0 + 8_000 },
  ]);
  expect(auth.drainUsed()).toEqual([]);
});
