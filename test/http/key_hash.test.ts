// The gate in front of argon2id, with the real argon2id. Where only the order counts, the stored hashes are cheap ones
// (8 KiB, one pass): verifying takes its cost from the hash.

import { expect, test } from "bun:test";
import { HashGate, hashSecret } from "../../src/http/key_hash.ts";

const cheapHash = await Bun.password.hash("right", { algorithm: "argon2id", memoryCost: 8, timeCost: 1 });

/** Verifies the right secret and notes its name when it is through; "busy" when it was refused. */
function visitor(gate: HashGate, log: string[]) {
  return async (lane: string, name: string, proved = false) => {
    const answer = await gate.verify(lane, "right", cheapHash, proved);
    log.push(answer.kind === "done" ? name : `${name} busy`);
  };
}

test("a secret is stored as argon2id with 19 MiB and 2 passes, salted, and only the right one matches", async () => {
  const gate = new HashGate();
  const secretHash = await hashSecret("right");
  expect(secretHash).toStartWith("$argon2id$v=19$m=19456,t=2,p=1$");
  expect(await hashSecret("right")).not.toBe(secretHash);
  expect(await gate.verify("k", "right", secretHash, false)).toEqual({ kind: "done", value: true });
  expect(await gate.verify("k", "wrong", secretHash, false)).toEqual({ kind: "done", value: false });
  expect(gate.hashesTotal).toBe(2);
});

test("a key made through the gate is verified by it", async () => {
  const gate = new HashGate();
  const made = await gate.hash("secret", "admin");
  expect(made.kind).toBe("done");
  if (made.kind !== "done") return;
  expect(await gate.verify("k", "secret", made.value, false)).toEqual({ kind: "done", value: true });
});

test("one hash runs at a time", async () => {
  const gate = new HashGate();
  const original = Bun.password.verify;
  let running = 0;
  let mostAtOnce = 0;
  Bun.password.verify = async (...args) => {
    mostAtOnce = Math.max(mostAtOnce, ++running);
    try {
      return await original(...args);
    } finally {
      running--;
    }
  };
  try {
    await Promise.all(Array.from({ length: 30 }, (_, i) => gate.verify(`k${i}`, "right", cheapHash, false)));
  } finally {
    Bun.password.verify = original;
  }
  expect(mostAtOnce).toBe(1);
  expect(gate.hashesTotal).toBe(30);
});

test("a flood for one key id delays the first verification of another by one hash", async () => {
  const gate = new HashGate();
  const log: string[] = [];
  const visit = visitor(gate, log);
  const flood = Array.from({ length: 40 }, (_, i) => visit("flooded", `f${i}`));
  await Promise.all([...flood, visit("calm", "calm"), visit("other", "other")]);
  expect(log.indexOf("calm")).toBeLessThanOrEqual(2);
  expect(log.indexOf("other")).toBeLessThanOrEqual(3);
  expect(log.filter((name) => name.startsWith("f"))).toEqual(flood.map((_, i) => `f${i}`));
});

test("when too many wait the flood is refused, not the ones beside it", async () => {
  const gate = new HashGate(8);
  const log: string[] = [];
  const visit = visitor(gate, log);
  const flood = Array.from({ length: 100 }, (_, i) => visit("flooded", `f${i}`));
  expect(gate.waiting).toBe(8);
  const others = Array.from({ length: 6 }, (_, i) => visit(`k${i}`, `o${i}`));
  expect(gate.waiting).toBe(8);
  await Promise.all([...flood, ...others]);
  expect(log.filter((name) => name.startsWith("o") && !name.endsWith("busy"))).toHaveLength(6);
  expect(log.filter((name) => name.startsWith("f") && !name.endsWith("busy"))).toHaveLength(3);
  expect(gate.hashesTotal).toBe(9);
  expect(gate.waiting).toBe(0);
});

test("a refused hash is told when to come again, and one that comes then is served", async () => {
  const gate = new HashGate(1);
  const first = gate.verify("a", "right", cheapHash, false);
  const second = gate.verify("b", "right", cheapHash, false);
  expect(await gate.verify("c", "right", cheapHash, false)).toEqual({ kind: "busy", retryAfterSeconds: 2 });
  await Promise.all([first, second]);
  expect(await gate.verify("c", "right", cheapHash, false)).toEqual({ kind: "done", value: true });
});

test("a key that was right before goes ahead of guesses at it, also when its lane is full", async () => {
  const gate = new HashGate(8);
  const log: string[] = [];
  const visit = visitor(gate, log);
  const flood = Array.from({ length: 20 }, (_, i) => visit("k", `f${i}`));
  await Promise.all([...flood, visit("k", "proved", true)]);
  const served = log.filter((name) => !name.endsWith("busy"));
  expect(served.slice(0, 2)).toEqual(["f0", "proved"]);
  expect(served).toHaveLength(9);
});

test("a key that was right before finds a place among others' guesses, but not in place of one like itself", async () => {
  const gate = new HashGate(8);
  const log: string[] = [];
  const visit = visitor(gate, log);
  const guesses = Array.from({ length: 9 }, (_, i) => visit(`k${i}`, `g${i}`));
  const proved = Array.from({ length: 9 }, (_, i) => visit(`p${i}`, `p${i}`, true));
  await Promise.all([...guesses, ...proved, visit("late", "late")]);
  const served = log.filter((name) => !name.endsWith("busy"));
  expect(served).toEqual(["g0", "p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7"]);
  expect(log).toHaveLength(19);
  expect(gate.waiting).toBe(0);
});

test("a storm of verifications costs a new key one hash of waiting, and does not take its place", async () => {
  const gate = new HashGate(16);
  const log: string[] = [];
  const visit = visitor(gate, log);
  const storm = Array.from({ length: 200 }, (_, i) => visit(`k${i}`, `v${i}`));
  const made = gate.hash("secret", "admin").then((answer) => log.push(`made ${answer.kind}`));
  await Promise.all([...storm, made]);
  expect(log.filter((name) => !name.endsWith("busy")).indexOf("made done")).toBe(1);
});

test("one who makes keys in a loop takes at most every second hash, and delays another maker by one round", async () => {
  const gate = new HashGate();
  const log: string[] = [];
  const visit = visitor(gate, log);
  const make = (lane: string, name: string) => gate.hash("secret", lane).then(() => log.push(name));
  const loop = Array.from({ length: 6 }, (_, i) => make("tenant", `t${i}`));
  const verifications = Array.from({ length: 4 }, (_, i) => visit(`k${i}`, `v${i}`));
  await Promise.all([...loop, ...verifications, make("admin", "admin")]);
  expect(log.slice(0, 9)).toEqual(["t0", "v0", "t1", "v1", "admin", "v2", "t2", "v3", "t3"]);
});

test("a damaged stored hash fails its own verification and stops nobody else's", async () => {
  const gate = new HashGate();
  const damaged = gate.verify("a", "right", "$nonsense$", false);
  const sound = gate.verify("b", "right", cheapHash, false);
  await expect(damaged).rejects.toThrow();
  expect(await sound).toEqual({ kind: "done", value: true });
  expect(await gate.verify("a", "right", "", false)).toEqual({ kind: "done", value: false });
});
