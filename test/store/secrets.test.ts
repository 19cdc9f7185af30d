// Secrets on disk: with ENCRYPTION_KEY a copy of the database and its log gives neither a signing secret nor the value
// of an own header away, and without the key the server says so instead of starting.

import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { createSecretBox } from "../../src/base/secret_box.ts";
import { openEngine } from "../../src/store/sqlite/engine.ts";
import { openReader } from "../../src/store/sqlite/pragma.ts";
import { DueReads } from "../../src/store/sqlite/read_due.ts";
import { parseSigningSecret } from "../../src/webhook/secret.ts";
import { withTempDir } from "../help/temp.ts";
import { createEndpoint, createOrganization, type Open, open, run } from "./writing.ts";

const KEY = "a0".repeat(32);
const OTHER = "0b".repeat(32);
const SECRET = "whsec_c2VjcmV0IHRoYXQgbm9ib2R5IG1heSByZWFk";
const NEXT_SECRET = "whsec_YW5vdGhlciBvbmUgdGhhdCBpcyBoaWRkZW4h";
const HEADER = "Bearer quite-a-secret-value";
const HEADERS = { authorization: HEADER };
const HIDDEN = [SECRET, NEXT_SECRET, HEADER];

const fileIn = (dir: string) => path.join(dir, "triggers.db");
const openIn = (dir: string, keys: readonly string[]) => open(fileIn(dir), 1_000, keys);

/** Which of the hidden texts stand in any file of the directory: database, log, shared memory. */
function readable(dir: string): readonly string[] {
  const files = readdirSync(dir).map((name) => readFileSync(path.join(dir, name)));
  return HIDDEN.filter((text) => files.some((bytes) => bytes.includes(text)));
}

/** What the sender would read: the keys that sign, and the headers. */
function target(dir: string, endpoint: number, keys: readonly string[]) {
  const db = openReader(fileIn(dir));
  try {
    const read = new DueReads(db, createSecretBox(keys)).target(endpoint);
    return { signingKeys: read?.signingKeys.map(({ key }) => key.toHex()), headers: read?.headers };
  } finally {
    db.close();
  }
}

function keyOf(secret: string): string {
  const parsed = parseSigningSecret(secret);
  if (!parsed.ok) throw new Error(parsed.detail);
  return parsed.key.toHex();
}

/** An endpoint with the secret and the header. */
function addEndpoint({ engine }: Open) {
  const org = createOrganization(engine);
  return createEndpoint(engine, org, { signingSecret: SECRET, headers: HEADERS });
}

function refusal(dir: string, keys: readonly string[]): string {
  const opened = openEngine(fileIn(dir), { durability: "normal", encryptionKeys: keys });
  if (opened.kind === "opened") throw new Error("the engine opened");
  return opened.detail;
}

test("with ENCRYPTION_KEY neither the database nor its log ever holds a secret or a header's value", () =>
  withTempDir((dir) => {
    const opened = openIn(dir, [KEY]);
    const { org, id, endpoint } = addEndpoint(opened);
    expect(readable(dir)).toEqual([]);
    const soon = { oldExpiresAtMs: Date.now() + 60_000 };
    run(opened.engine, { op: "rotateSecret", org, id, signingSecret: NEXT_SECRET, ...soon });
    run(opened.engine, {
      op: "updateEndpoint",
      org,
      id,
      change: { headers: { ...HEADERS, "x-more": HEADER } },
    });
    expect(readable(dir)).toEqual([]);
    expect(target(dir, endpoint, [KEY])).toEqual({
      signingKeys: [keyOf(NEXT_SECRET), keyOf(SECRET)],
      headers: { ...HEADERS, "x-more": HEADER },
    });
    opened.engine.close();
    expect(readable(dir)).toEqual([]);
  }));

