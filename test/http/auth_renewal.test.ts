// A key in use is proved anew before its 5 minutes are over, and nobody waits for that.

import { expect, test } from "bun:test";
import { cheapHash, house, organization, RENEWED_FROM_MS, T0, TTL_MS, untilCalm } from "./auth_house.ts";

test("keys in use that were proved in one moment never wait for a hash again, and are hashed once in 2 to 3.5 minutes", async () => {
  const { addKey, ask, gate } = house();
  const texts: string[] = [];
  for (let i = 0; i < 100; i++) texts.push((await addKey(organization(i))).apiKey);
  for (const text of texts) await ask(text, T0);
  const renewedAtMs: number[] = [];
  let renewals = 0;
  for (let atMs = T0; atMs < T0 + 4 * TTL_MS; atMs += 1_000) {
    const before = gate.hashesTotal;
    for (const text of texts) expect(ask(text, atMs)).toMatchObject({ kind: "principal" });
    if (gate.hashesTotal === before) continue;
    await untilCalm(gate);
    renewals += gate.hashesTotal - before - 1; // less its own
    renewedAtMs.push(atMs);
  }
  // Of each key in 20 minutes: by 3.5 and by 2.
  expect(renewals).toBeGreaterThanOrEqual(100 * 5);
  expect(renewals).toBeLessThanOrEqual(100 * 10);
  expect(renewedAtMs[0]).toBeGreaterThanOrEqual(T0 + RENEWED_FROM_MS);
  // Apart, not together: over the 90 s that the first renewals have.
  expect(renewedAtMs.filter((atMs) => atMs < T0 + TTL_MS).length).toBeGreaterThan(30);
});

test("a proof that could not be renewed is good for its 5 minutes and no longer", async () => {
  const { addKey, ask, gate } = house();
  const { apiKey } = await addKey(organization());
  const others = await Promise.all(Array.from({ length: 9 }, (_, i) => addKey(organization(2 + i))));
  await ask(apiKey, T0);
  // One hash runs and eight wait: no room for what nobody waits for.
  const waiting = others.map((other) => ask(other.apiKey, T0 + TTL_MS - 1));
  expect(ask(apiKey, T0 + TTL_MS - 1)).toMatchObject({ kind: "principal" });
  const late = ask(apiKey, T0 + TTL_MS);
  expect(late).toBeInstanceOf(Promise);
  expect((await late).kind).toBe("principal");
  await Promise.all(waiting);
  expect(gate.hashesTotal).toBe(1 + 9 + 1);
});

test("whoever comes when the 5 minutes are over waits for the renewal that runs, not for a hash of its own", async () => {
  const { addKey, ask, gate } = house();
  const { apiKey } = await addKey(organization());
  await ask(apiKey, T0);
  expect(ask(apiKey, T0 + TTL_MS - 1)).toMatchObject({ kind: "principal" });
  expect(gate.hashesTotal).toBe(2);
  expect((await ask(apiKey, T0 + TTL_MS)).kind).toBe("principal");
  expect(gate.hashesTotal).toBe(2);
});

test("a key that is changed while it is renewed is what it was changed to", async () => {
  const { auth, addKey, keys, change, ask, gate } = house();
  const [deleted, rehashed, disabled] = [
    await addKey(organization(1)),
    await addKey(organization(2)),
    await addKey(organization(3)),
  ];
  const texts = [deleted.apiKey, rehashed.apiKey, disabled.apiKey];
  for (const text of texts) await ask(text, T0);
  const nowMs = T0 + TTL_MS - 1;
  for (const text of texts) expect(ask(text, nowMs)).toMatchObject({ kind: "principal" });
  keys.delete(deleted.keyId);
  change(rehashed.keyId, { secretHash: await cheapHash("another secret") });
  change(disabled.keyId, { organization: organization(3, { disabled: true }) });
  for (const { keyId } of [deleted, rehashed]) auth.invalidateKey(keyId);
  auth.invalidateOrganization(3);
  await untilCalm(gate);
  const kinds = await Promise.all(texts.map(async (text) => (await ask(text, nowMs)).kind));
  expect(kinds).toEqual(["unknown", "wrong_secret", "disabled"]);
});
