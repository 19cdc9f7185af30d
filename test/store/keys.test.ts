// Keys as the store keeps them: how many, and for how long.

import { expect, test } from "bun:test";
import path from "node:path";
import type { Engine } from "../../src/store/sqlite/engine.ts";
import type { ApiKey } from "../../src/store/store.ts";
import { withTempDir } from "../help/temp.ts";
import { createOrganization, open, run } from "./writing.ts";

const DAY_MS = 24 * 60 * 60 * 1_000;
const KEYS_MAX = 1_000;

function createKey(engine: Engine, org: number, keyId: string, expiresAtMs: number | null = null) {
  const key = { keyId, secretHash: "x", name: null, scopes: ["manage"], expiresAtMs } as const;
  return run<ApiKey | "too_many">(engine, { op: "createKey", org, key });
}

function rotate(engine: Engine, org: number, oldKeyId: string, keyId: string, overlapMs: number) {
  const oldExpiresAtMs = Date.now() + overlapMs;
  return run<ApiKey | string>(engine, {
    ...{ op: "rotateKey", org, oldKeyId, oldExpiresAtMs, keyId, secretHash: "x" },
  });
}

test("an organization has at most 1 000 keys, and can still exchange one for another", () =>
  withTempDir((dir) => {
    const { engine } = open(path.join(dir, "triggers.db"), 100);
    const org = createOrganization(engine, "first");
    for (let n = 1; n < KEYS_MAX; n++) expect(createKey(engine, org, `own${n}`)).toBeObject();
    expect(createKey(engine, org, "over")).toBe("too_many");
    expect(rotate(engine, org, "own1", "over", DAY_MS)).toBe("too_many");
    expect(rotate(engine, org, "own1", "next", 0)).toBeObject();
    expect(createKey(engine, createOrganization(engine), "of-another")).toBeObject();
    run(engine, { op: "deleteKey", org, keyId: "own2" });
    expect(createKey(engine, org, "again")).toBeObject();
    engine.close();
  }));

test("retention forgets keys that expired more than a month ago, and no other", () =>
  withTempDir((dir) => {
    const { engine } = open(path.join(dir, "triggers.db"), 100);
    const org = createOrganization(engine, "lasting");
    createKey(engine, org, "long-ago", Date.now() - 31 * DAY_MS);
    createKey(engine, org, "of-late", Date.now() - 29 * DAY_MS);
    createKey(engine, org, "to-come", Date.now() + DAY_MS);
    run(engine, { op: "pruneStep", afterSeq: 0, beforeSeq: 1, eventsMax: 10 });
    const deleted = ["lasting", "long-ago", "of-late", "to-come"].map((keyId) =>
      run<string>(engine, { op: "deleteKey", org, keyId }),
    );
    expect(deleted).toEqual(["deleted", "not_found", "deleted", "last_manage_key"]);
    engine.close();
  }));