test("without a key they stand there as they are, and work", () =>
  withTempDir((dir) => {
    const opened = openIn(dir, []);
    const { endpoint } = addEndpoint(opened);
    expect(target(dir, endpoint, [])).toEqual({ signingKeys: [keyOf(SECRET)], headers: HEADERS });
    opened.engine.close();
    expect(readable(dir)).toEqual([SECRET, HEADER]);
  }));

test("a key that is introduced later seals what is there, and leaves no plain copy behind", () =>
  withTempDir((dir) => {
    const before = openIn(dir, []);
    const endpoints = Array.from({ length: 30 }, () => addEndpoint(before));
    const [first] = endpoints;
    if (!first) throw new Error("no endpoint");
    const { org, id } = first;
    run(before.engine, { op: "rotateSecret", org, id, signingSecret: NEXT_SECRET, oldExpiresAtMs: 0 });
    before.engine.close();
    expect(readable(dir)).toEqual(HIDDEN);
    const after = openIn(dir, [KEY]);
    expect(readable(dir)).toEqual([]);
    expect(target(dir, first.endpoint, [KEY]).signingKeys).toEqual([keyOf(NEXT_SECRET)]);
    after.engine.close();
    expect(readable(dir)).toEqual([]);
  }));

test("a key is exchanged by one start with NEW,OLD; then the old one opens nothing", () =>
  withTempDir((dir) => {
    const old = openIn(dir, [OTHER]);
    const { endpoint } = addEndpoint(old);
    old.engine.close();
    openIn(dir, [KEY, OTHER]).engine.close();
    openIn(dir, [KEY]).engine.close();
    expect(target(dir, endpoint, [KEY])).toEqual({ signingKeys: [keyOf(SECRET)], headers: HEADERS });
    expect(refusal(dir, [OTHER])).toContain("ENCRYPTION_KEY");
    expect(readable(dir)).toEqual([]);
  }));

test("a wrong key, or none, refuses the start with a sentence that names ENCRYPTION_KEY, and changes nothing", () =>
  withTempDir((dir) => {
    const opened = openIn(dir, [KEY]);
    const { endpoint } = addEndpoint(opened);
    opened.engine.close();
    expect(refusal(dir, [OTHER])).toMatch(/ENCRYPTION_KEY does not open .* NEW,OLD/);
    expect(refusal(dir, [])).toMatch(/sealed, and ENCRYPTION_KEY is not set/);
    for (const keys of [[OTHER], []]) {
      expect(refusal(dir, keys)).not.toContain(KEY);
      expect(refusal(dir, keys)).not.toContain(OTHER);
    }
    openIn(dir, [KEY]).engine.close();
    expect(target(dir, endpoint, [KEY]).headers).toEqual(HEADERS);
  }));

test("secrets that were moved to the row of another endpoint do not open", () =>
  withTempDir((dir) => {
    const opened = openIn(dir, [KEY]);
    const [mine, yours] = [addEndpoint(opened), addEndpoint(opened)];
    opened.engine.close();
    const db = new Database(fileIn(dir));
    const secretsOf = "SELECT secrets FROM endpoints WHERE endpoint = ?";
    db.run(`UPDATE endpoints SET secrets = (${secretsOf}) WHERE endpoint = ?`, [
      mine.endpoint,
      yours.endpoint,
    ]);
    db.close();
    expect(() => target(dir, yours.endpoint, [KEY])).toThrow("do not open");
    expect(target(dir, mine.endpoint, [KEY]).headers).toEqual(HEADERS);
    expect(refusal(dir, [KEY])).toContain("ENCRYPTION_KEY");
  }));

test("a deleted endpoint's secrets are gone from the disk, also when they were never sealed", () =>
  withTempDir((dir) => {
    const opened = openIn(dir, []);
    const { engine } = opened;
    const { org, id } = addEndpoint(opened);
    run(engine, { op: "deleteEndpoint", org, id });
    engine.close();
    expect(readable(dir)).toEqual([]);
  }));
